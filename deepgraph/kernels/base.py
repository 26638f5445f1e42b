"""What every kernel offers, and the stage-by-stage walk that the torch kernels share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, UnsupportedOperationError
from deepgraph.kernels.activations import Activation, activation
from deepgraph.kernels.topology import Topology

__all__ = ["Gradients", "Kernel", "StageKernel"]

Gradients = tuple[Tensor | None, list[Tensor], Tensor, Tensor]
"""(dx (B, I) or None, dweights like weights, dbias (C,), private dz)."""


class Kernel(ABC):
    """Computes all neurons of one topology and their gradients: `a_v = act(b_v + sum over edges (u, v) w_uv a_u)`.

    A node may take the maximum or the product over its edges in place of the sum, where the kernel says so. What is
    called bias (C,) below goes on with the slopes of nodes that have one, (C + S,), and so does its gradient.

    A kernel holds no weights. Weights come as a list of tensors in the layout of its storage.

    Parameters
    ----------
    topology : Topology
        The structure to compute.
    """

    name: str
    storage: str

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._checked: list[Any] = []

    @abstractmethod
    def with_topology(self, topology: Topology) -> Kernel:
        """Return a kernel of the same kind and options for edited edges between the same nodes."""

    @abstractmethod
    def check_weights(self, weights: list[Tensor]) -> None:
        """Raise ShapeError unless the weights have the layout that this kernel reads."""

    @abstractmethod
    def saved_shape(self, batch: int, dtype: torch.dtype) -> tuple[int, ...]:
        """Return the shape of what `forward` saves for a batch of B rows."""

    def saved_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype of what `forward` saves."""
        return dtype

    def infer(self, x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        """Return y (B, O) alone, with little around it; the biases, joined, are the bias (C,) of `forward`."""
        bias = biases[0] if len(biases) == 1 else torch.cat(biases)
        self.check(x, weights, bias)
        return self.forward(x, weights, bias)[0]

    @abstractmethod
    def forward(self, x: Tensor, weights: list[Tensor], bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y (B, O), saved) for x (B, I), weights in the layout of the storage, and bias (C,).

        `saved` belongs to this call: no later call writes to it.
        """

    @abstractmethod
    def backward(
        self,
        dy: Tensor,
        saved: Tensor,
        weights: list[Tensor],
        need_dx: bool = True,
        bias: Tensor | None = None,
        need_dz: bool = True,
    ) -> Gradients:
        """Return (dx (B, I) or None, dweights shaped like weights, dbias (C,), dz) for dy (B, O).

        Gradients off the edges, in a masked matrix or in the tail of a longer tensor, are 0. `bias` is that of the
        forward pass, needed where nodes have slopes. Without `need_dz` the last one is not whole.
        """

    def _known(self, bias: Tensor | None, like: Tensor) -> Tensor:
        """Return biases and slopes for a backward pass, which reads slopes only."""
        if bias is not None:
            return bias
        if self.topology.num_slopes:
            raise ArgumentError(
                f"backward: expected bias ({self.topology.num_parameters},) of the forward pass, because "
                f"{self.topology.num_slopes} nodes have slopes, got None"
            )
        return like.new_zeros(0)

    @abstractmethod
    def _rows(self, blocks: Tensor, batch: int) -> Tensor:
        """Return (rows, B) by rank from the kernel's own layout."""

    def activations(self, saved: Tensor, batch: int) -> Tensor:
        """Return A (N, B): what every position put out in the forward pass that returned `saved`."""
        return self._by_position(saved, batch)

    def gradients(self, dz: Tensor, batch: int) -> Tensor:
        """Return dZ (N, B): the gradient of every position's sum z, from the `dz` of a backward pass.

        It is 0 for inputs, and for nodes that reduce by maximum or product: A[u] * dZ[v] is the gradient of an absent
        edge (u, v) only where v sums.
        """
        result = self._by_position(dz, batch)
        rows = self.topology.without_gradient
        if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
            result[int(rows[0]) : int(rows[-1]) + 1] = 0
        elif len(rows):
            result.index_fill_(0, torch.from_numpy(rows.copy()).to(result.device), 0)
        return result

    def _by_position(self, blocks: Tensor, batch: int) -> Tensor:
        ranked = self._rows(blocks, batch)[: self.topology.num_nodes]
        if not self.topology.is_ordered:
            return ranked.index_select(0, torch.from_numpy(self.topology.rank.copy()).to(ranked.device))
        shared = ranked.untyped_storage().data_ptr() == blocks.untyped_storage().data_ptr()
        return ranked.clone() if shared else ranked

    def check_new(self, x: Tensor, weights: list[Tensor], bias: Tensor) -> None:
        """Check tensors, unless those of the last call were alike; see `check`."""
        kinds: list[Any] = []
        for tensor in (x, bias, *weights):
            kinds += (tensor.shape, tensor.dtype, tensor.device)
        if kinds != self._checked:
            self.check(x, weights, bias)
            self._checked = kinds

    def check(self, x: Tensor, weights: list[Tensor], bias: Tensor) -> None:
        """Raise unless x, weights and bias fit this kernel.

        Raises
        ------
        ShapeError
            If x is not (B, I), bias not (C,), or weights do not have the layout of the storage.
        DtypeError
            If dtypes differ.
        """
        width = self.topology.inputs.shape[0]
        if x.dim() != 2 or x.shape[1] != width:
            raise ShapeError(f"expected x of shape (batch, {width}), one column per input, got {tuple(x.shape)}")
        if bias.dim() != 1 or bias.shape[0] != self.topology.num_parameters:
            slopes = self.topology.num_slopes
            raise ShapeError(
                f"expected bias of shape ({self.topology.num_parameters},), one per node that is no input"
                f"{f' and {slopes} slopes' if slopes else ''}, got {tuple(bias.shape)}"
            )
        self.check_weights(weights)
        for weight in (*weights, bias):
            if weight.dtype != x.dtype:
                raise DtypeError(
                    f"expected x of dtype {weight.dtype} like the weights, got {x.dtype}; "
                    f"convert with x.to({weight.dtype}) or model.to({x.dtype})"
                )
            if weight.device != x.device:
                raise DtypeError(
                    f"expected x on device {weight.device} like the weights, got {x.device}; move one of them"
                )


@dataclass(frozen=True)
class Stage:
    """One stage in program order, ranks `begin:end`; indexes count the stage's computed rows, those that are no inputs.

    Parameters
    ----------
    begin, end : int
        Ranks of the stage.
    bias : slice
        Its computed rows among all computed rows.
    computed : (c,) int64 or None
        Computed rows counted from `begin`; None where all are.
    activations : tuple of (Activation, (k,) int64 or None)
        Which computed rows have which activation; None means all of them. Empty for a stage of inputs.
    kept : slice
        Rows among the saved sums z.
    kept_rows : (k,) int64 or None
        The computed rows whose sum is saved, in the order of `kept`; None where none or all are.
    slopes : slice
        Rows among all slopes by rank.
    """

    begin: int
    end: int
    bias: slice
    computed: Tensor | None
    activations: tuple[tuple[Activation, Tensor | None], ...]
    kept: slice
    kept_rows: Tensor | None
    slopes: slice


class StageKernel(Kernel):
    """Walks stage by stage with torch operations on A (N + K, B): outputs by rank, then the K sums z to be kept."""

    def __init__(self, topology: Topology, device: torch.device | str = "cpu") -> None:
        super().__init__(topology)
        self.device = torch.device(device)

    @abstractmethod
    def _prepare(self, weights: list[Tensor]) -> Any:
        """Return what `_products` and the gradient hooks need of the weights, once per pass."""

    @abstractmethod
    def _products(self, number: int, stage: Stage, outputs: Tensor, bias: Tensor, prepared: Any) -> Tensor:
        """Return (width, B): bias plus weighted inputs of one stage's rows, from the outputs (N, B) of earlier ones."""

    @abstractmethod
    def _pull(self, number: int, stage: Stage, dz: Tensor, prepared: Any) -> None:
        """Add to rows `begin:end` of dz what later stages owe them, where the kernel gathers."""

    @abstractmethod
    def _push(
        self, number: int, stage: Stage, outputs: Tensor, dz: Tensor, prepared: Any, dweights: Any, below: bool
    ) -> None:
        """Hand one stage's dz to dweights and, if `below`, to the earlier rows of dz, where the kernel scatters."""

    @abstractmethod
    def _weight_gradients(self, outputs: Tensor, dz: Tensor, weights: list[Tensor], dweights: Any) -> list[Tensor]:
        """Return the gradients of the weights in their layout, after the walk."""

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.array(array, dtype=np.int64)).to(self.device)

    @cached_property
    def _input_ranks(self) -> Tensor:
        return self._tensor(self.topology.input_ranks)

    @cached_property
    def _output_ranks(self) -> Tensor:
        return self._tensor(self.topology.output_ranks)

    @cached_property
    def _has_repeated_inputs(self) -> bool:
        return len(np.unique(self.topology.inputs)) < len(self.topology.inputs)

    @cached_property
    def _bias_order(self) -> Tensor:
        index = self.topology.bias_index
        return self._tensor(index[index >= 0])

    @cached_property
    def _slope_order(self) -> Tensor:
        index = self.topology.slope_index
        return self._tensor(index[index >= 0])

    @cached_property
    def _stages(self) -> list[Stage]:
        topology = self.topology
        computed = topology.bias_index >= 0
        first_bias = np.r_[0, np.cumsum(computed)].tolist()
        first_kept = np.r_[0, np.cumsum(topology.kept_index >= 0)].tolist()
        first_slope = np.r_[0, np.cumsum(topology.slope_index >= 0)].tolist()
        starts = topology.stage_starts.tolist()
        stages = []
        for begin, end in pairwise(starts):
            bias, kept = slice(first_bias[begin], first_bias[end]), slice(first_kept[begin], first_kept[end])
            local = np.flatnonzero(computed[begin:end])
            codes = topology.ranked_activation[begin:end][local]
            found = [activation(int(code)) for code in np.unique(codes)]
            groups = [(entry, self._tensor(np.flatnonzero(codes == entry.code))) for entry in found]
            needed = np.flatnonzero(topology.kept_index[begin:end][local] >= 0)
            stages.append(
                Stage(
                    begin,
                    end,
                    bias,
                    computed=None if len(local) == end - begin else self._tensor(local),
                    activations=tuple(groups) if len(groups) > 1 else tuple((entry, None) for entry in found),
                    kept=kept,
                    kept_rows=self._tensor(needed) if 0 < len(needed) < len(local) else None,
                    slopes=slice(first_slope[begin], first_slope[end]),
                )
            )
        return stages

    def saved_shape(self, batch: int, dtype: torch.dtype) -> tuple[int, ...]:
        """Return (N + K, B)."""
        return (self.topology.num_nodes + self.topology.num_kept, batch)

    def _rows(self, blocks: Tensor, batch: int) -> Tensor:
        return blocks

    @torch.no_grad()
    def forward(self, x: Tensor, weights: list[Tensor], bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y (B, O), saved (N + K, B)); see `Kernel.forward`."""
        self._check_device(x)
        n = self.topology.num_nodes
        saved = x.new_empty(self.saved_shape(x.shape[0], x.dtype))
        outputs, sums = saved[:n], saved[n:]
        if self._has_repeated_inputs:
            outputs.index_fill_(0, self._input_ranks, 0).index_add_(0, self._input_ranks, x.t())
        else:
            outputs.index_copy_(0, self._input_ranks, x.t())
        ranked_bias = bias.index_select(0, self._bias_order).unsqueeze(1)
        slopes = bias.index_select(0, self._slope_order).unsqueeze(1)
        prepared = self._prepare(weights)
        for number, stage in enumerate(self._stages):
            if stage.activations:
                z = self._products(number, stage, outputs, ranked_bias[stage.bias], prepared)
                self._activate(stage, z, outputs, sums, slopes[stage.slopes])
        return outputs.index_select(0, self._output_ranks).t().contiguous(), saved

    @staticmethod
    def _activate(stage: Stage, z: Tensor, outputs: Tensor, sums: Tensor, slopes: Tensor) -> None:
        if stage.kept.start < stage.kept.stop:
            sums[stage.kept] = z if stage.kept_rows is None else z.index_select(0, stage.kept_rows)
        result = torch.empty_like(z) if len(stage.activations) > 1 else z
        for entry, rows in stage.activations:
            own = (slopes,) if entry.has_slope else ()
            if rows is None:
                result = entry.forward(z, *own)
            else:
                result.index_copy_(0, rows, entry.forward(z.index_select(0, rows), *own))
        target = outputs[stage.begin : stage.end]
        if stage.computed is None:
            target.copy_(result)
        else:
            target.index_copy_(0, stage.computed, result)

    @torch.no_grad()
    def backward(
        self,
        dy: Tensor,
        saved: Tensor,
        weights: list[Tensor],
        need_dx: bool = True,
        bias: Tensor | None = None,
        need_dz: bool = True,
    ) -> Gradients:
        """Return (dx, dweights, dbias, dz (N, B)); see `Kernel.backward`."""
        known = self._known(bias, dy)
        n = self.topology.num_nodes
        outputs, sums = saved[:n], saved[n:]
        dz = torch.zeros_like(outputs)
        dz.index_add_(0, self._output_ranks, dy.t().to(dz.dtype))
        prepared = self._prepare(weights)
        dweights = self._empty_gradients(weights)
        dbias = dy.new_empty(self.topology.num_computed)
        slopes = known.index_select(0, self._slope_order).unsqueeze(1)
        dslopes = torch.empty_like(slopes)
        for number, stage in reversed(list(enumerate(self._stages))):
            if stage.activations or need_dx:
                self._pull(number, stage, dz, prepared)
            if stage.activations:
                ends = slopes[stage.slopes], dslopes[stage.slopes]
                dbias[stage.bias] = self._differentiate(stage, dz, outputs, sums, *ends).sum(1)
                # Rows before the first computed one are inputs, whose gradient may not be wanted.
                below = need_dx or stage.bias.start > 0
                self._push(number, stage, outputs, dz, prepared, dweights, below)
        scattered = dy.new_empty(self.topology.num_parameters)
        scattered[self._bias_order] = dbias
        scattered[self._slope_order] = dslopes.squeeze(1)
        dx = dz.index_select(0, self._input_ranks).t().contiguous() if need_dx else None
        return dx, self._weight_gradients(outputs, dz, weights, dweights), scattered, dz

    def _empty_gradients(self, weights: list[Tensor]) -> Any:
        return None

    @staticmethod
    def _differentiate(
        stage: Stage, dz: Tensor, outputs: Tensor, sums: Tensor, slopes: Tensor, dslopes: Tensor
    ) -> Tensor:
        """Turn the gradients of a stage's outputs in dz into those of its sums, and return these (computed, B).

        Those of its slopes (k, 1) go to `dslopes` (k, 1).
        """
        rows = dz[stage.begin : stage.end]
        grad, out = rows, outputs[stage.begin : stage.end]
        if stage.computed is not None:
            grad, out = rows.index_select(0, stage.computed), out.index_select(0, stage.computed)
        known = out
        if stage.kept_rows is not None:
            known = out.index_copy(0, stage.kept_rows, sums[stage.kept])
        elif stage.kept.start < stage.kept.stop:
            known = sums[stage.kept]
        result = torch.empty_like(grad) if len(stage.activations) > 1 else grad
        for entry, local in stage.activations:
            above, at = (grad, known) if local is None else (grad.index_select(0, local), known.index_select(0, local))
            own = (slopes,) if entry.has_slope else ()
            if own:
                dslopes.copy_((above * at.clamp(max=0)).sum(1, keepdim=True))
            part = entry.backward(above, at, *own)
            if local is None:
                result = part
            else:
                result.index_copy_(0, local, part)
        grad = result
        if stage.computed is None:
            rows.copy_(grad)
        else:
            rows.index_copy_(0, stage.computed, grad)
        return grad

    def _check_device(self, x: Tensor) -> None:
        if x.device != self.device:
            raise UnsupportedOperationError(
                f"this kernel was built for device {self.device}, got x on {x.device}; "
                "build the program again after moving"
            )

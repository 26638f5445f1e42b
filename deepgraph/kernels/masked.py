"""MaskedStages: dense matrices that modules keep zero off the mask (`masked`), one product per stage."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.errors import ArgumentError, ShapeError, StructureError, TooLargeError, UnsupportedOperationError
from deepgraph.kernels.base import Stage, StageKernel
from deepgraph.kernels.plan import MASKED_LIMIT
from deepgraph.kernels.products import add_product
from deepgraph.kernels.topology import Topology

__all__ = ["MASKED_LIMIT", "MaskedStages", "flat_index", "flat_size", "layer_index"]

Layout = Literal["layers", "flat"]


def flat_size(topology: Topology) -> int:
    """Return the number of elements of the flat masked layout: stage width times earlier nodes, over stages.

    Examples
    --------
    >>> t = Topology(3, [0, 1], [1, 2], [0, 1, 2], inputs=[0], outputs=[2], activation=[0, 0, 0])
    >>> flat_size(t)
    3
    """
    starts = topology.stage_starts
    return int((np.diff(starts) * starts[:-1]).sum())


def flat_index(topology: Topology) -> NDArray[np.int64]:
    """Return (E,) int64, where each canonical edge sits in the flat masked layout.

    Stage k has one row-major block (width of stage k, nodes of earlier stages), both in program order; the blocks
    follow each other.

    Examples
    --------
    >>> t = Topology(3, [0, 0, 1], [1, 2, 2], [0, 1, 2], inputs=[0], outputs=[2], activation=[0, 0, 0])
    >>> flat_index(t)
    array([0, 1, 2])
    """
    starts = topology.stage_starts
    block = np.r_[0, np.cumsum(np.diff(starts) * starts[:-1])]
    source, target = topology.rank[topology.src].astype(np.int64), topology.target_rank.astype(np.int64)
    stage = np.searchsorted(starts, target, side="right") - 1
    index: NDArray[np.int64] = block[stage] + (target - starts[stage]) * starts[stage] + source
    return index


def layer_index(topology: Topology) -> list[NDArray[np.int64]]:
    """Return per layer (E_k,) int64, where each canonical edge sits in the layer's (out, in) matrix.

    Raises
    ------
    StructureError
        If an edge skips a stage, positions are not layer by layer, or splits are not the layers' edge counts.

    Examples
    --------
    >>> t = Topology(3, [0, 1], [2, 2], [0, 0, 1], inputs=[0, 1], outputs=[2], activation=[0, 0, 0])
    >>> layer_index(t)
    [array([0, 1])]
    """
    starts = topology.stage_starts
    source, target = topology.src.astype(np.int64), topology.dst.astype(np.int64)
    stage = np.searchsorted(starts, source, side="right") - 1
    layered = topology.is_ordered and (starts[stage] <= source).all()
    following = np.searchsorted(starts, target, side="right") - 1
    counts = np.bincount(stage, minlength=len(starts) - 2).tolist()
    if not layered or (following != stage + 1).any() or tuple(counts) != topology.splits:
        raise StructureError(
            "expected a layered network, with edges between neighbouring stages only and one weight tensor per pair of "
            f"stages, got {len(starts) - 1} stages with edge counts {counts} and splits {topology.splits}; "
            "use the flat layout"
        )
    width = np.diff(starts)
    local = (target - starts[stage + 1]) * width[stage] + source - starts[stage]
    return np.split(local, np.cumsum(counts)[:-1])


class MaskedStages(StageKernel):
    """Computes dense matrices that are zero off the mask, by one `addmm` per stage.

    The forward pass does not multiply by the mask; the backward pass makes the gradient zero off it.

    Parameters
    ----------
    topology : Topology
        The structure; its edges are the mask.
    layout : {"flat", "layers"}
        "flat": one tensor with all blocks of `flat_index`; "layers": one (out, in) matrix per layer of an FFN.
    device : torch.device or str
        Where tensors will live.

    Raises
    ------
    TooLargeError
        If the matrices take more than 1 GB in float32.
    StructureError
        If the layout "layers" does not fit the graph.
    UnsupportedOperationError
        If a node reduces by maximum or product.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 1])
    >>> MaskedStages(t).forward(torch.tensor([[2.0]]), [torch.tensor([3.0])], torch.tensor([1.0]))[0]
    tensor([[7.]])
    """

    name = "MaskedStages"
    storage = "masked"

    def __init__(self, topology: Topology, layout: Layout = "flat", device: torch.device | str = "cpu") -> None:
        if layout not in ("flat", "layers"):
            raise ArgumentError(f"expected layout 'flat' or 'layers', got {layout!r}")
        if not topology.only_sums:
            raise UnsupportedOperationError(
                f"masked storage computes sums, got {np.count_nonzero(topology.ranked_reduce)} nodes that reduce by "
                "maximum or product; use storage='csr'"
            )
        super().__init__(topology, device)
        self.layout = layout
        starts = topology.stage_starts
        width = np.diff(starts)
        elements = flat_size(topology) if layout == "flat" else int((width[1:] * width[:-1]).sum())
        if elements * 4 > MASKED_LIMIT:
            raise TooLargeError(
                f"masked storage of this graph needs {elements:,} weights, {elements * 4 / 2**30:.1f} GB in float32, "
                f"more than the limit of {MASKED_LIMIT / 2**30:.0f} GB; use storage='csr'"
            )
        self._starts: list[int] = starts.tolist()
        self._blocks: list[int] = np.r_[0, np.cumsum(width * starts[:-1])].tolist()
        self._index = [flat_index(topology)] if layout == "flat" else layer_index(topology)

    def with_topology(self, topology: Topology) -> MaskedStages:
        """Return a MaskedStages of the same layout and device for edited edges."""
        return MaskedStages(topology, self.layout, self.device)

    def edge_index(self) -> list[NDArray[np.int64]]:
        """Return per weight tensor (E_k,) int64, where each of its canonical edges sits in the flattened tensor."""
        return self._index

    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each weight tensor."""
        if self.layout == "flat":
            return [(self._blocks[-1],)]
        width = np.diff(self._starts).tolist()
        return list(zip(width[1:], width[:-1], strict=True))

    def check_weights(self, weights: list[Tensor]) -> None:
        """Raise ShapeError unless the weights have exactly the shapes of `weight_shapes`."""
        got = [tuple(weight.shape) for weight in weights]
        if got != self.weight_shapes():
            raise ShapeError(f"expected masked weights of shapes {self.weight_shapes()}, got {got}")

    @cached_property
    def _off_mask(self) -> list[Tensor | None]:
        """Return per weight tensor True off the mask, None where every pair is an edge."""
        masks: list[Tensor | None] = []
        for shape, index in zip(self.weight_shapes(), self._index, strict=True):
            size = int(np.prod(shape))
            if len(index) == size:
                masks.append(None)
                continue
            off = torch.ones(size, dtype=torch.bool)
            off[torch.from_numpy(index)] = False
            masks.append(off.reshape(shape).to(self.device))
        return masks

    def _prepare(self, weights: list[Tensor]) -> list[Tensor]:
        return self._matrices([weight.detach() for weight in weights])

    def _matrices(self, weights: list[Tensor]) -> list[Tensor]:
        """Return one matrix per stage, views into the weights; the first stage has none."""
        starts, blocks = self._starts, self._blocks
        if self.layout == "layers":
            return [weights[0].new_empty(0), *weights] if weights else [torch.empty(0)]
        flat = weights[0]
        return [
            flat[blocks[k] : blocks[k + 1]].view(starts[k + 1] - starts[k], starts[k]) for k in range(len(starts) - 1)
        ]

    def _earlier(self, number: int) -> slice:
        """Return the ranks that feed a stage."""
        first = self._starts[number - 1] if self.layout == "layers" and number else 0
        return slice(first, self._starts[number])

    def _products(self, number: int, stage: Stage, outputs: Tensor, bias: Tensor, prepared: Any) -> Tensor:
        if number == 0:
            return bias.expand(-1, outputs.shape[1]).clone()
        matrix = prepared[number]
        if stage.computed is not None:
            matrix = matrix.index_select(0, stage.computed)
        return add_product(bias.expand(-1, outputs.shape[1]).clone(), matrix, outputs[self._earlier(number)])

    def _pull(self, number: int, stage: Stage, dz: Tensor, prepared: Any) -> None:
        """Do nothing: gradients are handed to earlier rows by `_push`."""

    def _empty_gradients(self, weights: list[Tensor]) -> Any:
        # Every product writes its whole matrix; only without a product is there something to clear.
        written = self.layout == "layers" and all(stage.activations for stage in self._stages[1:])
        make = torch.empty_like if written else torch.zeros_like
        gradients = [make(weight) for weight in weights]
        return gradients, self._matrices(gradients)

    def _push(
        self, number: int, stage: Stage, outputs: Tensor, dz: Tensor, prepared: Any, dweights: Any, below: bool
    ) -> None:
        if number == 0:
            return
        earlier = self._earlier(number)
        rows = dz[stage.begin : stage.end]
        if stage.computed is not None:
            # Rows of inputs hold dx, which is no sum's gradient and must not flow back.
            rows = torch.zeros_like(rows).index_copy_(0, stage.computed, rows.index_select(0, stage.computed))
        add_product(dweights[1][number], rows, outputs[earlier].t(), beta=0.0)
        if below:
            add_product(dz[earlier], prepared[number].t(), rows)

    def _weight_gradients(self, outputs: Tensor, dz: Tensor, weights: list[Tensor], dweights: Any) -> list[Tensor]:
        for gradient, off in zip(dweights[0], self._off_mask, strict=True):
            if off is not None:
                gradient.masked_fill_(off, 0)
        return list(dweights[0])

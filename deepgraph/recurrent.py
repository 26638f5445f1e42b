"""Masked recurrent networks: cells whose two weights have masks, and stacks of them, in layers or on a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import networkx as nx
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepgraph.errors import DtypeError, ShapeError
from deepgraph.graph.arrays import Array
from deepgraph.sparse.maskable import (
    MaskableModule,
    MaskedLayer,
    bind_full,
    check_threshold,
    checked_mask,
    put_mask,
    recompute,
)
from deepgraph.sparse.module import Size, flat_size
from deepgraph.sparse.structure import Structure

__all__ = ["MaskedDeepRNN", "MaskedGRULayer", "MaskedLSTMLayer", "MaskedRecurrentLayer"]

State = Tensor | tuple[Tensor, Tensor]
Nonlinearity = Callable[[Tensor], Tensor]


class _MaskedCell(nn.RNNCellBase, MaskedLayer):
    """What the cells share: G gates, `weight_ih` (G H, I) and `weight_hh` (G H, H), each with a mask."""

    gates: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        sizes = flat_size(input_size, "input_size"), flat_size(hidden_size, "hidden_size")
        super().__init__(*sizes, bias, self.gates, device=device, dtype=dtype)
        bind_full(self, "weight_ih", "weight_hh")

    def reset_parameters(self, keep_mask: bool = False) -> Self:  # type: ignore[override]
        """Draw all parameters as torch's cells do, turn all weights on unless `keep_mask`; return the layer."""
        made = self.masked_weights()
        if not keep_mask:
            for values in made:
                put_mask(values, torch.ones_like(values.parameter, dtype=torch.bool))
        nn.RNNCellBase.reset_parameters(self)
        return self.apply_mask() if made else self

    # -- masks ------------------------------------------------------------------------------------------------------

    @property
    def mask_i2h(self) -> Tensor:
        """Which weights from the input are on (G H, I) bool; a copy."""
        return self.masked_weights()[0].mask()

    @property
    def mask_h2h(self) -> Tensor:
        """Which weights from the hidden state are on (G H, H) bool; a copy."""
        return self.masked_weights()[1].mask()

    def set_i2h_mask(self, mask: Any) -> Self:
        """Mask the weights from the input, and return the layer.

        Parameters
        ----------
        mask : (G H, I) or (H, I) Tensor
            Bool, or zeros and ones; the smaller one holds for every gate.

        Raises
        ------
        DtypeError, ShapeError, ArgumentError
            If it is no such mask.
        """
        return self._put(0, mask, self.input_size, "mask_i2h")

    def set_h2h_mask(self, mask: Any) -> Self:
        """Mask the weights from the hidden state, (G H, H) or (H, H), as `set_i2h_mask`; return the layer."""
        return self._put(1, mask, self.hidden_size, "mask_h2h")

    def _put(self, index: int, mask: Any, width: int, name: str) -> Self:
        narrow = tuple(getattr(mask, "shape", ())) == (self.hidden_size, width)
        rows = self.hidden_size if narrow else self.gates * self.hidden_size
        wanted = checked_mask(mask, (rows, width), name)
        put_mask(self.masked_weights()[index], wanted.repeat(self.gates, 1) if narrow else wanted)
        return self

    # -- computing --------------------------------------------------------------------------------------------------

    def _sums(self, input: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return what input and hidden state contribute to the gates (B, G H) each, and the hidden state (B, H)."""
        if input.dim() != 2 or input.shape[1] != self.input_size:
            raise ShapeError(f"input: expected shape (batch, {self.input_size}), got {tuple(input.shape)}")
        if hidden is None:
            hidden = input.new_zeros(len(input), self.hidden_size)
        elif hidden.shape != (len(input), self.hidden_size):
            raise ShapeError(f"hidden: expected shape {(len(input), self.hidden_size)}, got {tuple(hidden.shape)}")
        from_input = functional.linear(input, self.weight_ih, self.bias_ih)
        return from_input, functional.linear(hidden, self.weight_hh, self.bias_hh), hidden


class MaskedRecurrentLayer(_MaskedCell):
    """A recurrent cell h' = f(W_ih x + b_ih + W_hh h + b_hh) with masks on both weights.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    nonlinearity : callable, optional
        f, a module or function; default tanh.
    bias : bool
    device, dtype
        As in torch.

    Notes
    -----
    The masks are edge sets: no optimizer moves a masked weight, and rewiring and pruning act on them.

    Examples
    --------
    >>> layer = MaskedRecurrentLayer(3, 2).set_h2h_mask(torch.eye(2))
    >>> layer(torch.zeros(5, 3)).shape, layer.get_weight_count()
    (torch.Size([5, 2]), 8)
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: Nonlinearity | None = None,
        bias: bool = True,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device=device, dtype=dtype)
        if nonlinearity is not None and not callable(nonlinearity):
            raise DtypeError(f"nonlinearity: expected a function or a module, got {nonlinearity!r}")
        self.nonlinearity: Nonlinearity = torch.tanh if nonlinearity is None else nonlinearity

    def forward(self, input: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the next hidden state (B, H) for x (B, I) and the present one, zeros unless given.

        Raises
        ------
        ShapeError
            If a shape does not fit.
        """
        from_input, from_hidden, _ = self._sums(input, hidden)
        return self.nonlinearity(from_input + from_hidden)


class MaskedGRULayer(_MaskedCell):
    """A gated recurrent unit, computed as `torch.nn.GRUCell`, with masks on both weights; G = 3: reset, update, new.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    device, dtype
        As in torch.

    Examples
    --------
    >>> MaskedGRULayer(3, 2)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    gates = 3

    def forward(self, input: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Return the next hidden state (B, H) for x (B, I) and the present one; ShapeError if a shape does not fit."""
        from_input, from_hidden, state = self._sums(input, hidden)
        reset_i, update_i, new_i = from_input.chunk(3, 1)
        reset_h, update_h, new_h = from_hidden.chunk(3, 1)
        update = torch.sigmoid(update_i + update_h)
        new = torch.tanh(new_i + torch.sigmoid(reset_i + reset_h) * new_h)
        return new + update * (state - new)


class MaskedLSTMLayer(_MaskedCell):
    """A long short-term memory, computed as `torch.nn.LSTMCell`, with masks; G = 4: input, forget, cell, output.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    device, dtype
        As in torch.

    Examples
    --------
    >>> hidden, memory = MaskedLSTMLayer(3, 2)(torch.zeros(5, 3))
    >>> hidden.shape, memory.shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    gates = 4

    def forward(self, input: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Return the next (hidden, memory), each (B, H), for x (B, I); ShapeError if a shape does not fit."""
        hidden, memory = (None, None) if state is None else state
        from_input, from_hidden, _ = self._sums(input, hidden)
        entry, forget, cell, exit_ = (from_input + from_hidden).chunk(4, 1)
        if memory is None:
            memory = torch.zeros_like(cell)
        memory = torch.sigmoid(forget) * memory + torch.sigmoid(entry) * torch.tanh(cell)
        return torch.sigmoid(exit_) * torch.tanh(memory), memory


class MaskedDeepRNN(MaskableModule):
    """Recurrent layers on top of each other, or on a graph; the result is the state after the last time step.

    Parameters
    ----------
    size_input : int or shape
        Features I of one time step.
    hidden_layers : sequence of int, or nx.DiGraph
        Widths; or a structure: each stage of it is a layer, the first takes x, and each other one takes the states of
        all earlier stages, skip edges included, masked to the edges of the graph.
    build_recurrent_layer : callable
        Called with (features, width): `MaskedRecurrentLayer`, `MaskedGRULayer`, `MaskedLSTMLayer` or alike.
    nonlinearity : callable, optional
        Handed on to `MaskedRecurrentLayer`; others have their own.
    batch_first : bool
        Whether sequences come as (B, T, I); by default (T, B, I), as in torch.

    Raises
    ------
    ArgumentError
        If a size is not valid.
    StructureError, CycleError
        If a structure cannot be compiled.

    Notes
    -----
    Weights from hidden to hidden state are all on at first; `model.layers[k].set_h2h_mask` masks them. Of a structure,
    the result are the states of its outputs, so that sinks before the last stage count and learn.

    Examples
    --------
    >>> model = MaskedDeepRNN(3, [8, 2], build_recurrent_layer=MaskedGRULayer, batch_first=True)
    >>> model(torch.zeros(5, 7, 3)).shape
    torch.Size([5, 2])
    >>> import deepgraph as dg
    >>> model = MaskedDeepRNN(3, dg.priors.random_layered([4, 6, 2], 0.5, seed=0))
    >>> model(torch.zeros(7, 5, 3)).shape, model.layers[1].mask_i2h.sum().item()
    (torch.Size([5, 2]), 12)
    """

    def __init__(
        self,
        size_input: Size,
        hidden_layers: Sequence[int] | nx.DiGraph[Any],
        build_recurrent_layer: Callable[..., nn.Module] = MaskedRecurrentLayer,
        nonlinearity: Nonlinearity | None = None,
        batch_first: bool = False,
    ) -> None:
        super().__init__()
        self.size_input, self.batch_first = flat_size(size_input, "size_input"), bool(batch_first)
        facts = Structure.of(hidden_layers, "tanh", linear_outputs=False) if _is_graph(hidden_layers) else None
        if facts is None:
            self.widths = [flat_size(width, "hidden_layers") for width in hidden_layers]
            features = [self.size_input, *self.widths[:-1]]
        else:
            self.widths = np.unique(facts.stage, return_counts=True)[1].tolist()
            features = [self.size_input, *np.cumsum(self.widths)[:-1].tolist()]
        # With a structure a layer takes all earlier states and the result is picked from all of them.
        self.skips = facts is not None
        options = (
            {"nonlinearity": nonlinearity}
            if nonlinearity is not None and build_recurrent_layer is MaskedRecurrentLayer
            else {}
        )
        self.layers = nn.ModuleList(
            build_recurrent_layer(n, width, **options) for n, width in zip(features, self.widths, strict=True)
        )
        chosen = np.arange(self.widths[-1]) if facts is None else self._wire(facts)
        self.register_buffer("_chosen", torch.from_numpy(chosen), persistent=False)

    def _wire(self, facts: Structure) -> Array:
        """Mask the weights between stages to the edges; return the places of the outputs among all states."""
        order = np.argsort(facts.stage, kind="stable")
        rank = np.empty(facts.num_nodes, np.int64)
        rank[order] = np.arange(facts.num_nodes)
        starts = np.concatenate([[0], np.cumsum(self.widths)])
        src, dst = rank[facts.src], rank[facts.dst]
        for k, layer in enumerate(self.layers):
            if k:
                mine = (dst >= starts[k]) & (dst < starts[k + 1])
                mask = torch.zeros(self.widths[k], int(starts[k]), dtype=torch.bool)
                mask[torch.from_numpy(dst[mine] - starts[k]), torch.from_numpy(src[mine])] = True
                layer.set_i2h_mask(mask)  # type: ignore[operator]
        return rank[facts.outputs]

    def forward(self, x: Tensor) -> Tensor:
        """Return the states (B, O) after the last step for x (T, B, I), or (B, T, I) with `batch_first`.

        Raises
        ------
        ShapeError
            If x has another shape, or no time step.
        """
        steps = x.transpose(0, 1) if self.batch_first and x.dim() == 3 else x
        if steps.dim() != 3 or steps.shape[2] != self.size_input or not len(steps):
            names = "batch, time" if self.batch_first else "time, batch"
            raise ShapeError(f"x: expected shape ({names}, {self.size_input}), got {tuple(x.shape)}")
        states: list[State | None] = [None] * len(self.layers)
        below: list[Tensor] = []
        for step in steps:
            below = []
            for k, layer in enumerate(self.layers):
                given = step if k == 0 else (torch.cat(below, 1) if self.skips else below[-1])
                states[k] = state = layer(given, states[k])
                below.append(state[0] if isinstance(state, tuple) else state)
        result = torch.cat(below, 1) if self.skips else below[-1]
        return result.index_select(1, self.get_buffer("_chosen"))

    def apply_mask(self, threshold: float = 0.0, i2h: bool = False, h2h: bool = False) -> Self:
        """Mask weights below a threshold in magnitude, and return the model.

        Parameters
        ----------
        threshold : float
            >= 0.
        i2h, h2h : bool
            Whether weights from the input, or from the hidden state, of all layers are masked. What is masked stays.

        Raises
        ------
        ArgumentError
            If the threshold is negative or NaN.
        """
        check_threshold(threshold)
        super().apply_mask()
        for layer in self.maskable_children:
            values = layer.masked_weights() if isinstance(layer, _MaskedCell) else []
            for wanted, one in zip((i2h, h2h), values, strict=False):
                if wanted:
                    recompute(one, threshold, keep_masked=True)
        return self


def _is_graph(value: Any) -> bool:
    return isinstance(value, nx.Graph)

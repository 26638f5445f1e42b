"""Forward passes of few columns, where what surrounds the compiled loop would take longer than the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.kernels.buffers import Buffers
from deepgraph.kernels.node_values import Parts
from deepgraph.kernels.topology import Topology

__all__ = ["NarrowPass"]


_NUMBER: dict[int, np.dtype[Any]] = {4: np.dtype(np.float32), 8: np.dtype(np.float64)}


class NarrowPass:
    """Runs `scatter_walk` for one topology, with everything that does not change from call to call at hand.

    Parameters
    ----------
    topology : Topology
        With sums only.
    parts : Parts
        How the edges are split over weight tensors; no position has out-edges in several.
    step : (E,) int16 or int32
        What to add to the rank of each canonical edge's source to get its target's.
    nodes : tuple of (N,) int32
        Activation code and kept row of each rank.
    ends : tuple of int32 arrays
        Ranks of the inputs, whether they are first occurrences, which 16 at a time are consecutive; ranks of the
        outputs and which 16 are consecutive.
    """

    def __init__(
        self,
        topology: Topology,
        parts: Parts,
        step: NDArray[Any],
        nodes: tuple[NDArray[np.int32], NDArray[np.int32]],
        ends: tuple[NDArray[np.int32], ...],
    ) -> None:
        t = topology
        self._step = step
        bias_rank = np.flatnonzero(t.bias_index >= 0)
        computed = np.empty(t.num_computed, np.int32)
        computed[t.bias_index[bias_rank]] = bias_rank
        spans = (t.source_indptr[:-1][t.order], t.source_indptr[1:][t.order])
        self._fixed = [*nodes, *spans, parts.part[t.order]]
        self._ends = [computed, *ends]
        self._sizes = (t.num_nodes, len(t.inputs), len(t.outputs), t.num_edges)
        self._offsets = parts.bounds[:-1].tolist()
        self._rows = t.num_nodes + t.num_kept + 2
        self._like = np.empty(0, np.int32)
        self._lengths: list[int] = []
        self._places: list[int] = []
        self._rooms: list[int] = []
        self._index = np.empty(0, np.int64)

    def __call__(
        self, x: Tensor, weights: list[Tensor], biases: list[Tensor], tile: int, buffers: Buffers
    ) -> tuple[Tensor, NDArray[Any]]:
        """Return (y (B, O), saved (tiles, N + K + 2, T)).

        Parameters
        ----------
        x : (B, I) Tensor
            float32 or float64, contiguous like all others.
        weights : list of Tensor
            One for each part, with room for its edges.
        biases : list of Tensor
            As many as weights; joined they have one number for each computed node.
        tile : int
            Columns, T.
        buffers : Buffers
            Gives the memory of `saved`.
        """
        return self._run(x, self.places(weights, biases), tile, buffers)

    def places(self, weights: list[Tensor], biases: list[Tensor]) -> list[int]:
        """Return where value 0 of all would be for each weight tensor, then the same for biases."""
        lengths = [len(bias) for bias in biases]
        if lengths != self._lengths:
            self._bind(lengths)
        size = weights[0].element_size()
        places = [w.data_ptr() - size * at for w, at in zip(weights, self._offsets, strict=True)]
        return places + [b.data_ptr() - size * at for b, at in zip(biases, self._starts, strict=True)]

    def checked(
        self,
        x: Tensor,
        weights: list[Tensor],
        biases: list[Tensor],
        tile: int,
        buffers: Buffers,
        fits: Callable[[], bool],
    ) -> Tensor | None:
        """Return y (B, O), None where `fits`, which is asked where a tensor has moved since the last call, says no."""
        places, rooms = self.places(weights, biases), [len(weight) for weight in weights]
        if places != self._places or rooms != self._rooms:
            if not fits():
                return None
            self._places, self._rooms = places, rooms
        return self._run(x, places, tile, buffers)[0]

    def _run(self, x: Tensor, places: list[int], tile: int, buffers: Buffers) -> tuple[Tensor, NDArray[Any]]:
        from deepgraph.kernels.numba_scatter import scatter_walk

        batch, size = x.shape[0], x.element_size()
        saved = buffers.array((-(-batch // tile), self._rows, tile), _NUMBER[size])
        y = x.new_empty((batch, self._sizes[2]))
        scatter_walk(tile)(
            self._index,
            self._like,
            self._step,
            np.array(places),
            x.data_ptr(),
            y.data_ptr(),
            batch,
            *self._sizes,
            saved,
        )
        return y, saved

    def _bind(self, lengths: list[int]) -> None:
        """Note how the biases are split, and where all index arrays lie."""
        bounds = np.r_[0, np.cumsum(lengths)].astype(np.int32)
        self._lengths, self._starts = lengths, bounds[:-1].tolist()
        self._places = []
        self._held = [*self._fixed, bounds, *self._ends]
        self._index = np.array([array.ctypes.data for array in self._held])

"""Forward passes of few columns, where what surrounds the compiled loop would take longer than the loop."""

from __future__ import annotations

from itertools import pairwise
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
        computed = np.empty(t.num_parameters, np.int32)
        for index, rows in ((t.bias_index, np.arange(t.num_nodes)), (t.slope_index, t.num_nodes + t.kept_index)):
            # A slope waits in the row where its node's sum will be kept.
            computed[index[index >= 0]] = rows[index >= 0]
        spans = (t.source_indptr[:-1][t.order], t.source_indptr[1:][t.order])
        self._fixed = [*nodes, *spans, parts.part[t.order]]
        self._ends = [computed, *ends]
        self._sizes = (t.num_nodes, len(t.inputs), len(t.outputs), t.num_edges)
        self._offsets = parts.bounds[:-1].tolist()
        self._rows = t.num_nodes + t.num_kept + 2
        self._like = np.empty(0, np.int32)
        self._last: tuple[Any, ...] | None = None

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
            Joined they have one number for each computed node, then one for each slope.
        tile : int
            Columns, T.
        buffers : Buffers
            Gives the memory of `saved`.
        """
        walk, held, places = self._bound(weights, biases, tile)
        saved = self._room(x, tile, buffers)
        return self._run(x, walk, held[0], places, saved), saved

    def remember(self, x: Tensor, weights: list[Tensor], biases: list[Tensor], tile: int, buffers: Buffers) -> None:
        """Let `again` take the calls that are like this one, whose tensors somebody has checked.

        Parameters are those of a call, x included: contiguous, of one dtype.
        """
        bound, rooms = self._bound(weights, biases, tile), [self._room(x, tile, buffers)]
        self._last = (_traits(x, weights + biases), *bound, rooms, tile)

    def again(self, x: Tensor, weights: list[Tensor], biases: list[Tensor], buffers: Buffers) -> Tensor | None:
        """Return y (B, O); None where x is another kind of tensor than remembered, or a weight or bias has moved."""
        last = self._last
        if last is None or _traits(x, weights + biases) != last[0]:
            return None
        _, walk, held, places, rooms, tile = last
        try:
            # Taken out, because another thread may run the same loop.
            saved = rooms.pop()
        except IndexError:
            saved = self._room(x, tile, buffers)
        y = self._run(x, walk, held[0], places, saved)
        rooms.append(saved)
        return y

    def _run(self, x: Tensor, walk: Any, index: Any, places: NDArray[np.int64], saved: NDArray[Any]) -> Tensor:
        batch = x.shape[0]
        y = x.new_empty((batch, self._sizes[2]))
        walk(index, self._like, self._step, places, x.data_ptr(), y.data_ptr(), batch, *self._sizes, saved)
        return y

    def _room(self, x: Tensor, tile: int, buffers: Buffers) -> NDArray[Any]:
        return buffers.array((-(-x.shape[0] // tile), self._rows, tile), _NUMBER[x.element_size()])

    def _bound(
        self, weights: list[Tensor], biases: list[Tensor], tile: int
    ) -> tuple[Any, list[NDArray[Any]], NDArray[np.int64]]:
        """Return the loop, the addresses of index arrays followed by the arrays themselves, and where values are."""
        from deepgraph.kernels.numba_scatter import scatter_walk

        # As many of both: nobody reads the weights that are added, and an empty bias adds nothing.
        count = max(len(weights), len(biases))
        weights = weights + [weights[0]] * (count - len(weights))
        biases = biases + [biases[0][:0]] * (count - len(biases))
        offsets = self._offsets + [0] * (count - len(self._offsets))
        bounds = np.r_[0, np.cumsum([bias.numel() for bias in biases])].astype(np.int32)
        straight = [(np.diff(self._ends[0][first:last]) == 1).all() for first, last in pairwise(bounds)]
        arrays = [*self._fixed, bounds, *self._ends, np.array(straight, np.int32)]
        index = np.array([array.ctypes.data for array in arrays])
        size = weights[0].element_size()
        starts = zip((*weights, *biases), (*offsets, *bounds[:-1].tolist()), strict=True)
        places = np.array([tensor.data_ptr() - size * first for tensor, first in starts])
        return scatter_walk(tile), [index, *arrays], places


def _traits(x: Tensor, tensors: list[Tensor]) -> list[Any]:
    """Return what two calls of a loop over addresses must have in common."""
    found: list[Any] = [tensor.data_ptr() for tensor in tensors]
    return found + [tensor.numel() for tensor in tensors] + [x.dtype, x.shape, x.is_contiguous()]

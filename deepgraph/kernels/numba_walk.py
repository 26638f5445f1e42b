"""NumbaWalk: one compiled loop over all neurons per tile of the batch, for edge values (`csr`) on the CPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.errors import MissingDependencyError, UnsupportedOperationError
from deepgraph.kernels.activations import activation
from deepgraph.kernels.base import Gradients, Kernel
from deepgraph.kernels.edge_values import check_values, live_parts, split_gradient, values_view
from deepgraph.kernels.panels import panel_rows, panel_table, worth_panels
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.tiling import Tiling, narrow, tile_width, tiling
from deepgraph.kernels.topology import Topology

__all__ = ["NumbaWalk", "thread_pool"]

_logger = logging.getLogger("deepgraph.kernels")
_DTYPES = (torch.float32, torch.float64)
# Below this many multiply-adds a second thread costs more than it saves.
_THREAD_WORK = 8_000_000
_SPARE_ROWS = 2
_PANEL_ROW_BYTES = 256


@cache
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads that compiled loops are shared among; they are made once per process and number."""
    return ThreadPoolExecutor(threads, thread_name_prefix="deepgraph")


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork; a child that took over their pool would wait for them forever.
    os.register_at_fork(after_in_child=thread_pool.cache_clear)


@cache
def _announce() -> None:
    """Say once per process that kernels are being compiled, unless numba's disk cache has them."""
    from deepgraph.kernels import numba_loops

    cache = getattr(numba_loops.gather, "_cache", None)
    path = getattr(cache, "cache_path", None)
    if path is None or not any(Path(path).glob("numba_loops.*.nbi")):
        _logger.warning("deepgraph: compiling kernels with numba, a few seconds, the first time only")


class NumbaWalk(Kernel):
    """Computes edge values with vector code: all neurons in program order, one tile of the batch after the other.

    Wide layers and chains of ten thousand layers run through the same loop. The forward pass gathers from the sources
    in target-major order; the backward pass gathers from the targets in canonical order and makes the gradients of
    outputs and weights from one load. Results do not depend on the number of threads.

    Parameters
    ----------
    topology : Topology
        The structure to compute; no registered activations.

    Raises
    ------
    MissingDependencyError
        If numba is not installed.
    UnsupportedOperationError
        If a node has a registered activation.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 1])
    >>> NumbaWalk(t).forward(torch.tensor([[2.0]]), [torch.tensor([3.0])], torch.tensor([1.0]))[0]
    tensor([[7.]])
    """

    name = "NumbaWalk"
    storage = "csr"

    def __init__(self, topology: Topology) -> None:
        if not has_numba():
            raise MissingDependencyError("NumbaWalk needs numba: pip install deepgraph-nn[fast], or use TorchWalk")
        custom = [entry.name for code in np.unique(topology.activation) if (entry := activation(int(code))).is_custom]
        if custom:
            raise UnsupportedOperationError(
                f"registered activations {custom} cannot be compiled; use TorchWalk, which a plan does by itself"
            )
        super().__init__(topology)
        self._out_rows = topology.num_nodes + 3
        self._tables: dict[tuple[int, bool], Any] = {}

    def with_topology(self, topology: Topology) -> NumbaWalk:
        """Return a NumbaWalk for edited edges."""
        new = NumbaWalk(topology)
        same = ("_nodes", "_inputs", "_outputs") + (("_is_seeded",) if topology.only_sums else ())
        for name in same if topology.rank is self.topology.rank else ():
            if name in self.__dict__:
                new.__dict__[name] = self.__dict__[name]
        return new

    def check_weights(self, weights: list[Tensor]) -> None:
        """Raise ShapeError unless the weights are one-dimensional with room for their edges."""
        check_values(self.topology, weights)

    def saved_shape(self, batch: int, dtype: torch.dtype) -> tuple[int, ...]:
        """Return (tiles, N + K + 2, T)."""
        self._check_dtype(dtype)
        # Plain arithmetic, because a tracer passes a symbolic batch.
        tile = tile_width(batch, dtype.itemsize)
        return ((batch + tile - 1) // tile, self.topology.num_nodes + self.topology.num_kept + _SPARE_ROWS, tile)

    @staticmethod
    def _check_dtype(dtype: torch.dtype) -> None:
        if dtype not in _DTYPES:
            raise UnsupportedOperationError(f"NumbaWalk computes float32 and float64, got {dtype}; use TorchWalk")

    def _tiling(self, batch: int, dtype: torch.dtype) -> Tiling:
        self._check_dtype(dtype)
        return tiling(batch, dtype.itemsize)

    def _rows(self, blocks: Tensor, batch: int) -> Tensor:
        return blocks.permute(1, 0, 2).reshape(blocks.shape[1], -1)[:, :batch]

    @cached_property
    def _nodes(self) -> tuple[NDArray[np.int32], ...]:
        t = self.topology
        codes = (_locked(part.astype(np.int32)) for part in (t.ranked_activation, t.ranked_reduce))
        return t.bias_index, next(codes), t.kept_index, next(codes)

    @cached_property
    def _inputs(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return self.topology.input_ranks, _first_occurrence(self.topology.input_ranks)

    @cached_property
    def _outputs(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return self.topology.output_ranks, _first_occurrence(self.topology.output_ranks)

    @cached_property
    def _is_seeded(self) -> NDArray[np.int32]:
        """Return (N,) by rank: whose gradient has a part besides what the walk gathers, from outside or sent back."""
        t = self.topology
        mask = np.zeros(t.num_nodes, dtype=np.int32)
        mask[t.output_ranks] = 1
        if not t.only_sums:
            mask[t.rank[t.src[t.reduced_edges]]] = 1
        return _locked(mask)

    @cached_property
    def _pulled(self) -> NDArray[np.int32]:
        """Return (E,) in canonical order: the row each edge gathers its gradient from, N (zeros) if it is sent back."""
        t = self.topology
        return t.target_rank if t.only_sums else _locked(np.where(t.reduced_edges, t.num_nodes, t.target_rank))

    @cached_property
    def _reduced(self) -> tuple[Any, ...]:
        """Return what maxima and products need: edges by target, rows to be cleared, and their largest degree."""
        t = self.topology
        cleared = self._is_seeded.copy()
        cleared[t.output_ranks] = 0
        degree = np.diff(t.target_indptr)[t.ranked_reduce != 0].max(initial=0)
        perm, source = t.canonical_by_target
        return t.target_indptr, source, perm, _locked(np.flatnonzero(cleared)), int(degree)

    @cached_property
    def _has_panels(self) -> bool:
        return worth_panels(self.topology)

    def _panels(self, cut: Tiling, itemsize: int, *, by_source: bool) -> Any:
        """Return the table of panels of one direction, None where the plain loops are faster."""
        # Shorter rows have several chains of sums, which panels would join in another order.
        if cut.tile * itemsize < _PANEL_ROW_BYTES or not self._has_panels:
            return None
        key = (panel_rows(cut.tile, itemsize), by_source)
        if key not in self._tables:
            self._tables[key] = tuple(map(_locked, panel_table(self.topology, *key)))
        return self._tables[key]

    def _values(self, weights: list[Tensor]) -> NDArray[Any]:
        """Return (E,), the values of all edges.

        They are joined by numpy: torch would wake its own threads, which then spin beside those of `_run`.
        """
        view = values_view(self.topology, weights)
        if view is not None:
            return _array(view)
        return np.concatenate([part.numpy() for part in live_parts(self.topology, weights)])

    def _threads(self, cut: Tiling, batch: int) -> int:
        """Return how many threads share out the groups: as many as torch uses if the work is worth it."""
        worth = self.topology.num_edges * batch >= _THREAD_WORK
        return min(torch.get_num_threads(), len(cut.groups)) if worth else 1

    def forward(self, x: Tensor, weights: list[Tensor], bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y (B, O), saved (tiles, N + K + 2, T)); see `Kernel.forward`."""
        from deepgraph.kernels import numba_loops, numba_panels

        _announce()
        t, batch = self.topology, x.shape[0]
        cut = self._tiling(batch, x.dtype)
        saved = torch.empty(self.saved_shape(batch, x.dtype), dtype=x.dtype)
        y = torch.empty((batch, t.outputs.shape[0]), dtype=x.dtype)
        values = self._values(weights)
        columns, biases, saved_array, y_array = _array(x), _array(bias), saved.numpy(), y.numpy()
        ends = (biases, self._inputs, self._outputs)
        if narrow(cut.tile, x.dtype.itemsize) and t.only_sums:
            walk = numba_loops.scatter_walk(cut.tile)
            edges: tuple[Any, ...] = (t.order, t.source_indptr, t.target_rank, values)
        else:
            gathered = np.empty_like(values)
            numba_loops.gather(values, t.target_perm, gathered)
            table = self._panels(cut, x.dtype.itemsize, by_source=False)
            walk = numba_loops.forward_walk(cut.tile) if table is None else numba_panels.forward_panels(cut.tile)
            edges = (t.target_indptr if table is None else table, t.source_rank, gathered)

        def task(bounds: tuple[int, int]) -> None:
            walk(columns, saved_array, y_array, self._nodes, *edges, *ends, *bounds)

        threads = self._threads(cut, batch)
        _run(task, threads, cut.groups if threads > 1 else [(0, cut.tiles)])
        return y, saved

    def backward(self, dy: Tensor, saved: Tensor, weights: list[Tensor], need_dx: bool = True) -> Gradients:
        """Return (dx, dweights, dbias, dz (tiles, N + 3, T)); see `Kernel.backward`."""
        from deepgraph.kernels import numba_loops, numba_panels

        t, batch = self.topology, dy.shape[0]
        cut = self._tiling(batch, dy.dtype)
        dz = torch.empty((cut.tiles, self._out_rows, cut.tile), dtype=dy.dtype)
        dx = torch.empty((batch if need_dx else 0, t.inputs.shape[0]), dtype=dy.dtype)
        arrays = [_array(part) for part in (dy, saved, dz, dx)]
        values = self._values(weights)
        table = self._panels(cut, dy.dtype.itemsize, by_source=True)
        if table is None:
            walk = numba_loops.backward_walk(cut.tile)
            edges: tuple[Any, ...] = (t.order, t.source_indptr, self._pulled, values)
            ends: tuple[Any, ...] = (self._inputs, self._outputs, self._is_seeded, self._reduced)
        else:
            walk = numba_panels.backward_panels(cut.tile)
            edges, ends = (table, t.target_rank, values), (self._inputs, self._outputs, self._is_seeded)
        threads = self._threads(cut, batch)
        # One thread can add the tiles up in place where each is a group: the sums have the same order as partial ones.
        groups = [(0, cut.tiles)] if threads == 1 and cut.single else cut.groups
        # The first group sums into the result itself, a single weight's spare room included, the others into parts.
        dw = torch.empty(weights[0].shape[0] if len(weights) == 1 else t.num_edges, dtype=dy.dtype)
        db = torch.empty(t.num_computed, dtype=dy.dtype)
        dw_array, db_array = dw.numpy(), db.numpy()
        dw_parts = np.empty((max(1, len(groups)) - 1, t.num_edges), dtype=dw_array.dtype)
        db_parts = np.empty((len(dw_parts), t.num_computed), dtype=dw_array.dtype)

        def task(group: tuple[int, tuple[int, int]]) -> None:
            number, bounds = group
            walk(
                *arrays, self._nodes, *edges, dw_parts[number - 1] if number else dw_array,
                db_parts[number - 1] if number else db_array, *ends, *bounds, need_dx,
            )  # fmt: skip

        _run(task, threads, list(enumerate(groups or [(0, 0)])))
        if len(groups) > 1:
            numba_loops.add_in_order(dw_parts, dw_array)
            numba_loops.add_in_order(db_parts, db_array)
        return dx if need_dx else None, split_gradient(t, dw, weights), db, dz


def _run(task: Callable[[Any], None], threads: int, items: Sequence[Any]) -> None:
    """Run the task of every item, on a pool if there are several threads."""
    if threads == 1:
        for item in items:
            task(item)
    else:
        for _ in thread_pool(threads).map(task, items):
            pass


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().contiguous().numpy()
    return array


def _first_occurrence(ranks: NDArray[np.int32]) -> NDArray[np.int32]:
    fresh = np.zeros(ranks.shape[0], dtype=np.int32)
    fresh[np.unique(ranks, return_index=True)[1]] = 1
    return _locked(fresh)


def _locked(array: NDArray[Any]) -> NDArray[np.int32]:
    array = array.astype(np.int32, copy=False)
    array.flags.writeable = False
    return array

"""NumbaWalk: one compiled loop over all neurons per tile of the batch, for edge values (`csr`) on the CPU."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
from deepgraph.kernels.buffers import Buffers
from deepgraph.kernels.edge_values import check_values, split_gradient
from deepgraph.kernels.narrow_pass import NarrowPass
from deepgraph.kernels.node_values import Parts, Values, steps
from deepgraph.kernels.panels import panel_rows, panel_table, widest_stage, worth_panels
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.tiling import Tiling, narrow, tile_width, tiling
from deepgraph.kernels.topology import Topology

__all__ = ["NumbaWalk", "announce", "thread_pool"]

_logger = logging.getLogger("deepgraph.kernels")
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
# Below this many multiply-adds a second thread costs more than it saves.
_THREAD_WORK = 8_000_000
_SPARE_ROWS = 2
_PANEL_ROW_BYTES = 256
# Batch sizes whose loops are remembered.
_KNOWN = 32


@cache
def thread_pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads that compiled loops are shared among; they are made once per process and number."""
    return ThreadPoolExecutor(threads, thread_name_prefix="deepgraph")


if hasattr(os, "register_at_fork"):
    # Threads do not survive a fork; a child that took over their pool would wait for them forever.
    os.register_at_fork(after_in_child=thread_pool.cache_clear)


@cache
def announce() -> None:
    """Say once per process that kernels are being compiled, unless numba's disk cache has them."""
    from deepgraph.kernels import numba_loops

    cache = getattr(numba_loops.gather, "_cache", None)
    path = getattr(cache, "cache_path", None)
    if path is None or not any(Path(path).glob("numba_loops.*.nbi")):
        _logger.warning("deepgraph: compiling kernels with numba, a few seconds, the first time only")


@dataclass(frozen=True)
class _Loops:
    """What all passes of one batch size and dtype have in common.

    Parameters
    ----------
    cut : Tiling
    number : numpy dtype
        That is computed in.
    narrow : bool
        Whether a row of a tile fits one vector.
    gather, forward, backward : callable
        Compiled.
    index : (N + 1,) int32 or tuple
        Where the edges of each node begin for `forward`: plain, or the table of panels.
    table : tuple or None
        The table of panels of `backward`.
    """

    cut: Tiling
    number: np.dtype[Any]
    narrow: bool
    gather: Callable[..., None]
    forward: Callable[..., None]
    index: Any
    backward: Callable[..., None]
    table: Any


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
        custom = [entry.name for code in topology.codes if (entry := activation(code)).is_custom]
        if custom:
            raise UnsupportedOperationError(
                f"registered activations {custom} cannot be compiled; use TorchWalk, which a plan does by itself"
            )
        super().__init__(topology)
        self._out_rows = topology.num_nodes + 3
        self._tables: dict[tuple[int, bool], Any] = {}
        self._known_loops: dict[tuple[int, torch.dtype], _Loops] = {}
        self._buffers = Buffers()

    def with_topology(self, topology: Topology) -> NumbaWalk:
        """Return a NumbaWalk for edited edges."""
        new = NumbaWalk(topology)
        same = ("_nodes", "_inputs", "_outputs") + (("_is_seeded",) if topology.only_sums else ())
        for name in same if topology.rank is self.topology.rank else ():
            if name in self.__dict__:
                new.__dict__[name] = self.__dict__[name]
        new._buffers = self._buffers
        if topology.splits == self.topology.splits:
            new._checked = self._checked
        return new

    def check_weights(self, weights: list[Tensor]) -> None:
        """Raise ShapeError unless the weights are one-dimensional with room for their edges."""
        check_values(self.topology, weights)

    def saved_shape(self, batch: int, dtype: torch.dtype) -> tuple[int, ...]:
        """Return (tiles, N + K + 2, T)."""
        self._check_dtype(dtype)
        # Plain arithmetic, because a tracer passes a symbolic batch.
        tile = tile_width(batch, self.saved_dtype(dtype).itemsize)
        return ((batch + tile - 1) // tile, self.topology.num_nodes + self.topology.num_kept + _SPARE_ROWS, tile)

    def saved_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Return the dtype that is computed in: bfloat16 is read and written only, sums are float32."""
        return torch.float32 if dtype == torch.bfloat16 else dtype

    @staticmethod
    def _check_dtype(dtype: torch.dtype) -> None:
        if dtype not in _DTYPES:
            raise UnsupportedOperationError(
                f"NumbaWalk computes float32, float64 and bfloat16, got {dtype}; use TorchWalk"
            )

    def _tiling(self, batch: int, dtype: torch.dtype) -> Tiling:
        self._check_dtype(dtype)
        return tiling(batch, self.saved_dtype(dtype).itemsize)

    def _rows(self, blocks: Tensor, batch: int) -> Tensor:
        tiles, rows, tile = blocks.shape
        if tiles == 1:
            return blocks[0, :, :batch]
        joined = torch.from_numpy(self._buffers.array((rows, tiles * tile), blocks.numpy().dtype))
        joined.view(rows, tiles, tile).copy_(blocks.transpose(0, 1))
        return joined[:, :batch]

    @cached_property
    def _nodes(self) -> tuple[NDArray[np.int32], ...]:
        t = self.topology
        codes = (_locked(part.astype(np.int32)) for part in (t.ranked_activation, t.ranked_reduce))
        return t.bias_index, next(codes), t.kept_index, next(codes), t.slope_index

    @cached_property
    def _inputs(self) -> tuple[NDArray[np.int32], ...]:
        return _ends(self.topology.input_ranks)

    @cached_property
    def _outputs(self) -> tuple[NDArray[np.int32], ...]:
        return _ends(self.topology.output_ranks)

    @cached_property
    def _parts(self) -> Parts:
        return Parts.of(self.topology)

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
    def _to_pulled(self) -> NDArray[Any]:
        """Return `target_step`, but leading to row N (zeros) for edges whose gradient is sent back and not gathered."""
        t = self.topology
        if t.only_sums:
            return t.target_step
        return steps(np.where(t.reduced_edges, t.num_nodes, t.target_rank), t.rank[t.src])

    @cached_property
    def _reduced(self) -> tuple[Any, ...]:
        """Return what maxima and products need: edges by target, rows to be cleared, and their largest degree."""
        t = self.topology
        if t.only_sums:
            # Four bytes an edge that nobody reads are not made.
            nothing = _locked(np.empty(0, np.int32))
            return t.target_indptr, nothing, nothing, nothing, 0
        cleared = self._is_seeded.copy()
        cleared[t.output_ranks] = 0
        degree = np.diff(t.target_indptr)[t.ranked_reduce != 0].max(initial=0)
        perm, source = t.canonical_by_target
        return t.target_indptr, source, perm, _locked(np.flatnonzero(cleared)), int(degree)

    @cached_property
    def _has_panels(self) -> bool:
        return worth_panels(self.topology)

    @cached_property
    def _density(self) -> float:
        return self.topology.num_edges / max(1, sum(self.topology.stage_pairs))

    def _panels(self, cut: Tiling, itemsize: int, *, by_source: bool) -> Any:
        """Return the table of panels of one direction, None where the plain loops are faster."""
        # Shorter rows have several chains of sums, which panels would join in another order.
        if cut.tile * itemsize < _PANEL_ROW_BYTES or not self._has_panels:
            return None
        key = (panel_rows(cut.tile, itemsize, self._density, widest=widest_stage(self.topology)), by_source)
        if key not in self._tables:
            self._tables[key] = tuple(map(_locked, panel_table(self.topology, *key)))
        return self._tables[key]

    def _threads(self, cut: Tiling, batch: int) -> int:
        """Return how many threads share out the groups: as many as torch uses if the work is worth it."""
        worth = self.topology.num_edges * batch >= _THREAD_WORK
        return min(torch.get_num_threads(), len(cut.groups)) if worth else 1

    def _loops(self, batch: int, dtype: torch.dtype) -> _Loops:
        """Return what all passes of one batch size and dtype have in common; made once."""
        found = self._known_loops.get((batch, dtype))
        if found is None:
            announce()
            if len(self._known_loops) > _KNOWN:
                self._known_loops.clear()
            found = self._known_loops[batch, dtype] = self._make_loops(batch, dtype)
        return found

    def _make_loops(self, batch: int, dtype: torch.dtype) -> _Loops:
        from deepgraph.kernels import numba_loops, numba_panels

        t, cut = self.topology, self._tiling(batch, dtype)
        number = np.dtype(np.float64 if dtype == torch.float64 else np.float32)
        table = self._panels(cut, number.itemsize, by_source=False)
        forward = numba_loops.forward_walk if table is None else numba_panels.forward_panels
        table_back = self._panels(cut, number.itemsize, by_source=True)
        backward = numba_loops.backward_walk if table_back is None else numba_panels.backward_panels
        return _Loops(
            cut=cut,
            number=number,
            narrow=narrow(cut.tile, number.itemsize),
            gather=numba_loops.gather,
            forward=forward(cut.tile),
            index=t.target_indptr if table is None else table,
            backward=backward(cut.tile),
            table=table_back,
        )

    def forward(self, x: Tensor, weights: list[Tensor], bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return (y (B, O), saved (tiles, N + K + 2, T)); see `Kernel.forward`."""
        t, (batch, _), dtype = self.topology, x.shape, x.dtype
        loops = self._loops(batch, dtype)
        cut, number = loops.cut, loops.number
        if loops.narrow and self._narrow is not None:
            return self._few_columns(x, weights, [bias], cut.tile)
        columns, biases = _computable(x).numpy(), _computable(bias).numpy()
        saved = self._buffers.array((cut.tiles, t.num_nodes + t.num_kept + _SPARE_ROWS, cut.tile), number)
        y = np.empty((batch, t.outputs.shape[0]), number)
        values = Values.of(self._parts, [_computable(weight) for weight in weights])
        gathered = self._buffers.array((t.num_edges,), number)
        loops.gather(*values.by_target, t.target_perm, gathered)
        nodes, edges = (*self._nodes, biases), (loops.index, t.source_step, gathered)

        def task(bounds: tuple[int, int]) -> None:
            loops.forward(columns, saved, y, nodes, *edges, biases, self._inputs, self._outputs, *bounds)

        threads = self._threads(cut, batch)
        _run(task, threads, cut.groups if threads > 1 else [(0, cut.tiles)])
        return _as_tensor(y, dtype), torch.from_numpy(saved)

    @cached_property
    def _narrow(self) -> NarrowPass | None:
        """Return the forward pass by source, which few columns take: reading by target would not pay the copy."""
        t = self.topology
        if not (t.only_sums and self._parts.by_source):
            return None
        ends = (*self._inputs, self._outputs[0], self._outputs[2])
        return NarrowPass(t, self._parts, t.target_step, (self._nodes[1], self._nodes[2]), ends)

    def _few_columns(self, x: Tensor, weights: list[Tensor], biases: list[Tensor], tile: int) -> tuple[Tensor, Tensor]:
        if self._narrow is None:
            return self.forward(x, weights, torch.cat(biases))
        announce()
        tensors = [[_computable(part) for part in parts] for parts in ([x], weights, biases)]
        y, saved = self._narrow(tensors[0][0], tensors[1], tensors[2], tile, self._buffers)
        return y if y.dtype == x.dtype else y.to(x.dtype), torch.from_numpy(saved)

    def infer(self, x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> Tensor:
        """Return y (B, O) alone; see `Kernel.infer`."""
        quick = self._narrow
        y = None if quick is None else quick.again(x, weights, biases, self._buffers)
        if y is not None:
            return y
        size = self.saved_dtype(x.dtype).itemsize
        if quick is None or not narrow(tile := tile_width(x.shape[0], size), size):
            return super().infer(x, weights, biases)
        self.check(x, weights, torch.cat(biases))
        y = self._few_columns(x, weights, biases, tile)[0]
        held = all(tensor.is_contiguous() for tensor in (x, *weights, *biases))
        if held and x.dtype != torch.bfloat16:
            quick.remember(x, weights, biases, tile, self._buffers)
        return y

    def backward(
        self,
        dy: Tensor,
        saved: Tensor,
        weights: list[Tensor],
        need_dx: bool = True,
        bias: Tensor | None = None,
        need_dz: bool = True,
    ) -> Gradients:
        """Return (dx, dweights, dbias, dz (tiles, N + 3, T)); see `Kernel.backward`."""
        t, batch, dtype = self.topology, dy.shape[0], weights[0].dtype
        loops = self._loops(batch, dtype)
        cut, number = loops.cut, loops.number
        columns, saved_array = _computable(dy).numpy(), saved.numpy()
        threads = self._threads(cut, batch)
        # One thread can add the tiles up in place where each is a group: the sums have the same order as partial ones.
        groups = [(0, cut.tiles)] if threads == 1 and cut.single else cut.groups
        # One tile of dz serves all of a group where nobody reads it afterwards, and stays in the caches.
        dz = self._buffers.array((cut.tiles if need_dz else len(groups), self._out_rows, cut.tile), number)
        dx = np.empty((batch if need_dx else 0, t.inputs.shape[0]), number)
        values = Values.of(self._parts, [_computable(weight) for weight in weights])
        nodes = (*self._nodes, _computable(self._known(bias, dy)).numpy())
        ends: tuple[Any, ...] = (self._inputs, self._outputs, self._is_seeded)
        if loops.table is None:
            edges: tuple[Any, ...] = (t.order, t.source_indptr, self._to_pulled, values.by_node(not t.only_sums))
            ends = (*ends, self._reduced)
        else:
            edges = (loops.table, t.target_step, values.by_node())
        # The first group sums into the result itself, a single weight's spare room included, the others into parts.
        dw = self._buffers.array((weights[0].shape[0] if len(weights) == 1 else t.num_edges,), number)
        db = np.empty(t.num_parameters, number)
        edge_sums, bias_sums = [dw[: t.num_edges]], [db]
        for _ in groups[1:]:
            edge_sums.append(np.empty(t.num_edges, number))
            bias_sums.append(np.empty(t.num_parameters, number))

        def task(group: tuple[int, tuple[int, int]]) -> None:
            place, bounds = group
            sums = (edge_sums[place], bias_sums[place])
            own = dz if need_dz else dz[place : place + 1]
            loops.backward(columns, saved_array, own, dx, nodes, *edges, *sums, *ends, *bounds, need_dx)

        _run(task, threads, list(enumerate(groups or [(0, 0)])))
        for sums in (edge_sums, bias_sums):
            for part in sums[1:]:
                sums[0] += part
        if len(dw) > t.num_edges:
            dw[t.num_edges :] = 0
        dweights = split_gradient(t, _as_tensor(dw, dtype), weights)
        left = torch.from_numpy(dz) if need_dz else saved
        return _as_tensor(dx, dtype) if need_dx else None, dweights, _as_tensor(db, dtype), left


def _run(task: Callable[[Any], None], threads: int, items: Sequence[Any]) -> None:
    """Run the task of every item, on a pool if there are several threads."""
    if threads == 1 or len(items) == 1:
        for item in items:
            task(item)
    else:
        for _ in thread_pool(threads).map(task, items):
            pass


def _computable(tensor: Tensor) -> Tensor:
    """Return a tensor that numpy can view: contiguous, apart from autograd, bfloat16 as float32."""
    tensor = tensor.detach() if tensor.requires_grad else tensor
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor.contiguous()


def _as_tensor(array: NDArray[Any], dtype: torch.dtype) -> Tensor:
    tensor = torch.from_numpy(array)
    return tensor.bfloat16() if dtype == torch.bfloat16 else tensor


def _ends(ranks: NDArray[np.int32]) -> tuple[NDArray[np.int32], ...]:
    """Return the ranks (K,) of columns, which are their first occurrence, and which 16 at a time are consecutive.

    Of the last there is one more than whole 16s: for the last 16 where fewer are left, False where none are.
    """
    fresh = np.zeros(ranks.shape[0], dtype=np.int32)
    fresh[np.unique(ranks, return_index=True)[1]] = 1
    count, whole = ranks.shape[0], ranks.shape[0] // 16
    starts = np.r_[16 * np.arange(whole), max(count - 16, 0)][:, None] + np.arange(min(16, count))
    squares, firsts = ranks[starts], fresh[starts]
    straight = (np.diff(squares, axis=1) == 1).all(1) & firsts.all(1)
    straight[whole] &= count % 16 > 0 and count > 16
    return ranks, _locked(fresh), _locked(straight)


def _locked(array: NDArray[Any]) -> NDArray[Any]:
    array = array.astype(np.int32, copy=False)
    array.flags.writeable = False
    return array

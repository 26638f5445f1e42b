"""Edge sets that lie side by side in one topology: joined, and joined anew after edits of any of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deepgraph.graph.merging import loop_for
from deepgraph.kernels.buffers import Buffers
from deepgraph.kernels.compiler import has_numba
from deepgraph.kernels.index_arrays import MAX_INT16, frozen
from deepgraph.kernels.topology import Topology

__all__ = ["Placed", "joined_pairs", "with_edited"]

Int32 = NDArray[np.int32]


class Placed(NamedTuple):
    """The edges of one set as compressed rows, and where its sources and targets are.

    Attributes
    ----------
    indptr : (R + 1,) int64
    dst : (E,) int32
    num_targets : int
    row, column : int
        Positions of the first source and the first target in the whole.
    """

    indptr: NDArray[np.int64]
    dst: Int32
    num_targets: int
    row: int
    column: int

    @property
    def num_sources(self) -> int:
        """Return R."""
        return len(self.indptr) - 1


def _indptr(sets: Sequence[Placed], num_nodes: int) -> Int32:
    """Return `Topology.source_indptr` (N + 1,) of all sets; their rows ascend and do not overlap."""
    indptr, begin, filled = np.empty(num_nodes + 1, np.int32), 0, 0
    for one in sets:
        indptr[filled : one.row] = begin
        filled = one.row + len(one.indptr)
        np.add(one.indptr, begin, out=indptr[one.row : filled], casting="same_kind")
        begin += len(one.dst)
    indptr[filled:] = begin
    return indptr


def joined_pairs(sets: Sequence[Placed]) -> tuple[Int32, Int32]:
    """Return (src (E,), dst (E,)) of all sets in positions of the whole, canonical.

    Examples
    --------
    >>> one = Placed(np.array([0, 1]), np.array([0], np.int32), 1, 0, 1)
    >>> [side.tolist() for side in joined_pairs([one, one._replace(row=1, column=2)])]
    [[0, 1], [1, 2]]
    """
    total = sum(len(one.dst) for one in sets)
    src, dst, begin = np.empty(total, np.int32), np.empty(total, np.int32), 0
    for one in sets:
        here = slice(begin, begin + len(one.dst))
        loop = loop_for("shift", len(one.dst))
        if loop is None:
            rows = np.arange(one.row, one.row + one.num_sources, dtype=np.int32)
            src[here] = np.repeat(rows, np.diff(one.indptr))
            np.add(one.dst, np.int32(one.column), out=dst[here])
        else:
            loop(one.indptr, one.dst, one.row, one.column, src[here], dst[here])
        begin = here.stop
    return src, dst


def with_edited(topology: Topology, sets: Sequence[Placed], buffers: Buffers | None = None) -> Topology:
    """Return a topology after its sets were edited; their pairs are not checked again.

    Parameters
    ----------
    topology : Topology
        Before the edits.
    sets : sequence of Placed
        After them, one for each weight tensor. Rows ascend and do not overlap.
    buffers : Buffers, optional
        Give memory for indexes by target, which are made at once where somebody will need them: together they cost
        less than on their own.

    Examples
    --------
    >>> t = Topology(2, [0], [1], [0, 1], inputs=[0], outputs=[1], activation=[0, 0])
    >>> with_edited(t, [Placed(np.array([0, 0, 0]), np.empty(0, np.int32), 2, 0, 0)]).num_edges
    0
    """
    splits = [len(one.dst) for one in sets]
    indptr = _indptr(sets, topology.num_nodes)
    known: dict[str, Any] = {}
    columns = [(one.column, one.column + one.num_targets) for one in sets]
    apart = all(left[1] <= right[0] for left, right in pairwise(columns))
    if apart:
        part_of = np.full(topology.num_nodes, len(sets) - 1, np.int32)
        for number, one in enumerate(sets[:-1]):
            part_of[one.row : one.row + one.num_sources] = number
        known["part_of"] = frozen(part_of)
    if _spans_stages(topology, sets):
        known["joins_neighbours"] = True
    if buffers is not None and apart and topology.is_ordered and has_numba():
        return topology.edited(indptr, splits=splits, **known, **_by_target(topology.num_nodes, sets, buffers))
    if len(sets) == 1 and sets[0].row == sets[0].column == 0:
        # What is not shifted is shared and not copied.
        return topology.edited(indptr, sets[0].dst.view(), splits, **known)
    src, dst = joined_pairs(sets)
    return topology.edited(indptr, dst, splits, src=frozen(src), **known)


def _spans_stages(topology: Topology, sets: Sequence[Placed]) -> bool:
    """Return whether each set joins all of one stage to all of the next one, so that no edit can change that."""
    starts = topology.stage_starts.tolist()
    rows = [[one.row, one.row + one.num_sources] for one in sets]
    columns = [[one.column, one.column + one.num_targets] for one in sets]
    stages = [list(both) for both in pairwise(starts)]
    return topology.is_ordered and rows == stages[:-1] and columns == stages[1:]


def _by_target(num_nodes: int, sets: Sequence[Placed], buffers: Buffers) -> dict[str, Any]:
    """Return targets, steps and the index by target of sets whose targets ascend and do not overlap."""
    from deepgraph.kernels.numba_transpose import join

    shape, short = (sum(len(one.dst) for one in sets),), np.int16 if num_nodes <= MAX_INT16 else np.int32
    dst, perm, up, down = (buffers.array(shape, kind) for kind in (np.int32, np.int32, short, short))
    bounds, begin, filled = np.empty(num_nodes + 1, np.int32), 0, 0
    for one in sets:
        bounds[filled : one.column] = begin
        filled = one.column + one.num_targets + 1
        join(one.indptr, one.dst, one.row, one.column, begin, dst, up, bounds[one.column : filled], perm, down)
        begin += len(one.dst)
    bounds[filled:] = begin
    return {
        "dst": dst, "target_step": frozen(up), "_by_target": (frozen(bounds), frozen(perm), frozen(down)),
    }  # fmt: skip

"""Choosing rows and pairs by score, the same in every run: ties go to the first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deepgraph.graph.edge_set import EdgeSet
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.sparse.ranking import best, lowest, split_rows

__all__ = ["FreePairs", "absent_blocks", "absent_into", "best", "free_pairs", "lowest", "split_rows", "swap"]

Index = npt.NDArray[np.int64]
Pairs = tuple[Index, Index]

BLOCK = 1 << 20
"""Pairs scored together, which bounds the memory of a growth step."""


class FreePairs(AbsentPairs):
    """The pairs of an edge set that may grow once some rows are dropped; arrays of its edges are made when asked for.

    Parameters
    ----------
    edges : EdgeSet
    dropped : (K,) int
        Rows, ascending.
    shut : (C,) bool, optional
        Targets, with edges or without, that take no new ones.
    """

    def __init__(self, edges: EdgeSet, dropped: Index, shut: npt.NDArray[np.bool_] | None = None) -> None:
        closed = edges.closed if shut is None else shut if edges.closed is None else shut | edges.closed
        # Not through the base class, whose fields would be arrays of all edges.
        self.__dict__.update(
            edges=edges, dropped=dropped, num_sources=edges.num_sources, num_targets=edges.num_targets,
            stage=edges.stage, closed=closed, shut=shut,
        )  # fmt: skip

    @cached_property
    def _stays(self) -> npt.NDArray[np.bool_]:
        stays = np.ones(self.__dict__["edges"].num_edges, bool)
        stays[self.__dict__["dropped"]] = False
        shut = self.__dict__["shut"]
        return stays if shut is None else stays & ~shut[self.__dict__["edges"].dst]

    @cached_property
    def src(self) -> Index:
        """Return the sources (E,) of the edges that stay."""
        found: Index = self.__dict__["edges"].pairs()[0][self._stays].astype(np.int64)
        return found

    @cached_property
    def dst(self) -> Index:
        """Return the targets (E,) of the edges that stay."""
        found: Index = self.__dict__["edges"].pairs()[1][self._stays].astype(np.int64)
        return found

    @cached_property
    def compressed(self) -> tuple[Index, npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
        """Return the pairs of the edge set as compressed rows, and 1 for those that stay."""
        return (*self.__dict__["edges"].csr(), self._stays.view(np.uint8))

    @cached_property
    def count(self) -> int:
        """Return the number of pairs that may grow."""
        return self.num_admissible - self.num_edges

    @property
    def num_edges(self) -> int:
        """Return the number of edges that stay, without those into targets that are shut."""
        if self.__dict__["shut"] is not None:
            return int(np.count_nonzero(self._stays))
        return int(self.__dict__["edges"].num_edges - len(self.__dict__["dropped"]))

    def taken(self, u: Index, v: Index) -> npt.NDArray[np.bool_]:
        """Return which of the pairs (u, v), each (K,), are edges that stay; few pairs without a look at all edges."""
        if 16 * len(u) > self.num_edges:
            return super().taken(u, v)
        rows, dropped = self.__dict__["edges"].find(u, v), self.__dict__["dropped"]
        at = np.minimum(np.searchsorted(dropped, rows), max(len(dropped) - 1, 0))
        goes = dropped[at] == rows if len(dropped) else np.zeros(len(rows), bool)
        found: npt.NDArray[np.bool_] = (rows >= 0) & ~goes
        return found


def free_pairs(edges: EdgeSet, dropped: Index, shut: npt.NDArray[np.bool_] | None = None) -> AbsentPairs:
    """Return the pairs that may grow once the rows `dropped` (K,), ascending, are gone; those are among them.

    Targets that are `shut` (C,) take none.

    Examples
    --------
    >>> edges = EdgeSet.from_pairs([0, 0, 1], [0, 1, 1], 2, 2)
    >>> free_pairs(edges, np.array([1])).count
    2
    """
    return FreePairs(edges, dropped, shut)


def absent_blocks(free: AbsentPairs, block: int | None = None) -> Iterator[tuple[Index, Index]]:
    """Yield all absent pairs (u, v), each (K,) with K <= block.

    Examples
    --------
    >>> [(u.tolist(), v.tolist()) for u, v in absent_blocks(AbsentPairs(2, 2, [0], [1]), block=2)]
    [([0, 1], [0, 0]), ([1], [1])]
    """
    step = BLOCK if block is None else block
    for start in range(0, free.count, step):
        yield free.take(np.arange(start, min(start + step, free.count)))


def absent_into(free: AbsentPairs, targets: Index, block: int | None = None) -> Iterator[tuple[Index, Index, Index]]:
    """Yield `(some of targets, u, v)`: all absent pairs into a few of `targets` (T,), about `block` pairs at a time.

    Examples
    --------
    >>> blocks = absent_into(AbsentPairs(2, 3, [0], [1]), np.array([1, 2]), block=2)
    >>> [(part.tolist(), u.tolist(), v.tolist()) for part, u, v in blocks]
    [([1], [1], [1]), ([2], [0, 1], [2, 2])]
    """
    together = max(1, (BLOCK if block is None else block) // max(free.num_sources, 1))
    for start in range(0, len(targets), together):
        part = targets[start : start + together]
        closed = np.ones(free.num_targets, bool)
        closed[part] = False if free.closed is None else np.asarray(free.closed, bool)[part]
        into = AbsentPairs(free.num_sources, free.num_targets, free.src, free.dst, free.stage, closed)
        yield part, *into.take(np.arange(into.count))


def swap(edges: EdgeSet, rows: Index, grown: Pairs, keep: bool) -> tuple[Pairs, Pairs]:
    """Return `(pairs that go, pairs that come)` of dropped rows (K,), ascending, and grown pairs, the latter sorted.

    With `keep` a pair that is in both is in neither: the edge simply stays.

    Examples
    --------
    >>> edges = EdgeSet.from_pairs([0, 1], [0, 1], 2, 2)
    >>> gone, new = swap(edges, np.array([0, 1]), (np.array([1, 0]), np.array([1, 1])), keep=True)
    >>> [side.tolist() for side in (*gone, *new)]
    [[0], [0], [0], [1]]
    """
    src, dst = edges.pairs()
    new_u, new_v = (np.asarray(side, np.int64) for side in grown)
    new = new_u * edges.num_targets + new_v
    if not (new[1:] >= new[:-1]).all():
        order = np.argsort(new, kind="stable")
        new_u, new_v = new_u[order], new_v[order]
    if keep and len(rows) and len(new):
        # A grown pair that is an edge was dropped.
        found = edges.find(new_u, new_v)
        goes = np.zeros(edges.num_edges, bool)
        goes[rows] = True
        goes[found[found >= 0]] = False
        rows, comes = rows[goes[rows]], np.flatnonzero(found < 0)
        new_u, new_v = new_u[comes], new_v[comes]
    return (src[rows].astype(np.int64), dst[rows].astype(np.int64)), (new_u, new_v)

"""Choosing rows and pairs by score, the same in every run: ties go to the first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from deepgraph.graph.edge_set import EdgeSet
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.sparse.ranking import best, lowest, split_rows

__all__ = ["absent_blocks", "absent_into", "best", "free_pairs", "lowest", "split_rows", "swap"]

Index = npt.NDArray[np.int64]
Pairs = tuple[Index, Index]

BLOCK = 1 << 20
"""Pairs scored together, which bounds the memory of a growth step."""


def free_pairs(edges: EdgeSet, dropped: Index) -> AbsentPairs:
    """Return the pairs that may grow once the rows `dropped` (K,) of an edge set are gone; those are among them.

    Examples
    --------
    >>> edges = EdgeSet.from_pairs([0, 0, 1], [0, 1, 1], 2, 2)
    >>> free_pairs(edges, np.array([1])).count
    2
    """
    src, dst = edges.pairs()
    stays = np.ones(edges.num_edges, bool)
    stays[dropped] = False
    return AbsentPairs(edges.num_sources, edges.num_targets, src[stays], dst[stays], edges.stage, edges.closed)


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
    """Return `(pairs that go, pairs that come)` of dropped rows (K,) and grown pairs, the latter in canonical order.

    With `keep` a pair that is in both is in neither: the edge simply stays.

    Examples
    --------
    >>> edges = EdgeSet.from_pairs([0, 1], [0, 1], 2, 2)
    >>> gone, new = swap(edges, np.array([0, 1]), (np.array([1, 0]), np.array([1, 1])), keep=True)
    >>> [side.tolist() for side in (*gone, *new)]
    [[0], [0], [0], [1]]
    """
    src, dst = edges.pairs()
    u, v = src[rows].astype(np.int64), dst[rows].astype(np.int64)
    order = np.lexsort((grown[1], grown[0]))
    new_u, new_v = (np.asarray(side, np.int64)[order] for side in grown)
    if not keep:
        return (u, v), (new_u, new_v)
    old, new = u * edges.num_targets + v, new_u * edges.num_targets + new_v
    goes, comes = ~np.isin(old, new, assume_unique=True), ~np.isin(new, old, assume_unique=True)
    return (u[goes], v[goes]), (new_u[comes], new_v[comes])

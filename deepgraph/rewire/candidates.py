"""Choosing rows and pairs by score, the same in every run: ties go to the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.kernels.growth import AbsentPairs

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


def lowest(scores: Array, count: int) -> Index:
    """Return the rows (count,), ascending, of the lowest scores (E,); of equal scores the first rows.

    Examples
    --------
    >>> lowest(np.array([3.0, 1.0, 2.0, 1.0, 1.0]), 2).tolist()
    [1, 3]
    """
    if count <= 0:
        return np.empty(0, np.int64)
    if count >= len(scores):
        return np.arange(len(scores))
    limit = np.partition(scores, count - 1)[count - 1]
    chosen = scores < limit
    ties = np.flatnonzero(scores == limit)
    chosen[ties[: count - int(chosen.sum())]] = True
    return np.flatnonzero(chosen)


def best(scores: Array, keys: Array, count: int) -> Index:
    """Return the rows (count,) of the highest scores (C,), best first; of equal scores those of the lowest keys (C,).

    Examples
    --------
    >>> best(np.array([1.0, 3.0, 3.0, 2.0]), np.array([0, 9, 4, 1]), 2).tolist()
    [2, 1]
    """
    rows = np.arange(len(scores))
    if 0 < count < len(scores):
        rows = np.flatnonzero(scores >= np.partition(scores, len(scores) - count)[len(scores) - count])
    found: Index = rows[np.lexsort((keys[rows], -scores[rows]))][: max(count, 0)]
    return found


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


def split_rows(rows: Index, counts: Sequence[int]) -> list[Index]:
    """Return ascending rows of joined edge sets as rows of each, for sets of `counts` edges.

    Examples
    --------
    >>> [part.tolist() for part in split_rows(np.array([0, 4, 5]), [3, 3])]
    [[0], [1, 2]]
    """
    ends = np.cumsum(counts)
    parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
    return [part - start for part, start in zip(parts, ends - counts, strict=True)]


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

"""Choosing rows by score, the same in every run: ties go to the first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepgraph.graph.arrays import Array
from deepgraph.graph.merging import loop_for

__all__ = ["best", "lowest", "split_rows"]

Index = npt.NDArray[np.int64]


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
    sorted_in_part = np.partition(scores, count - 1)
    limit, loop = sorted_in_part[count - 1], loop_for("pick", len(scores))
    if loop is not None and scores.dtype.kind == "f":
        rows = np.empty(count + 1, np.int64)
        return rows[: loop(scores, limit, int(np.count_nonzero(sorted_in_part[:count] == limit)), rows)]
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


def split_rows(rows: Index, counts: Sequence[int]) -> list[Index]:
    """Return ascending rows of joined edge sets as rows of each, for sets of `counts` edges.

    Examples
    --------
    >>> [part.tolist() for part in split_rows(np.array([0, 4, 5]), [3, 3])]
    [[0], [1, 2]]
    """
    if len(counts) == 1:
        return [rows]
    ends = np.cumsum(counts)
    parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
    return [part - start for part, start in zip(parts, ends - counts, strict=True)]

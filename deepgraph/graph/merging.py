"""Loops over the rows of edges that an edit moves, compiled where numba is installed and there is enough to do."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

__all__ = ["loop_for"]

Array = npt.NDArray[Any]

# Fewer rows are done by whole arrays before numba is imported for them, and before a loop of it is even found.
_FEWEST, _FEW = 2048, 64


def _bounds_loop(indptr: Array, dst: Array, src: Array, target: Array, out: Array) -> None:
    """Fill out (K,) with the first edge of row src[i] whose target is not below target[i].

    A pair that follows the one before it in canonical order is looked for from there on, in growing steps.
    """
    row, low, last = -1, 0, -1
    for i in range(src.shape[0]):
        u, v = src[i], target[i]
        end = indptr[u + 1]
        if u != row or v < last:
            low = indptr[u]
        step, high = 1, low
        while high < end and dst[high] < v:
            low = high + 1
            high += step
            step += step
        high = min(high, end)
        while low < high:
            middle = (low + high) >> 1
            if dst[middle] < v:
                low = middle + 1
            else:
                high = middle
        out[i] = low
        row, last = u, v


def _find_loop(indptr: Array, dst: Array, src: Array, target: Array, place: Array, out: Array) -> None:
    """Fill out (K,) with the edges src[i] -> target[i], -1 where there is none; sources ascend.

    `place` (targets,) is -1 everywhere: there each row writes where its edges are, for its pairs to read.
    """
    first = 0
    while first < src.shape[0]:
        u, last = src[first], first + 1
        while last < src.shape[0] and src[last] == u:
            last += 1
        for e in range(indptr[u], indptr[u + 1]):
            place[dst[e]] = e
        for i in range(first, last):
            out[i] = place[target[i]]
        for e in range(indptr[u], indptr[u + 1]):
            place[dst[e]] = -1
        first = last


def _take_loop(column: Array, gather: Array, fill: Any, out: Array) -> None:
    """Fill out (after,) with column[gather], and with `fill` where gather is -1; the column is not empty."""
    for row in range(gather.shape[0]):
        at = gather[row]
        # Read in any case, so that there is no branch, which nobody could foresee.
        value = column[max(at, 0)]
        out[row] = value if at >= 0 else fill


def _merge_loop(
    indptr: Array, dst: Array, gone: Array, starts: Array, targets: Array, places: Array, new_indptr: Array,
    new_dst: Array, gather: Array,
) -> int:  # fmt: skip
    """Merge the edges that are not gone (E,) and grown ones, compressed rows both; return how many are there twice.

    Fills `places` (K,) with the new rows of grown edges, the new compressed rows, and `gather` (after + 1,) with the
    row before of each row, -1 for a grown one; new_dst and gather have one entry more than there are rows.
    """
    row, twice = 0, 0
    new_indptr[0] = 0
    for u in range(indptr.shape[0] - 1):
        i, end, j, last = indptr[u], indptr[u + 1], starts[u], starts[u + 1]
        # Every step writes what may turn out to be overwritten: there is no branch that nobody could foresee.
        while i < end and j < last:
            new = int(targets[j] < dst[i])
            stays = 1 - gone[i]
            twice += (targets[j] == dst[i]) & stays
            new_dst[row] = targets[j] if new else dst[i]
            gather[row] = -1 if new else i
            places[j] = row
            row += new | stays
            i += 1 - new
            j += new
        while i < end:
            new_dst[row], gather[row] = dst[i], i
            row += 1 - gone[i]
            i += 1
        while j < last:
            new_dst[row], gather[row], places[j] = targets[j], -1, row
            row += 1
            j += 1
        new_indptr[u + 1] = row
    return twice


_LOOPS: dict[str, Callable[..., Any]] = {
    "bounds": _bounds_loop,
    "find": _find_loop,
    "take": _take_loop,
    "merge": _merge_loop,
}


@functools.cache
def _compiled(name: str) -> Callable[..., Any] | None:
    try:
        import numba
    except ImportError:
        return None
    made: Callable[..., Any]
    try:
        made = numba.njit(nogil=True, cache=True)(_LOOPS[name])
    except RuntimeError:
        # No directory for the cache can be written: compile anew in every process.
        made = numba.njit(nogil=True)(_LOOPS[name])
    return made


def loop_for(name: str, size: int) -> Callable[..., Any] | None:
    """Return a compiled loop for `size` rows, None without numba and where there are too few.

    Parameters
    ----------
    name : {"bounds", "find", "take", "merge"}
    size : int

    Examples
    --------
    >>> loop_for("merge", 3) is None
    True
    """
    return _compiled(name) if size >= (_FEW if "numba" in sys.modules else _FEWEST) else None

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


def _shift_loop(indptr: Array, dst: Array, row: int, column: int, src_out: Array, dst_out: Array) -> None:
    """Fill src_out and dst_out (E,) with the sources, plus `row`, and the targets, plus `column`, of edges."""
    for u in range(indptr.shape[0] - 1):
        for e in range(indptr[u], indptr[u + 1]):
            src_out[e], dst_out[e] = u + row, dst[e] + column


def _swap_loop(
    indptr: Array, dst: Array, rows: Array, u: Array, v: Array, goes: Array, gone_u: Array, gone_v: Array,
    came_u: Array, came_v: Array,
) -> tuple[int, int]:  # fmt: skip
    """Write which edges of rows (K,), ascending, are none of the pairs (u, v), which of these none of those edges.

    Both are in canonical order. Fills `goes`, `gone_u` and `gone_v` (K,) with rows, sources and targets, and `came_u`
    and `came_v` with pairs, and returns how many there are of each; all have room for one more.
    """
    gone, came, i, j, edges, pairs = 0, 0, 0, 0, rows.shape[0], u.shape[0]
    for source in range(indptr.shape[0] - 1):
        end = indptr[source + 1]
        # As in a merge, every step writes what may turn out to be overwritten.
        while i < edges and rows[i] < end and j < pairs and u[j] == source:
            row, target, other = rows[i], dst[rows[i]], v[j]
            goes[gone], gone_u[gone], gone_v[gone] = row, source, target
            came_u[came], came_v[came] = source, other
            below, above = int(target < other), int(other < target)
            gone += below
            came += above
            i += 1 - above
            j += 1 - below
        while i < edges and rows[i] < end:
            goes[gone], gone_u[gone], gone_v[gone] = rows[i], source, dst[rows[i]]
            gone += 1
            i += 1
        while j < pairs and u[j] == source:
            came_u[came], came_v[came] = source, v[j]
            came += 1
            j += 1
    return gone, came


def _pick_loop(scores: Array, limit: Any, ties: int, out: Array) -> int:
    """Fill out (K + 1,) with the rows, ascending, of scores (E,) below `limit`, and the first `ties` of those at it."""
    count = 0
    for row in range(scores.shape[0]):
        tied = int(scores[row] == limit) & int(ties > 0)
        out[count] = row
        ties -= tied
        count += int(scores[row] < limit) | tied
    return count


def _compress_loop(src: Array, dst: Array, indptr: Array, columns: int, out: Array) -> bool:
    """Fill indptr (R + 1,) and out (K,) with pairs as compressed rows; return whether they were fit for that.

    They have to be in canonical order, each there once, and in range.
    """
    rows, row, last = indptr.shape[0] - 1, -1, -1
    for i in range(src.shape[0]):
        u, v = src[i], dst[i]
        if u < 0 or u >= rows or v < 0 or v >= columns or u < row or (u == row and v <= last):
            return False
        while row < u:
            row += 1
            indptr[row] = i
        out[i], last = v, v
    for rest in range(row + 1, rows + 1):
        indptr[rest] = src.shape[0]
    return True


_LOOPS: dict[str, Callable[..., Any]] = {
    "bounds": _bounds_loop,
    "find": _find_loop,
    "take": _take_loop,
    "merge": _merge_loop,
    "shift": _shift_loop,
    "swap": _swap_loop,
    "pick": _pick_loop,
    "compress": _compress_loop,
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
    name : {"bounds", "find", "take", "merge", "shift", "swap", "pick", "compress"}
    size : int

    Examples
    --------
    >>> loop_for("merge", 3) is None
    True
    """
    return _compiled(name) if size >= (_FEW if "numba" in sys.modules else _FEWEST) else None

"""Arrays of edges: validation of ids, canonical order, lookup by binary search, transposition.

Everything here works on compressed rows: `indptr` (R + 1,) and `dst` (E,), where the targets of row u are
`dst[indptr[u]:indptr[u + 1]]` in ascending order. That is the canonical order of edges, sorted by (source, target).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from deepgraph.errors import ArgumentError, DtypeError, EdgeError, ShapeError, TooLargeError
from deepgraph.graph.merging import loop_for

__all__ = [
    "as_ids",
    "checked_ids",
    "compress",
    "expand",
    "find",
    "lower_bound",
    "read_only",
    "show_pairs",
    "sources_of",
    "transpose",
]

Array = npt.NDArray[Any]
Ids = npt.NDArray[np.integer[Any]]

MAX_NODES = 2**31 - 1


def read_only(array: Array) -> Array:
    """Return a view of `array` that refuses writes."""
    view = array.view()
    view.flags.writeable = False
    return view


def as_ids(values: Any, limit: int | None, name: str) -> npt.NDArray[np.int64]:
    """Return `values` as int64 ids (K,), each checked to lie in [0, limit).

    Raises
    ------
    DtypeError
        If the values are not integers.
    ShapeError
        If they are not one-dimensional.
    ArgumentError
        If an id is negative or not below `limit`.
    """
    return checked_ids(values, limit, name).astype(np.int64, copy=False)


def checked_ids(values: Any, limit: int | None, name: str) -> Array:
    """Return ids as `as_ids` does and with its errors, but int32 as they are: to widen millions costs page faults."""
    array = np.asarray(values)
    if array.size == 0 and array.ndim <= 1:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise DtypeError(
            f"{name}: expected integer node positions, got dtype {array.dtype}; "
            "translate labels with g.positions(labels)"
        )
    if array.ndim != 1:
        raise ShapeError(f"{name}: expected a one-dimensional array (K,), got shape {array.shape}")
    low, high = int(array.min()), int(array.max())
    if low < 0:
        raise ArgumentError(f"{name}: expected node positions from 0, got {low}")
    if limit is not None and high >= limit:
        raise ArgumentError(f"{name}: expected node positions below {limit}, got {high}")
    if high > MAX_NODES:
        raise TooLargeError(f"{name}: expected at most {MAX_NODES:,} nodes, got position {high}")
    return array if array.dtype == np.int32 else array.astype(np.int64, copy=False)


def show_pairs(src: Array, dst: Array, limit: int = 3) -> str:
    """Return the first few pairs as text for an error message."""
    text = ", ".join(f"({int(u)}, {int(v)})" for u, v in zip(src[:limit], dst[:limit], strict=True))
    return text + (f" and {len(src) - limit} more" if len(src) > limit else "")


def compress(src: Array, dst: Array, rows: int, columns: int, name: str = "edges") -> tuple[Array, Array, Array | None]:
    """Return `(indptr, dst, order)` of the pairs in canonical order; `order` is None where they came sorted.

    Raises
    ------
    EdgeError
        If a pair occurs twice.
    ShapeError
        If `src` and `dst` differ in length.

    Notes
    -----
    O(E) for sorted input; else two counting sorts, O(E + R + C), or O(E log E) where edges are fewer than nodes.
    """
    if len(src) != len(dst):
        raise ShapeError(f"{name}: expected as many sources as targets, got {len(src)} and {len(dst)}")
    if not _ascending(src, dst, columns):
        order = _counted(src, dst, rows, columns) if len(src) > rows + columns else _sorted(src, dst, columns)
        u, v = src[order], dst[order].astype(np.int32)
        twice = np.flatnonzero((u[1:] == u[:-1]) & (v[1:] == v[:-1]))
        if twice.size:
            first = order[twice]
            raise EdgeError(
                f"{name}: expected each pair once, got {twice.size} duplicated: {show_pairs(src[first], dst[first])}; "
                "drop them with numpy.unique or build through networkx, which keeps the last"
            )
        return _row_ends(u, rows), v, order
    return _row_ends(src, rows), dst.astype(np.int32), None


def _row_ends(src: Array, rows: int) -> Array:
    """Return where the rows (R + 1,) of ascending sources begin and end."""
    indptr = np.zeros(rows + 1, np.int64)
    if len(src) > 32 * rows:
        indptr[:] = np.searchsorted(src, np.arange(rows + 1, dtype=src.dtype))
    else:
        np.cumsum(np.bincount(src, minlength=rows), out=indptr[1:])
    return indptr


def _sorted(src: Array, dst: Array, columns: int) -> Array:
    """Return the order (E,) that sorts pairs, by a sort of their keys."""
    return np.argsort(src.astype(np.int64) * max(columns, 1) + dst)


def _counted(src: Array, dst: Array, rows: int, columns: int) -> Array:
    """Return the order (E,) that sorts pairs, by counting targets first and then sources."""
    numbers: Any = np.arange(len(src), dtype=np.int32 if len(src) < 2**31 else np.int64)
    matrix = sparse.coo_array((numbers, (dst, src)), shape=(columns, rows))
    # Otherwise scipy would add up the numbers of pairs that occur twice.
    matrix.has_canonical_format = True
    order: Array = matrix.tocsr().tocsc().data
    return order


def _ascending(src: Array, dst: Array, columns: int) -> bool:
    """Return whether pairs are in canonical order and each is there once; block by block, in little memory."""
    block = 2**18
    for start in range(0, len(src), block):
        # One pair more, so that the step between two blocks is seen too.
        keys = src[start : start + block + 1].astype(np.int64) * max(columns, 1) + dst[start : start + block + 1]
        if (keys[1:] <= keys[:-1]).any():
            return False
    return True


def expand(indptr: Array) -> npt.NDArray[np.int32]:
    """Return the source of every edge (E,) in canonical order."""
    return np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))


def sources_of(indptr: Array, rows: Array) -> npt.NDArray[np.int32]:
    """Return the sources (K,) of edges, given by their rows in canonical order.

    Examples
    --------
    >>> sources_of(np.array([0, 2, 2, 3]), np.array([1, 2])).tolist()
    [0, 2]
    """
    if 8 * len(rows) > indptr[-1]:
        return expand(indptr)[rows]
    return (np.searchsorted(indptr, rows, side="right") - 1).astype(np.int32)


def lower_bound(indptr: Array, dst: Array, src: Array, target: Array) -> npt.NDArray[np.int64]:
    """Return for each pair (K,) the first edge of row `src` whose target is not below `target`.

    Notes
    -----
    A binary search that runs for all pairs at once: O(K log D) for the largest degree D, and no array of length E.
    """
    loop = loop_for("bounds", len(src)) if len(dst) else None
    if loop is not None:
        found = np.empty(len(src), np.int64)
        loop(indptr, dst, np.asarray(src, np.int64), np.asarray(target, np.int64), found)
        return found
    low = indptr[src].astype(np.int64)
    high = indptr[src + 1].astype(np.int64)
    if len(dst) == 0:
        return low
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        below = (low < high) & (dst[np.minimum(middle, len(dst) - 1)] < target)
        low = np.where(below, middle + 1, low)
        high = np.where(below, high, middle)
    return low


def find(indptr: Array, dst: Array, src: Array, target: Array) -> npt.NDArray[np.int64]:
    """Return the index of each pair (K,) in canonical order, -1 where there is no such edge."""
    # Pairs in order that are not few are looked up row by row.
    loop = loop_for("find", len(src)) if 8 * len(src) >= len(dst) > 0 and (src[1:] >= src[:-1]).all() else None
    if loop is not None:
        found = np.empty(len(src), np.int64)
        place = np.full(max(int(dst.max()), int(target.max())) + 1, -1, np.int64)
        loop(indptr, dst, np.asarray(src, np.int64), np.asarray(target, np.int64), place, found)
        return found
    at = lower_bound(indptr, dst, src, target)
    if len(dst) == 0:
        return np.full(len(at), -1, np.int64)
    inside = at < indptr[src + 1]
    hit = inside & (dst[np.minimum(at, len(dst) - 1)] == target)
    return np.where(hit, at, -1)


def transpose(indptr: Array, dst: Array, columns: int) -> tuple[Array, Array, Array]:
    """Return the target-major index `(indptr (C + 1,), src (E,), edge (E,))`; `edge` points into canonical order.

    Notes
    -----
    A counting sort, O(E + R + C), stable: the sources of one target ascend.
    """
    count = len(dst)
    kind = np.int32 if count < 2**31 else np.int64
    rows = len(indptr) - 1
    matrix = sparse.csr_array((np.arange(count, dtype=kind), dst, indptr), shape=(rows, columns)).tocsc()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32, copy=False), matrix.data

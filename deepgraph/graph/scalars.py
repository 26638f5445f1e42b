"""Which Python values fit which arrays, so that an attribute read back equals what was stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from deepgraph.graph.arrays import Array

__all__ = ["canonical", "common_array", "fits", "kind_of", "too_wide"]

_KINDS: dict[type, str] = {bool: "b", int: "i", float: "f", str: "U"}
_EXACT = 2**53
# A column of strings takes 4 bytes a character and row: one long string must not blow up a large column.
_SHORT = 32
_MAX_STRING_BYTES = 2**26


def kind_of(value: Any) -> str | None:
    """Return the numpy kind "b", "i", "f" or "U" of a plain value, None for what no array holds unchanged."""
    if isinstance(value, np.generic):
        kind = {"u": "i"}.get(value.dtype.kind, value.dtype.kind)
        kind = kind if kind == "U" or (kind in "bif" and value.dtype.itemsize <= 8) else ""
    else:
        kind = _KINDS.get(type(value), "")
    if kind == "U" and str(value).endswith("\0"):
        return None
    return kind or None


def too_wide(rows: int, length: int) -> bool:
    """Return whether strings of at most `length` characters are too long for a column of `rows`."""
    return length > _SHORT and 4 * rows * length > _MAX_STRING_BYTES


def fits(array: Array, value: Any) -> bool:
    """Return whether `array` can hold `value` and give an equal value back, up to its floating-point precision."""
    kind, have = kind_of(value), array.dtype.kind
    if kind is None:
        return False
    if have in "iu":
        info = np.iinfo(array.dtype)
        return kind == "i" and bool(info.min <= value <= info.max)
    if have == "f":
        if kind == "i":
            return bool(abs(int(value)) <= min(_EXACT, 2 ** (np.finfo(array.dtype).nmant + 1)))
        return kind == "f" and bool(not np.isfinite(value) or abs(float(value)) <= float(np.finfo(array.dtype).max))
    return kind == have and not (have == "U" and too_wide(len(array), len(value)))


def canonical(value: Any) -> str:
    """Return a text that is the same for equal plain values, such as 1 and 1.0."""
    number = kind_of(value) in ("i", "f") and abs(value) <= _EXACT
    return repr(float(value)) if number else repr(value)


def common_array(values: Iterable[Any], rows: int, onto: Array | None = None) -> Array | None:
    """Return `values` (K,) as one array, of a dtype that also holds the column `onto`; None if no dtype holds all.

    `rows` is the length of the column that the values will stand in.
    """
    values = list(values)
    kinds = {kind_of(value) for value in values}
    if onto is not None:
        if all(fits(onto, value) for value in values):
            return np.array(values) if onto.dtype.kind == "U" else np.array(values, onto.dtype)
        if onto.dtype.kind != "i" or (onto.size and int(np.abs(onto).max()) > _EXACT):
            return None
        kinds.add("i")
    if None in kinds or not (len(kinds) == 1 or kinds == {"i", "f"}):
        return None
    integers = [int(value) for value in values if kind_of(value) == "i"]
    if "f" in kinds:
        return None if any(abs(i) > _EXACT for i in integers) else np.array(values, np.float64)
    if kinds == {"i"}:
        return None if any(not -(2**63) <= i < 2**63 for i in integers) else np.array(values, np.int64)
    if kinds == {"U"}:
        return None if too_wide(rows, max(map(len, values))) else np.array(values, np.str_)
    return np.array(values, np.bool_)

"""Arrays of positions and ranks: checked, as short as they can be, and read-only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepgraph.errors import ArgumentError, DtypeError, EdgeError, ShapeError

__all__ = ["MAX_INT16", "check_positions", "checked_integers", "frozen", "shortened"]

MAX_INT16 = 2**15 - 1


def checked_integers(name: str, values: ArrayLike, dtype: type[np.integer[Any]]) -> NDArray[Any]:
    """Return a read-only one-dimensional integer array; refuses fractions and values that do not fit."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise ShapeError(f"expected {name} to have one dimension, got shape {array.shape}; pass a flat array")
    if array.size == 0:
        array = array.astype(dtype)
    if array.dtype.kind not in "iu":
        raise DtypeError(f"expected {name} to hold integers, got dtype {array.dtype}; convert it first")
    limits = np.iinfo(dtype)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise ArgumentError(f"expected {name} within {limits.min}..{limits.max}, got {array.min()}..{array.max()}")
    array = np.ascontiguousarray(array, dtype=dtype)
    if array.flags.writeable:
        array = array.copy() if array is values or array.base is not None else array
        array.flags.writeable = False
    return array


def check_positions(name: str, values: NDArray[Any], num_nodes: int) -> None:
    """Raise EdgeError unless all values are positions of nodes."""
    wrong = np.flatnonzero((values < 0) | (values >= num_nodes))
    if wrong.size:
        raise EdgeError(
            f"expected {name} to be node positions in 0..{num_nodes - 1}, got {values[wrong[0]]} at index {wrong[0]}; "
            "positions are indexes into list(graph)"
        )


def shortened(step: NDArray[Any]) -> NDArray[Any]:
    """Return differences (E,) as int16 where they all fit."""
    if step.dtype != np.int16 and (step.size == 0 or (step.min() >= -MAX_INT16 and step.max() <= MAX_INT16)):
        step = step.astype(np.int16)
    return frozen(step)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array itself, which refuses writes from now on."""
    array.flags.writeable = False
    return array

"""What a graph from a file must be: acyclic, with weights and biases that are numbers, and no larger than its file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import numpy as np

from deepgraph.errors import CycleError, FileFormatError, MissingColumnError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import Array

__all__ = ["check_graph", "check_sparsity", "warn_of_refusal"]

# A column takes all rows, so attributes that few rows have could take far more memory than the file is long.
_FREE_CELLS = 2**24
_ROWS_PER_CELL = 64


def check_graph(g: ArrayGraph) -> None:
    """Raise FileFormatError unless a graph that was read is acyclic with finite weights and biases."""
    wrong = _fault(g)
    if wrong is not None:
        raise FileFormatError(f"{wrong}; check=False reads the graph as it is")


def warn_of_refusal(g: ArrayGraph, stacklevel: int) -> None:
    """Warn of a graph that `load` will refuse unless told not to check it."""
    wrong = _fault(g)
    if wrong is not None:
        warnings.warn(f"saved, but only load(..., check=False) will read it: {wrong}", UserWarning, stacklevel + 1)


def _fault(g: ArrayGraph) -> str | None:
    if g.has_column("weight"):
        row = _not_finite(lambda: g.column("weight", 0.0))
        if row is not None:
            ends = tuple(g.labels([end[row] for end in g.edge_arrays()]))
            return f"column 'weight': expected finite numbers, got {g.column('weight', 0.0)[row]} at edge {ends!r:.60}"
    if g.has_node_column("bias"):
        row = _not_finite(lambda: g.node_column("bias", 0.0))
        if row is not None:
            shown = g.node_column("bias", 0.0)[row]
            return f"node column 'bias': expected finite numbers, got {shown} at node {g.labels([row])[0]!r:.60}"
    try:
        g.layer_array()
    except CycleError as error:
        return str(error)
    return None


def _not_finite(column: Callable[[], Array]) -> int | None:
    """Return the first row of a column whose value is NaN or infinite, None for a column of other things."""
    try:
        values = column()
    except MissingColumnError:
        return None
    if values.dtype.kind != "f":
        return None
    # A sum is finite only if all terms are, and takes no array of the column's length.
    with np.errstate(all="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return None
    wrong = ~np.isfinite(values)
    return int(wrong.argmax()) if wrong.any() else None


def check_sparsity(names: Iterable[str], rows: int, cells: int) -> None:
    """Raise FileFormatError if columns of `names` would take far more than the `cells` that a file has for them."""
    count = len(set(names))
    if count * rows > max(_FREE_CELLS, _ROWS_PER_CELL * cells):
        raise FileFormatError(
            f"expected attributes that many rows have, got {count:,} of them with {cells:,} values in {rows:,} rows"
        )

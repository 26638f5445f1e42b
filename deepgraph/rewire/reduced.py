"""Edges into nodes that take a maximum or a product: rewirers leave them alone.

An edge of weight 0 is as good as none into a sum only. Into a product it makes the node 0, into a maximum it bounds the
node from below, and what dropping one does is not told by its weight. So the gradient of an absent edge there ranks
nothing, and a random edge there would break the node: these edges are part of what the node is.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from deepgraph.errors import UnsupportedOperationError
from deepgraph.sparse.values import EdgeValues

__all__ = ["keep_whole", "open_rows", "reduced_targets", "refuse_reduced"]

Mask = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]


def reduced_targets(values: EdgeValues) -> Mask | None:
    """Return which targets (C,) take a maximum or a product, None where none does."""
    found: Mask | None = getattr(values.owner, "reduced_targets", None)
    return found


def keep_whole(values: EdgeValues, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return scores (E,) of which the lowest go, with those of edges into maxima and products above all others."""
    reduced = reduced_targets(values)
    if reduced is None:
        return scores
    return np.where(reduced[values.edge_set.dst], np.finfo(np.float64).max, scores)


def open_rows(values: EdgeValues, rows: Index) -> Index:
    """Return the rows, of some that were chosen to go, whose edges do not enter a maximum or a product."""
    reduced = reduced_targets(values)
    return rows if reduced is None else rows[~reduced[values.edge_set.dst[rows]]]


def refuse_reduced(values: EdgeValues, name: str) -> None:
    """Raise UnsupportedOperationError for a set with such edges, where all of a set's weights walk through 0."""
    reduced = reduced_targets(values)
    if reduced is not None:
        raise UnsupportedOperationError(
            f"{name}: expected nodes that sum, because its weights walk through 0, where edges end, got "
            f"{np.count_nonzero(reduced)} nodes in {values.edge_set.name!r} that reduce by maximum or product; use an "
            "algorithm that drops by a score, such as SET or RigL, which leave the edges into these nodes alone"
        )

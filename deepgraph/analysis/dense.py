"""Dense layers, which swamp the statistics of the sparse ones beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepgraph.analysis.edges import EdgeArrays, arrays_of
from deepgraph.errors import ArgumentError

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = ["DENSE_LIMIT", "without_dense_pairs"]

DENSE_LIMIT = 0.5
# Below this many admissible pairs a block is a handful of edges, full by chance and not a dense layer.
SMALLEST_DENSE_BLOCK = 64


def without_dense_pairs(graph: Source, limit: float = DENSE_LIMIT) -> tuple[EdgeArrays, list[str]]:
    """Return the graph without the edges of dense stage pairs, and the names of what was left out.

    One dense layer holds most triangles, squares and short cuts of a sparse network and hides those of all others.
    A pair is left out where its density exceeds `limit` and it has at least 64 admissible pairs. Where that would
    leave no edge at all, nothing is left out.

    Parameters
    ----------
    limit : float
        Largest density in [0, 1] that is kept.

    Raises
    ------
    ArgumentError
        If `limit` is outside [0, 1].

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> import numpy as np
    >>> row, column = np.divmod(np.arange(100), 10)
    >>> dense = EdgeArrays.from_arrays(np.r_[row, 10], np.r_[10 + column, 20], 21, stage=[0] * 10 + [1] * 10 + [2])
    >>> thin, left_out = without_dense_pairs(dense)
    >>> thin.num_edges, left_out
    (1, ['0-1 (density 1.00)'])
    """
    if not 0.0 <= limit <= 1.0:
        raise ArgumentError(f"limit must be a density in [0, 1], got {limit}")
    view = arrays_of(graph)

    def build() -> tuple[EdgeArrays, list[str]]:
        pairs = view.pairs
        dense = (pairs.edges > limit * pairs.admissible) & (pairs.admissible >= SMALLEST_DENSE_BLOCK)
        if not dense.any() or dense.all():
            return view, []
        stages = view.stages
        names = [
            f"{stages[pairs.source[p]]}-{stages[pairs.target[p]]} (density {pairs.edges[p] / pairs.admissible[p]:.2f})"
            for p in np.flatnonzero(dense)
        ]
        return view.keep(~dense[pairs.of_edge]), names

    return view.once(f"thin {limit}", build)

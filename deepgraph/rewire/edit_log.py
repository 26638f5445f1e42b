"""`EditLog`: one row per edit, cheap enough to keep for an algorithm that edits at every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepgraph.errors import MissingDependencyError
from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit

__all__ = ["EditLog"]


def skip_lengths(edges: EdgeSet, src: Array, dst: Array) -> Array:
    """Return how many stages each pair (K,) spans, >= 1; between two layers that is 1."""
    if edges.stage is None:
        return np.ones(len(src), np.int64)
    found: Array = (edges.stage[dst] - edges.stage[src]).astype(np.int64)
    return found


class EditLog(list[dict[str, Any]]):
    """Rows {"step", "dropped", "grown", "edges", "skip"}; `skip` maps a skip length in stages to its number of edges.

    Examples
    --------
    >>> edges = EdgeSet.from_pairs([0, 0, 1], [1, 2, 2], 4, 4, stage=np.arange(4))
    >>> log = EditLog()
    >>> log.add(10, [edges], [edges.edit(drop=([0], [1]), grow=([0], [3]))])
    >>> log[0]
    {'step': 10, 'dropped': 1, 'grown': 1, 'edges': 3, 'skip': {1: 1, 2: 1, 3: 1}}
    """

    def __init__(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(rows)
        self._counts: dict[int, tuple[int, Array]] = {}

    def add(self, step: int, edge_sets: Sequence[EdgeSet], edits: Sequence[EdgeEdit | None]) -> None:
        """Append the row of one step: `edits[i]` is the edit that `edge_sets[i]` was just given, None for none."""
        counts = [self._counted(i, *pair) for i, pair in enumerate(zip(edge_sets, edits, strict=True))]
        total = np.zeros(max((len(count) for count in counts), default=0), np.int64)
        for count in counts:
            total[: len(count)] += count
        row: dict[str, Any] = {
            "step": step,
            "dropped": sum(edit.num_dropped for edit in edits if edit is not None),
            "grown": sum(edit.num_grown for edit in edits if edit is not None),
            "edges": int(total.sum()),
            "skip": {int(length): int(total[length]) for length in np.flatnonzero(total)},
        }
        # An algorithm that edits at every step has as many rows: equal entries are one object.
        for name in ("edges", "skip") if self else ():
            if self[-1][name] == row[name]:
                row[name] = self[-1][name]
        self.append(row)

    def _counted(self, index: int, edges: EdgeSet, edit: EdgeEdit | None) -> Array:
        """Return the edges of one set by skip length; after nothing but this edit, only the edit is counted."""
        if edges.stage is None:
            return np.array([0, edges.num_edges][: 1 + (edges.num_edges > 0)])
        version, count = self._counts.get(index, (-1, np.empty(0, np.int64)))
        if version >= 0 and version == edges.version - (edit is not None):
            if edit is not None:
                gone, came = (np.bincount(skip_lengths(edges, *pairs)) for pairs in (edit.dropped, edit.grown))
                longer = np.zeros(max(len(count), len(came)), np.int64)
                longer[: len(count)] += count
                longer[: len(gone)] -= gone
                longer[: len(came)] += came
                count = longer
        else:
            count = np.bincount(skip_lengths(edges, *edges.pairs()))
        self._counts[index] = edges.version, count
        return count

    def to_frame(self) -> Any:
        """Return the rows as a pandas.DataFrame; columns skip_1, skip_2, ... count edges by skip length.

        Raises
        ------
        MissingDependencyError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingDependencyError(
                "to_frame: expected pandas, which is not installed; run pip install pandas"
            ) from error
        lengths = sorted({length for row in self for length in row["skip"]})
        return pd.DataFrame([
            {key: row[key] for key in ("step", "dropped", "grown", "edges")}
            | {f"skip_{length}": row["skip"].get(length, 0) for length in lengths}
            for row in self
        ])  # fmt: skip

    def __repr__(self) -> str:
        dropped, grown = (sum(row[key] for row in self) for key in ("dropped", "grown"))
        return f"EditLog({len(self)} edits, {dropped} edges dropped, {grown} grown)"

"""Edits of several edge sets of a module as one edit of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from deepgraph.graph.arrays import Array, read_only
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit, History

__all__ = ["JoinedHistory", "Part", "joined_edit", "starts_of"]


class Part(NamedTuple):
    """An edge set of a module: its row 0 is node `row` of the graph, its column 0 is node `column`."""

    edges: EdgeSet
    row: int
    column: int

    def holds(self, u: Any, v: Any) -> Any:
        """Return whether pairs lie in this part; arrays or numbers."""
        inside = (self.row <= u) & (u < self.row + self.edges.num_sources)
        return inside & (self.column <= v) & (v < self.column + self.edges.num_targets)


def joined_edit(
    parts: Sequence[Part], by_part: Mapping[int, EdgeEdit], starts: Array, step: int | None, reason: str
) -> EdgeEdit:
    """Return the edits of several parts as one edit of the graph; `starts` (P + 1,) as before it."""
    sizes = np.diff(starts)
    for index, edit in by_part.items():
        sizes[index] += edit.num_grown - edit.num_dropped
    after = starts_of(sizes)
    edits = [(parts[index], starts[index], after[index], by_part[index]) for index in sorted(by_part)]
    dropped = _end([(p, e.dropped, start + e.dropped_rows, e.dropped_columns) for p, start, _, e in edits])
    grown = _end([(p, e.grown, start + e.grown_rows, e.grown_columns) for p, _, start, e in edits])
    return EdgeEdit(
        dropped=dropped[0],
        grown=grown[0],
        dropped_rows=dropped[1],
        grown_rows=grown[1],
        num_before=int(starts[-1]),
        dropped_columns=dropped[2],
        grown_columns=grown[2],
        step=step,
        reason=reason,
        transaction=max((edit.transaction for edit in by_part.values()), default=0),
    )


class JoinedHistory:
    """The histories of several parts as one of their graph, edits made together being one edit.

    A question costs what was edited since the last one, as long as nothing was undone.
    """

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._joined = History()
        self._sources: list[tuple[History, int]] = []
        self._seen: list[int] = []
        self._newest = 0

    def of(self, parts: Sequence[Part]) -> History:
        """Return the edits of all parts, oldest first, as a history of its own."""
        histories = [part.edges.history for part in parts]
        sources = [(history, history.removals) for history in histories]
        if [(id(a), b) for a, b in sources] != [(id(a), b) for a, b in self._sources]:
            self._start(sources)
        fresh = self._fresh(histories)
        if self._seen and fresh and min(fresh) <= self._newest:
            # An edit that is older than what was joined, such as one read from a file, belongs in between.
            self._start(sources)
            fresh = self._fresh(histories)
        sizes = [self._size(part, seen) for part, seen in zip(parts, self._seen, strict=True)]
        for number, by_part in sorted(fresh.items()):
            one = next(iter(by_part.values()))
            self._joined.append(joined_edit(parts, by_part, starts_of(sizes), one.step, one.reason))
            self._newest = number
            for index, edit in by_part.items():
                sizes[index] += edit.num_grown - edit.num_dropped
        self._seen = [len(history) for history in histories]
        return self._joined.copy()

    def _start(self, sources: list[tuple[History, int]]) -> None:
        self._forget()
        self._sources, self._seen = sources, [0] * len(sources)

    def _fresh(self, histories: Sequence[History]) -> dict[int, dict[int, EdgeEdit]]:
        """Return the edits that were not joined yet, by transaction and part."""
        grouped: dict[int, dict[int, EdgeEdit]] = {}
        for index, (history, seen) in enumerate(zip(histories, self._seen, strict=True)):
            for edit in history[seen:] if seen else history:
                grouped.setdefault(edit.transaction, {})[index] = edit
        return grouped

    @staticmethod
    def _size(part: Part, seen: int) -> int:
        """Return the number of edges of a part before those of its edits that were not joined yet."""
        history = part.edges.history
        return history[seen].num_before if seen < len(history) else part.edges.num_edges


def starts_of(sizes: Iterable[int] | Array) -> Array:
    """Return the first row of each part and the number of all rows at the end (P + 1,)."""
    return np.concatenate([[0], np.cumsum(np.asarray(list(sizes), np.int64))]).astype(np.int64)


def _end(
    parts: list[tuple[Part, tuple[Array, Array], Array, Mapping[str, Array]]],
) -> tuple[tuple[Array, Array], Array, dict[str, Array]]:
    """Return pairs, rows and columns of one end of an edit, joined over the parts and in the graph's coordinates."""
    src = [pairs[0] + np.int32(part.row) for part, pairs, _, _ in parts]
    dst = [pairs[1] + np.int32(part.column) for part, pairs, _, _ in parts]
    rows = [at for _, _, at, _ in parts]
    taking = [columns for _, _, at, columns in parts if len(at)]
    names = set.intersection(*(set(columns) for columns in taking)) if taking else set()
    columns = {name: read_only(np.concatenate([own[name] for own in taking])) for name in sorted(names)}
    none = [np.empty(0, np.int32)]
    pairs = read_only(np.concatenate(none + src)), read_only(np.concatenate(none + dst))
    return pairs, read_only(np.concatenate([np.empty(0, np.int64), *rows])), columns

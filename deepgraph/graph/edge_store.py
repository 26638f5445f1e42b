"""`FreeEdges`: the edges of a graph that belongs to no module.

One edge set with a small overlay of single additions and removals, merged into the arrays when somebody asks for
arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from deepgraph.errors import CycleError, EdgeError
from deepgraph.graph.abstract_edges import EdgeStore, row_of
from deepgraph.graph.arrays import Array, read_only
from deepgraph.graph.bound_edges import BoundEdges
from deepgraph.graph.columns import Columns
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edit_plan import PreparedEdit, plan_edit
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.graph.layer_updates import critical_counts, updated_layers
from deepgraph.graph.layers import layer_index

__all__ = ["BoundEdges", "EdgeStore", "FreeEdges"]


class FreeEdges(EdgeStore):
    """The edges of a graph that belongs to no module."""

    bound: ClassVar[bool] = False

    def __init__(self, edges: EdgeSet | None = None) -> None:
        super().__init__()
        self.edges = edges if edges is not None else _no_edges(0)
        self._changes = 0
        self._critical: tuple[Array, Array] | None = None
        self._forget_overlay()

    def _forget_overlay(self) -> None:
        self._added: dict[int, dict[int, dict[str, Any]]] = {}
        self._added_in: dict[int, dict[int, None]] = {}
        self._removed: dict[int, set[int]] = {}
        self._removed_in: dict[int, set[int]] = {}
        self._surplus = 0

    @property
    def version(self) -> int:
        return self._changes + self.edges.version

    # -- one edge at a time -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.edges.num_edges + self._surplus

    def _base_row(self, u: int, v: int) -> int:
        if u >= self.edges.num_sources or v in self._removed.get(u, ()):
            return -1
        return row_of(self.edges.indptr, self.edges.dst, u, v)

    def has(self, u: int, v: int) -> bool:
        return v in self._added.get(u, ()) or self._base_row(u, v) >= 0

    def successors(self, u: int) -> list[int]:
        result: list[int] = []
        if u < self.edges.num_sources:
            result = self.edges.dst[self.edges.indptr[u] : self.edges.indptr[u + 1]].tolist()
            gone = self._removed.get(u)
            if gone:
                result = [v for v in result if v not in gone]
        return [*result, *self._added[u]] if u in self._added else result

    def predecessors(self, v: int) -> list[int]:
        result: list[int] = []
        if self.edges.num_edges and v < self.edges.num_targets:
            indptr, src, _ = self.edges.csc()
            result = src[indptr[v] : indptr[v + 1]].tolist()
            gone = self._removed_in.get(v)
            if gone:
                result = [u for u in result if u not in gone]
        return [*result, *self._added_in[v]] if v in self._added_in else result

    def out_degree(self, u: int) -> int:
        indptr = self.edges.indptr
        base = int(indptr[u + 1] - indptr[u]) if u < self.edges.num_sources else 0
        return base - len(self._removed.get(u, ())) + len(self._added.get(u, ()))

    def in_degree(self, v: int) -> int:
        base = 0
        if self.edges.num_edges and v < self.edges.num_targets:
            indptr = self.edges.csc()[0]
            base = int(indptr[v + 1] - indptr[v])
        return base - len(self._removed_in.get(v, ())) + len(self._added_in.get(v, ()))

    def add(self, u: int, v: int, attributes: dict[str, Any]) -> None:
        if self.has(u, v):
            where = self.table(u, v)
            if isinstance(where, dict):
                where.update(attributes)
            else:
                for name, value in attributes.items():
                    where[0].set(where[1], name, value)
            return
        self._added.setdefault(u, {})[v] = dict(attributes)
        self._added_in.setdefault(v, {})[u] = None
        self._surplus += 1
        self._changes += 1

    def remove(self, u: int, v: int) -> None:
        if v in self._added.get(u, ()):
            del self._added[u][v]
            del self._added_in[v][u]
        else:
            self._removed.setdefault(u, set()).add(v)
            self._removed_in.setdefault(v, set()).add(u)
        self._surplus -= 1
        self._changes += 1

    def table(self, u: int, v: int) -> tuple[Columns, int] | dict[str, Any]:
        attributes = self._added.get(u, {}).get(v)
        if attributes is not None:
            return attributes
        row = self._base_row(u, v)
        if row < 0:
            raise KeyError(v)
        return self.edges.columns, row

    # -- arrays -------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Remove all edges; a history that spoke of them goes too."""
        self._changes += self.edges.version + 1
        self.edges = _no_edges(self.edges.num_sources)
        self._forget_overlay()

    def consolidate(self, nodes: int) -> None:
        """Merge single additions and removals into the arrays of `nodes` nodes, as one edit.

        The first edges of a graph are its beginning and not an edit.
        """
        edges = self.edges
        if edges.num_sources < nodes:
            edges.add_nodes(nodes)
        if not (any(self._added.values()) or any(self._removed.values())):
            return
        drop = _joined((u, targets) for u, targets in self._removed.items())
        grow = _joined((u, sorted(targets)) for u, targets in sorted(self._added.items()))
        attributes = (self._added[u][v] for u, v in zip(grow[0].tolist(), grow[1].tolist(), strict=True))
        rest = Columns(len(grow[0]))
        rest.exotic = {row: own for row, own in enumerate(attributes) if own}
        full, partial = rest.cut(np.arange(rest.rows))
        for name in [name for name, values in full.items() if not edges.columns.accepts(name, values)]:
            partial = partial or Columns(rest.rows)
            partial.arrays[name] = full.pop(name)
        first = edges.num_edges == 0 and not len(edges.history)
        plan = plan_edit(edges, drop, grow, full, partial, reason="networkx", default_weight=False, finite=False)
        plan.commit(record=not first)
        edges.undone.clear()
        self._forget_overlay()

    def renumber(self, moved: Array, nodes: int) -> None:
        """Give nodes new slots; the history goes, as it speaks of positions that are no more."""
        self.consolidate(len(moved))
        edges = self.edges
        src, dst = edges.pairs()
        indptr = np.zeros(nodes + 1, np.int64)
        np.cumsum(np.bincount(moved[src], minlength=nodes), out=indptr[1:])
        self._changes += edges.version + 1
        # Closing holes keeps the order of the remaining nodes, so the edges stay sorted.
        self.edges = EdgeSet(indptr, moved[dst].astype(np.int32), nodes, edges.columns, name=edges.name)

    def csr(self) -> tuple[Array, Array]:
        return self.edges.csr()

    def csc(self) -> tuple[Array, Array, Array]:
        return self.edges.csc()

    def pairs(self) -> tuple[Array, Array]:
        return self.edges.pairs()

    def names(self) -> list[str]:
        return self.edges.columns.names

    def column(self, name: str, default: Any = None) -> Array:
        return self.edges.column(name, default)

    def set_column(self, name: str, array: Any) -> None:
        self.edges.columns.put(name, array)

    def history(self) -> History:
        return self.edges.history

    def edit(
        self, drop: Any = None, grow: Any = None, step: int | None = None, reason: str = "", **columns: Any
    ) -> EdgeEdit:
        """Drop and grow edges at once, or raise and change nothing.

        Raises
        ------
        EdgeError
            Besides what `EdgeSet.prepare` raises: if a grown edge is a self-loop.
        CycleError
            If the grown edges close a cycle.
        """
        return self._commit(self.edges.prepare(drop, grow, step, reason, **columns))

    def repeat(self, edit: EdgeEdit) -> EdgeEdit:
        return self._commit(
            plan_edit(
                self.edges, edit.dropped, edit.grown, edit.grown_columns, edit.grown_rest,
                step=edit.step, reason=edit.reason, finite=False,
            )
        )  # fmt: skip

    def _commit(self, prepared: PreparedEdit) -> EdgeEdit:
        """Make a prepared edit of a graph: refused if it closes a cycle, with the layers kept where they can be."""
        src, dst = prepared.edit.grown
        loops = src == dst
        if loops.any():
            raise EdgeError(f"graph: grow: expected no self-loop, got one at position {int(src[loops][0])}")
        kept = self._layers_after(prepared)
        edit = prepared.commit()
        if kept is not None:
            layer = read_only(kept[0])
            self._layers, self._critical = (self.version, layer), (layer, kept[1])
        return edit

    def _layers_after(self, prepared: PreparedEdit) -> tuple[Array, Array] | None:
        """Return layers and critical counts after an edit, None beside an old cycle; CycleError if it closes one."""
        edit, rows = prepared.edit, (prepared.indptr, prepared.dst)
        try:
            layer = self.layers()
        except CycleError:
            if edit.num_grown:
                layer_index(*rows, self.edges.num_sources, self.label)
            return None
        if self._critical is None or self._critical[0] is not layer:
            self._critical = layer, critical_counts(*self.csr(), layer)
        return updated_layers(*self._critical, edit.dropped, edit.grown, *rows, self.label)

    def undo(self) -> EdgeEdit:
        return self.edges.undo()

    def redo(self) -> EdgeEdit:
        return self.edges.redo()

    def edge_set(self) -> EdgeSet:
        return self.edges

    def copy(self) -> FreeEdges:
        self.consolidate(self.edges.num_sources)
        edges = self.edges
        copied = EdgeSet(
            edges.indptr.copy(), edges.dst.copy(), edges.num_targets, edges.columns.copy(), name=edges.name
        )
        copied.history = History(list(edges.history))
        copied.undone = list(edges.undone)
        return FreeEdges(copied)

    @property
    def nbytes(self) -> int:
        return self.edges.nbytes


def _no_edges(nodes: int) -> EdgeSet:
    return EdgeSet(np.zeros(nodes + 1, np.int64), np.empty(0, np.int32), nodes, name="graph")


def _joined(rows: Iterable[tuple[int, Iterable[int]]]) -> tuple[Array, Array]:
    src: list[int] = []
    dst: list[int] = []
    for u, targets in rows:
        before = len(dst)
        dst.extend(targets)
        src.extend([u] * (len(dst) - before))
    return np.array(src, np.int64), np.array(dst, np.int64)

"""`FreeEdges`: the edges of a graph that belongs to no module.

One edge set with a small overlay of single additions and removals, merged into the arrays when somebody asks for
arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from deepgraph.errors import CycleError, EdgeError
from deepgraph.graph.abstract_edges import EdgeStore, row_of
from deepgraph.graph.arrays import Array
from deepgraph.graph.bound_edges import BoundEdges
from deepgraph.graph.columns import Columns
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edit_plan import PreparedEdit, plan_edit
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.graph.kept_layers import KeptLayers
from deepgraph.graph.layers import layer_index

__all__ = ["BoundEdges", "EdgeStore", "FreeEdges"]


class FreeEdges(EdgeStore):
    """The edges of a graph that belongs to no module."""

    bound: ClassVar[bool] = False

    def __init__(self, edges: EdgeSet | None = None) -> None:
        super().__init__()
        self.edges = edges if edges is not None else _no_edges(0)
        self._kept = KeptLayers()
        self._forget_overlay()

    def _forget_overlay(self) -> None:
        self._added: dict[int, dict[int, dict[str, Any]]] = {}
        self._added_in: dict[int, dict[int, None]] = {}
        self._removed: dict[int, set[int]] = {}
        self._removed_in: dict[int, set[int]] = {}
        self._surplus = 0

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

    def remove(self, u: int, v: int) -> None:
        if v in self._added.get(u, ()):
            del self._added[u][v]
            del self._added_in[v][u]
        else:
            self._removed.setdefault(u, set()).add(v)
            self._removed_in.setdefault(v, set()).add(u)
        self._surplus -= 1

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
        self.edges, self._kept = _no_edges(self.edges.num_sources), KeptLayers()
        self._forget_overlay()

    def consolidate(self, nodes: int) -> None:
        """Merge single additions and removals into the arrays of `nodes` nodes, as one edit.

        The first edges of a graph are its beginning and not an edit.
        """
        edges = self.edges
        if edges.num_sources < nodes:
            known = self._kept.version == edges.version
            edges.add_nodes(nodes)
            if known:
                self._kept.widen(edges.version, nodes)
        if not (any(self._added.values()) or any(self._removed.values())):
            return
        drop = _joined((u, targets) for u, targets in self._removed.items())
        grow = _joined((u, sorted(targets)) for u, targets in sorted(self._added.items()))
        attributes = (self._added[u][v] for u, v in zip(grow[0].tolist(), grow[1].tolist(), strict=True))
        rest = Columns(len(grow[0]))
        rest.exotic = {row: own for row, own in enumerate(attributes) if own}
        full, partial = edges.columns.apart(*rest.cut(np.arange(rest.rows)), rest.rows)
        first = edges.num_edges == 0 and not len(edges.history)
        plan = plan_edit(edges, drop, grow, full, partial, reason="networkx", default_weight=False, finite=False)
        self._following(plan, lambda: plan.commit(record=not first))
        edges.undone.clear()
        self._forget_overlay()

    def renumber(self, moved: Array, nodes: int) -> None:
        """Give nodes new slots; the history goes, as it speaks of positions that are no more."""
        self.consolidate(len(moved))
        edges = self.edges
        src, dst = edges.pairs()
        indptr = np.zeros(nodes + 1, np.int64)
        np.cumsum(np.bincount(moved[src], minlength=nodes), out=indptr[1:])
        self._kept = KeptLayers()
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
        rows = prepared.indptr, prepared.dst
        try:
            self.layers()
        except CycleError:
            # There is a cycle already, so only an edit that leaves none is free of blame for it.
            if prepared.edit.num_grown:
                layer_index(*rows, self.edges.num_sources, self.label)
            return prepared.commit()
        kept = self._kept.after(self.csr(), prepared.edit, rows, self.label)
        edit = prepared.commit()
        self._kept.keep(self.edges.version, *kept)
        return edit

    def _following(self, prepared: PreparedEdit, make: Callable[[], EdgeEdit]) -> EdgeEdit:
        """Make a prepared edit by `make`, with the layers kept where they are known; it may close a cycle."""
        rows = prepared.indptr, prepared.dst
        kept = self._kept.after_if_known(self.edges.version, self.csr(), prepared.edit, rows)
        edit = make()
        if kept is not None:
            self._kept.keep(self.edges.version, *kept)
        return edit

    def undo(self) -> EdgeEdit:
        prepared = self.edges.prepare_undo()
        return self._following(prepared, lambda: self.edges.take_back(prepared))

    def redo(self) -> EdgeEdit:
        prepared = self.edges.prepare_redo()
        return self._following(prepared, lambda: self.edges.make_again(prepared))

    def layers(self) -> Array:
        return self._kept.at(self.edges.version, self.csr(), self.label)

    def without_history(self) -> FreeEdges:
        """Return these edges, whose history begins here."""
        self.edges.history.clear()
        self.edges.undone.clear()
        return self

    def edge_set(self) -> EdgeSet:
        return self.edges

    def copy(self) -> FreeEdges:
        self.consolidate(self.edges.num_sources)
        edges = self.edges
        copied = EdgeSet(
            edges.indptr.copy(), edges.dst.copy(), edges.num_targets, edges.columns.copy(), name=edges.name
        )
        copied.history = edges.history.copy()
        copied.undone = list(edges.undone)
        result = FreeEdges(copied)
        if self._kept.version == edges.version:
            result._kept = self._kept.copy(copied.version)
        return result

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

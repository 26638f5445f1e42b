"""`BoundEdges`: the edges of a compiled graph, a view on the edge sets of a module where each change is an edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.graph.abstract_edges import EdgeStore, row_of
from deepgraph.graph.arrays import Array, expand, read_only, transpose
from deepgraph.graph.columns import Columns
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edit_plan import PreparedEdit, pair_ids
from deepgraph.graph.history import EdgeEdit, History, next_transaction
from deepgraph.graph.joined_edits import JoinedHistory, Part, joined_edit, starts_of
from deepgraph.graph.kept_layers import KeptLayers

if TYPE_CHECKING:
    from deepgraph.graph.edge_store import FreeEdges

__all__ = ["BoundEdges"]


class BoundEdges(EdgeStore):
    """The edges of a compiled graph: the edge sets of a module, each at an offset of rows and of columns.

    Rows of the parts do not overlap and ascend, so their edges, joined, are in canonical order.

    Parameters
    ----------
    parts : sequence of (EdgeSet, int, int)
        Edge sets, each with the nodes that its first row and its first column stand for.
    nodes : int
        Number of nodes of the graph.

    Raises
    ------
    ArgumentError
        If the rows of the parts overlap or do not ascend, or a part reaches beyond the nodes.
    """

    bound: ClassVar[bool] = True

    def __init__(self, parts: Sequence[tuple[EdgeSet, int, int]], nodes: int) -> None:
        super().__init__()
        self.parts, self.nodes = [Part(*part) for part in parts], nodes
        end = 0
        for part in self.parts:
            last = part.column + part.edges.num_targets
            if part.row < end or part.row + part.edges.num_sources > nodes or last > nodes:
                raise ArgumentError(
                    f"expected edge sets whose rows ascend within {nodes} nodes, got {part.edges!r} at row {part.row}, "
                    f"column {part.column}"
                )
            end = part.row + part.edges.num_sources
        self._joined: tuple[int, tuple[Array, Array]] | None = None
        self._turned: tuple[int, tuple[Array, Array, Array]] | None = None
        self._kept = KeptLayers()
        self._edits = JoinedHistory()

    @property
    def _whole(self) -> bool:
        """Whether one edge set holds the graph as it is."""
        return len(self.parts) == 1 and self.parts[0].edges.num_sources == self.nodes == self.parts[0].edges.num_targets

    @property
    def version(self) -> int:
        """A number that rises with every change of edges."""
        return sum(part.edges.version for part in self.parts)

    # -- one edge at a time -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return sum(part.edges.num_edges for part in self.parts)

    def has(self, u: int, v: int) -> bool:
        return row_of(*self.csr(), u, v) >= 0

    def successors(self, u: int) -> list[int]:
        indptr, dst = self.csr()
        found: list[int] = dst[indptr[u] : indptr[u + 1]].tolist()
        return found

    def predecessors(self, v: int) -> list[int]:
        indptr, src, _ = self.csc()
        found: list[int] = src[indptr[v] : indptr[v + 1]].tolist()
        return found

    def out_degree(self, u: int) -> int:
        indptr = self.csr()[0]
        return int(indptr[u + 1] - indptr[u])

    def in_degree(self, v: int) -> int:
        indptr = self.csc()[0]
        return int(indptr[v + 1] - indptr[v])

    def table(self, u: int, v: int) -> tuple[Columns, int]:
        row = row_of(*self.csr(), u, v)
        if row < 0:
            raise KeyError(v)
        index = next(index for index, part in enumerate(self.parts) if part.holds(u, v))
        return self.parts[index].edges.columns, row - int(self.starts()[index])

    def add(self, u: int, v: int, attributes: dict[str, Any]) -> None:
        self.add_many({(u, v): attributes})

    def add_many(self, wanted: Mapping[tuple[int, int], dict[str, Any]]) -> None:
        """Add edges as one edit, and update the attributes of those that exist; all of it or nothing.

        Raises
        ------
        EditRefusedError
            If no edge set holds a pair, or the module cannot follow now.
        EdgeError
            If a pair is not admissible.
        ArgumentError
            If a weight is no finite number.
        """
        for pair, attributes in wanted.items():
            weight = attributes.get("weight", 0.0)
            if not isinstance(weight, (int, float, np.number)) or not np.isfinite(weight):
                raise ArgumentError(f"edge {pair}: expected a finite number as weight, got {weight!r}")
        fresh = [pair for pair in wanted if not self.has(*pair)]
        if fresh:
            weight = np.array([float(wanted[pair].get("weight", 0.0)) for pair in fresh])
            src, dst = np.array(fresh, np.int64).T
            self.edit(grow=(src, dst), reason="networkx", weight=weight)
        grown = set(fresh)
        for pair, attributes in wanted.items():
            columns, row = self.table(*pair)
            for name, value in attributes.items():
                if not (name == "weight" and pair in grown):
                    columns.set(row, name, value)

    def remove(self, u: int, v: int) -> None:
        self.edit(drop=(np.array([u]), np.array([v])), reason="networkx")

    # -- arrays -------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        self.edit(drop=self.pairs(), reason="networkx")

    def consolidate(self, nodes: int) -> None:
        """Do nothing: changes of a compiled graph go to its arrays at once."""

    def renumber(self, moved: Array, nodes: int) -> None:
        """Raise: the nodes of a compiled graph are fixed."""
        raise EditRefusedError(
            "cannot renumber nodes: the graph belongs to a compiled model; edit a free copy, g.copy()"
        )

    def csr(self) -> tuple[Array, Array]:
        if self._joined is None or self._joined[0] != self.version:
            self._joined = self.version, self._join()
        return self._joined[1]

    def _join(self) -> tuple[Array, Array]:
        if self._whole:
            return self.parts[0].edges.csr()
        degree = np.zeros(self.nodes, np.int64)
        for edges, row, _ in self.parts:
            degree[row : row + edges.num_sources] += np.diff(edges.indptr)
        indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
        dst = np.concatenate([np.empty(0, np.int32), *(part.edges.dst + np.int32(part.column) for part in self.parts)])
        return read_only(indptr), read_only(dst)

    def csc(self) -> tuple[Array, Array, Array]:
        if self._whole:
            return self.parts[0].edges.csc()
        if self._turned is None or self._turned[0] != self.version:
            indptr, src, edge = transpose(*self.csr(), self.nodes)
            self._turned = self.version, (read_only(indptr), read_only(src), read_only(edge))
        return self._turned[1]

    def pairs(self) -> tuple[Array, Array]:
        if self._whole:
            return self.parts[0].edges.pairs()
        indptr, dst = self.csr()
        return read_only(expand(indptr)), dst

    def layers(self) -> Array:
        # Stages already tell that an edit closes no cycle, so layers are found anew, and only when asked for.
        return self._kept.at(self.version, self.csr(), self.label)

    def starts(self) -> Array:
        """Return the first canonical row of each part and the number of edges at the end (P + 1,)."""
        return starts_of([part.edges.num_edges for part in self.parts])

    def names(self) -> list[str]:
        return list(dict.fromkeys(name for part in self.parts for name in part.edges.columns.names))

    def column(self, name: str, default: Any = None) -> Array:
        if self._whole:
            return self.parts[0].edges.column(name, default)
        # A part without edges lacks every attribute, and has nothing to say about a column.
        values = [part.edges.column(name, default) for part in self.parts if part.edges.num_edges]
        return read_only(np.concatenate(values)) if values else read_only(np.empty(0))

    def set_column(self, name: str, array: Any) -> None:
        values = Columns(len(self)).checked(name, array)
        pieces = np.split(values, self.starts()[1:-1])
        for part, piece in zip(self.parts, pieces, strict=True):
            part.edges.columns.check_put(name, piece)
        for part, piece in zip(self.parts, pieces, strict=True):
            part.edges.columns.put(name, piece)

    def edge_set(self) -> EdgeSet:
        return self.parts[0].edges if self._whole else self.copy().edges

    def copy(self) -> FreeEdges:
        from deepgraph.graph.edge_store import FreeEdges

        indptr, dst = self.csr()
        columns = Columns(len(dst))
        for part, start in zip(self.parts, self.starts(), strict=False):
            columns.merge(np.arange(start, start + part.edges.num_edges), part.edges.columns.copy())
        result = EdgeSet(indptr.copy(), dst.copy(), self.nodes, columns, name="graph")
        result.history = self.history().copy()
        return FreeEdges(result)

    @property
    def nbytes(self) -> int:
        return sum(part.edges.nbytes for part in self.parts)

    # -- editing ------------------------------------------------------------------------------------------------

    def edit(
        self, drop: Any = None, grow: Any = None, step: int | None = None, reason: str = "", **columns: Any
    ) -> EdgeEdit:
        """Make an edit over all parts, or none; see `EdgeSet.prepare` for what raises."""
        starts = self.starts()
        prepared = self.prepare(drop, grow, step, reason, **columns)
        for part in self.parts:
            part.edges.undone.clear()
        return self._merge({index: change.commit() for index, change in prepared.items()}, starts, step, reason)

    def prepare(
        self, drop: Any = None, grow: Any = None, step: int | None = None, reason: str = "", **columns: Any
    ) -> dict[int, PreparedEdit]:
        """Return the checked edits of the parts that change; none was made."""
        transaction = next_transaction()
        drops, grows = self._split(drop, "drop"), self._split(grow, "grow")
        count = sum(len(at) for _, _, at in grows.values())
        whole = {name: np.broadcast_to(v, (count,)) if np.ndim(v) == 0 else v for name, v in columns.items()}
        given = {name: Columns(count).checked(name, values) for name, values in whole.items()}
        prepared = {}
        for index in sorted({*drops, *grows}):
            gone, new = drops.get(index), grows.get(index)
            mine = {name: values[new[2]] for name, values in given.items()} if new is not None else {}
            prepared[index] = self.parts[index].edges.prepare(
                gone[:2] if gone is not None else None,
                new[:2] if new is not None else None,
                step=step,
                reason=reason,
                transaction=transaction,
                default_weight=True,
                **mine,
            )
        return prepared

    def _split(self, pairs: Any, word: str) -> dict[int, tuple[Array, Array, Array]]:
        """Return for each part its pairs, in its own coordinates, and where they stood among the given."""
        src, dst = pair_ids(pairs, self.nodes, self.nodes, f"graph: {word}")
        result = {}
        left = np.ones(len(src), bool)
        for index, part in enumerate(self.parts):
            inside = left & part.holds(src, dst)
            if inside.any():
                at = np.flatnonzero(inside)
                result[index] = src[at] - part.row, dst[at] - part.column, at
                left &= ~inside
        if left.any():
            first = int(np.flatnonzero(left)[0])
            raise EditRefusedError(
                f"graph: {word}: expected edges between consecutive layers of the compiled model, got "
                f"({int(src[first])}, {int(dst[first])}), which no layer holds; "
                "compile the graph with MaskedDeepDAN.from_graph to have skip edges"
            )
        return result

    def _merge(self, by_part: Mapping[int, EdgeEdit], starts: Array, step: int | None, reason: str) -> EdgeEdit:
        return by_part[0] if self._whole and by_part else joined_edit(self.parts, by_part, starts, step, reason)

    def history(self) -> History:
        """Return the edits of all parts, those made together as one edit of the graph, oldest first."""
        if self._whole:
            return self.parts[0].edges.history
        return self._edits.of(self.parts)

    def undo(self) -> EdgeEdit:
        history = self.history()
        if not len(history):
            raise EditRefusedError("graph: expected an edit to undo, got an empty history")
        edit = history[-1]
        parts = [p.edges for p in self.parts if len(p.edges.history)]
        newest = max(edges.history[-1].transaction for edges in parts)
        parts = [edges for edges in parts if edges.history[-1].transaction == newest]
        for change in [edges.prepare_undo() for edges in parts]:
            change.edge_set.take_back(change)
        return edit

    def redo(self) -> EdgeEdit:
        undone = [part.edges for part in self.parts if part.edges.undone]
        made = [part.edges.history[-1].transaction for part in self.parts if len(part.edges.history)]
        # Undone edits are kept in the order of their transactions, the first one on top.
        number = min((edges.undone[-1][0].transaction for edges in undone), default=-1)
        if number < max(made, default=0):
            raise EditRefusedError("graph: expected an undone edit to make again, got none since the last edit")
        parts = [edges for edges in undone if edges.undone[-1][0].transaction == number]
        for change in [edges.prepare_redo() for edges in parts]:
            change.edge_set.make_again(change)
        return self.history()[-1]

    def repeat(self, edit: EdgeEdit) -> EdgeEdit:
        return self.edit(edit.dropped, edit.grown, edit.step, edit.reason, **edit.grown_columns)

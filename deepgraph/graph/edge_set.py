"""`EdgeSet`: the one editable thing behind every sparse weight.

Pairs in canonical order, their columns, atomic edits with history and undo. A graph is a view on edge sets; a module
binds the column `weight` to its parameter and listens to edits.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from deepgraph.errors import ArgumentError, EdgeError, EditRefusedError
from deepgraph.graph import arrays as ea
from deepgraph.graph.arrays import Array
from deepgraph.graph.columns import BoundColumn, Columns
from deepgraph.graph.edit_plan import Pairs, PreparedEdit, pair_ids, plan_edit
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.graph.scalars import kind_of
from deepgraph.graph.table_digest import update_hash

__all__ = ["EdgeListener", "EdgeSet", "Pairs", "PreparedEdit", "pair_ids"]


class EdgeListener(Protocol):
    """What follows the edits of an edge set: a graph, a module, an optimizer, a recorder."""

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Raise `EditRefusedError` if the edit cannot be made now; nothing has been changed yet."""

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        """Follow an edit that was made; must not raise."""


class EdgeSet:
    """A set of directed pairs from `num_sources` rows to `num_targets` columns, with attributes.

    Parameters
    ----------
    indptr : (R + 1,) int
    dst : (E,) int32
        Pairs in canonical order, as compressed rows.
    num_targets : int
    columns : Columns
        Attributes of the pairs.
    name : str
        Used in messages and logs.
    stage : (N,) int, optional
        Only pairs with stage[u] < stage[v] are admissible then (a square edge set).
    closed : (N,) bool, optional
        Targets that take no edges: the inputs of a compiled graph.
    """

    def __init__(
        self,
        indptr: Array,
        dst: Array,
        num_targets: int,
        columns: Columns | None = None,
        *,
        name: str = "edges",
        stage: Array | None = None,
        closed: Array | None = None,
    ) -> None:
        self.indptr, self.dst, self.num_targets = indptr, dst, num_targets
        self.columns = Columns(len(dst)) if columns is None else columns
        self.name, self.stage, self.closed = name, stage, closed
        self.history = History()
        self.undone: list[tuple[EdgeEdit, EdgeEdit]] = []
        self.version = 0
        self._transposed: tuple[Array, Array, Array] | None = None
        self._src: weakref.ref[Array] | None = None
        self._listeners: list[weakref.ref[Any]] = []

    @classmethod
    def from_pairs(
        cls,
        src: Any,
        dst: Any,
        num_sources: int,
        num_targets: int,
        columns: Mapping[str, Any] | None = None,
        *,
        name: str = "edges",
        stage: Array | None = None,
        closed: Array | None = None,
    ) -> EdgeSet:
        """Return the edge set of pairs given in any order; columns (E,) are in the order of the pairs.

        Raises
        ------
        EdgeError
            If a pair occurs twice, or is not admissible.
        ArgumentError, DtypeError, ShapeError
            If ids or columns are not valid.
        """
        u = ea.checked_ids(src, num_sources, f"{name}: src")
        v = ea.checked_ids(dst, num_targets, f"{name}: dst")
        table = Columns(len(u))
        given = {key: table.checked(key, array) for key, array in (columns or {}).items()}
        indptr, targets, order = ea.compress(u, v, num_sources, num_targets, name)
        for key, array in given.items():
            table.put(key, array if order is None else array[order])
        result = cls(indptr, targets, num_targets, table, name=name, stage=stage, closed=closed)
        result.check_admissible(u, v)
        return result

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def num_sources(self) -> int:
        """Number of rows, R."""
        return len(self.indptr) - 1

    @property
    def num_edges(self) -> int:
        """Number of pairs, E."""
        return len(self.dst)

    @property
    def num_admissible(self) -> int:
        """Number of pairs that may be edges; density is kept edges over this."""
        if self.stage is None:
            return self.num_sources * self.num_targets
        per_stage = np.bincount(self.stage)
        below = np.concatenate([[0], np.cumsum(per_stage)])
        open_targets = self.stage if self.closed is None else self.stage[~self.closed]
        return int(below[open_targets].sum())

    @property
    def density(self) -> float:
        """Kept edges over admissible pairs, in [0, 1]."""
        return self.num_edges / max(self.num_admissible, 1)

    def pairs(self) -> tuple[Array, Array]:
        """Return `(src, dst)`, each (E,) int32, canonical, read-only."""
        src = self._src() if self._src is not None else None
        if src is None:
            src = ea.expand(self.indptr)
            src.flags.writeable = False
            self._src = weakref.ref(src)
        return src, ea.read_only(self.dst)

    def csr(self) -> tuple[Array, Array]:
        """Return source-major `(indptr (R + 1,), dst (E,))`."""
        return ea.read_only(self.indptr), ea.read_only(self.dst)

    def csc(self) -> tuple[Array, Array, Array]:
        """Return target-major `(indptr (C + 1,), src (E,), edge (E,))`, read-only; built at the first call."""
        if self._transposed is None:
            indptr, src, edge = ea.transpose(self.indptr, self.dst, self.num_targets)
            self._transposed = ea.read_only(indptr), ea.read_only(src), ea.read_only(edge)
        return self._transposed

    def find(self, src: Array, dst: Array) -> Array:
        """Return the row of each pair (K,) in canonical order, -1 where it is no edge."""
        return ea.find(self.indptr, self.dst, src, dst)

    def column(self, name: str, default: Any = None) -> Array:
        """Return the column (E,), read-only."""
        return self.columns.array(name, default)

    @property
    def weight(self) -> Array:
        """The column `weight` (E,), read-only."""
        return self.columns.array("weight")

    @property
    def weighted(self) -> bool:
        """Whether some edge has a weight that is a number, so that a grown edge without one takes 0."""
        if "weight" in self.columns.bound or self._numeric_column:
            return True
        apart = (own["weight"] for own in self.columns.exotic.values() if "weight" in own)
        return any(kind_of(value) in ("i", "f") for value in apart)

    @property
    def _numeric_column(self) -> bool:
        self.columns.gather()
        return self.columns.live("weight") and self.columns.arrays["weight"].dtype.kind in "iuf"

    @property
    def weight_dtype(self) -> np.dtype[Any]:
        """The dtype of the column `weight`, float64 where there is none of numbers."""
        if "weight" in self.columns.bound:
            return self.columns.bound["weight"].read().dtype
        return self.columns.arrays["weight"].dtype if self._numeric_column else np.dtype(np.float64)

    def digest(self) -> str:
        """Return a SHA-256 of pairs and columns as text: equal for equal edge sets."""
        sha = hashlib.sha256(f"{self.num_sources} {self.num_targets}".encode())
        sha.update(np.ascontiguousarray(self.indptr, np.int64).tobytes())
        sha.update(np.ascontiguousarray(self.dst, np.int32).tobytes())
        update_hash(sha, self.columns)
        return sha.hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes held by pairs, columns and the target-major index."""
        index = sum(a.nbytes for a in self._transposed) if self._transposed is not None else 0
        return self.indptr.nbytes + self.dst.nbytes + self.columns.nbytes + index

    # -- following ----------------------------------------------------------------------------------------------

    def listen(self, listener: EdgeListener) -> None:
        """Let `listener` check and follow every edit, for as long as somebody else holds it."""
        if all(ref() is not listener for ref in self._listeners):
            self._listeners.append(weakref.ref(listener))

    def bind(self, binding: BoundColumn) -> None:
        """Let a module keep the column `weight`."""
        self.columns.arrays.pop("weight", None)
        self.columns.present.pop("weight", None)
        self.columns.bound["weight"] = binding

    def listeners(self) -> list[Any]:
        """Return the listeners that are alive."""
        alive = [(ref, ref()) for ref in self._listeners]
        self._listeners = [ref for ref, obj in alive if obj is not None]
        return [obj for _, obj in alive if obj is not None]

    # -- editing ------------------------------------------------------------------------------------------------

    def add_nodes(self, count: int) -> None:
        """Append rows and columns without edges, up to `count` of each."""
        missing = np.full(count - self.num_sources, self.indptr[-1], np.int64)
        self.indptr, self.num_targets = np.concatenate([self.indptr, missing]), count
        self.version += 1
        self._transposed, self._src = None, None

    def widen(
        self, num_sources: int, num_targets: int, stage: Array | None = None, closed: Array | None = None
    ) -> None:
        """Append rows and columns without edges, up to so many; on a DAG with the stages of all nodes.

        Raises
        ------
        ArgumentError
            If the edge set has more already.
        """
        if num_sources < self.num_sources or num_targets < self.num_targets:
            raise ArgumentError(
                f"{self.name}: expected at least {self.num_sources} sources and {self.num_targets} targets, got "
                f"{num_sources} and {num_targets}"
            )
        missing = np.full(num_sources - self.num_sources, self.indptr[-1], np.int64)
        self.indptr, self.num_targets = np.concatenate([self.indptr, missing]), num_targets
        self.stage, self.closed = stage, closed
        self.version += 1
        self._transposed, self._src = None, None

    def replace(self, indptr: Array, dst: Array, columns: Columns) -> None:
        """Take other pairs and columns; the columns that a module keeps stay bound. `PreparedEdit` calls this."""
        columns.bound = dict(self.columns.bound)
        self.indptr, self.dst, self.columns = indptr, dst, columns
        self.version += 1
        self._transposed, self._src = None, None

    def check_admissible(self, src: Array, dst: Array) -> None:
        """Raise `EdgeError` if a pair may not be an edge."""
        if self.stage is None or len(src) == 0:
            return
        down = self.stage[src] >= self.stage[dst]
        if down.any():
            at = np.flatnonzero(down)
            u, v = src[at[0]], dst[at[0]]
            raise EdgeError(
                f"{self.name}: expected edges that go up in stage, got {at.size} that do not: "
                f"{ea.show_pairs(src[at], dst[at])}; stage[{u}] = {self.stage[u]}, stage[{v}] = {self.stage[v]}"
            )
        if self.closed is not None and self.closed[dst].any():
            at = np.flatnonzero(self.closed[dst])
            raise EdgeError(
                f"{self.name}: expected no edge into an input, got {at.size}: {ea.show_pairs(src[at], dst[at])}"
            )

    def prepare(
        self,
        drop: Pairs | None = None,
        grow: Pairs | None = None,
        step: int | None = None,
        reason: str = "",
        transaction: int | None = None,
        default_weight: bool = True,
        **columns: Any,
    ) -> PreparedEdit:
        """Return an edit that was checked in full and not yet made.

        Grown edges take weight 0 where the set has weights and none is given, unless `default_weight` is False.

        Raises
        ------
        EdgeError
            If a dropped pair is no edge, a grown pair is one already, a pair occurs twice or is not admissible.
        ArgumentError, DtypeError, ShapeError
            If ids or columns are not valid.
        EditRefusedError
            If a listener cannot follow now.
        """
        return plan_edit(
            self, drop, grow, columns, step=step, reason=reason, transaction=transaction, default_weight=default_weight
        )

    def edit(
        self,
        drop: Pairs | None = None,
        grow: Pairs | None = None,
        step: int | None = None,
        reason: str = "",
        **columns: Any,
    ) -> EdgeEdit:
        """Drop and grow pairs at once and return the edit; see `prepare` for what raises.

        Examples
        --------
        >>> edges = EdgeSet.from_pairs([0, 1], [1, 1], 2, 2, {"weight": [0.5, 2.0]})
        >>> edges.edit(drop=([0], [1]), grow=([1], [0]))
        EdgeEdit(dropped=1, grown=1)
        >>> edges.pairs()[1].tolist(), edges.weight.tolist()
        ([0, 1], [0.0, 2.0])
        """
        return self.prepare(drop, grow, step, reason, **columns).commit()

    def prepare_undo(self) -> PreparedEdit:
        """Return the edit, checked and not yet made, that takes the newest one back; see `undo`."""
        if not len(self.history):
            raise EditRefusedError(f"{self.name}: expected an edit to undo, got an empty history")
        newest = self.history[-1]
        drop, grow, columns = newest.inverse()
        full, rest = self.columns.apart(columns, newest.dropped_rest, newest.num_dropped)
        return plan_edit(self, drop, grow, full, rest, reason="undo", default_weight=False, finite=False)

    def undo(self) -> EdgeEdit:
        """Take the newest edit back and return it.

        Raises
        ------
        EditRefusedError
            If there is no edit to take back, or if a listener cannot follow now.
        """
        return self.take_back(self.prepare_undo())

    def take_back(self, prepared: PreparedEdit) -> EdgeEdit:
        """Commit what `prepare_undo` gave, and return the edit that it takes back."""
        back = prepared.commit(record=False)
        newest = self.history.pop()
        self.undone.append((newest, back))
        return newest

    def prepare_redo(self) -> PreparedEdit:
        """Return the edit, checked and not yet made, that makes the one last undone again; see `redo`."""
        if not self.undone:
            raise EditRefusedError(f"{self.name}: expected an undone edit to make again, got none since the last edit")
        edit, back = self.undone[-1]
        # The columns are those that the undo found, so that what was trained since the edit comes back.
        drop, grow, columns = back.inverse()
        full, rest = self.columns.apart(columns, back.dropped_rest, back.num_dropped)
        return plan_edit(
            self, drop, grow, full, rest, step=edit.step, reason=edit.reason, transaction=edit.transaction,
            default_weight=False, finite=False,
        )  # fmt: skip

    def redo(self) -> EdgeEdit:
        """Make the edit that was undone last again and return it; attributes are as the undo found them.

        Raises
        ------
        EditRefusedError
            If there is none, or another edit was made since, or if a listener cannot follow now.
        """
        return self.make_again(self.prepare_redo())

    def make_again(self, prepared: PreparedEdit) -> EdgeEdit:
        """Commit what `prepare_redo` gave, and return it."""
        edit = prepared.commit(record=False)
        self.history.append(edit)
        self.undone.pop()
        return edit

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.update(_listeners=[], _src=None, columns=self.columns.copy())
        return state

    def __repr__(self) -> str:
        shape = f"{self.num_sources} x {self.num_targets}"
        return f"EdgeSet({self.name!r}, {shape}, {self.num_edges} edges, density {self.density:.4g})"

"""Checking an edit in full before anything is changed, and making it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.errors import ArgumentError, EdgeError, EditRefusedError, ShapeError
from deepgraph.graph import arrays as ea
from deepgraph.graph.arrays import Array
from deepgraph.graph.columns import Columns
from deepgraph.graph.history import EdgeEdit, next_transaction
from deepgraph.graph.merging import loop_for
from deepgraph.graph.row_layout import laid_out
from deepgraph.graph.row_moves import RowMoves

if TYPE_CHECKING:
    from deepgraph.graph.edge_set import EdgeSet

__all__ = ["HeldPairs", "Pairs", "PreparedEdit", "pair_ids", "plan_edit"]

Pairs = tuple[Any, Any]


class HeldPairs(tuple[Array, Array]):
    """Pairs (src, dst) that are edges of a set now, and the `rows` (K,) where they stand, ascending.

    Who makes them vouches for them: an edit looks for none of them, for as long as the set stays as it is.

    Examples
    --------
    >>> from deepgraph.graph.edge_set import EdgeSet
    >>> edges = EdgeSet.from_pairs([0, 1], [1, 1], 2, 2)
    >>> pairs = HeldPairs(edges, np.array([1]), np.array([1]), np.array([1]))
    >>> pairs.stand_in(edges), edges.edit(drop=pairs), pairs.stand_in(edges)
    (True, EdgeEdit(dropped=1, grown=0), False)
    """

    rows: Array
    _edges: EdgeSet
    _version: int

    def __new__(cls, edges: EdgeSet, src: Array, dst: Array, rows: Array) -> HeldPairs:
        made = super().__new__(cls, (src, dst))
        made.rows, made._edges, made._version = rows, edges, edges.version
        return made

    def stand_in(self, edges: EdgeSet) -> bool:
        """Return whether the rows are those of the pairs in `edges`."""
        return self._edges is edges and self._version == edges.version


class PreparedEdit:
    """An edit that was checked; `commit` makes it.

    Attributes
    ----------
    edit : EdgeEdit
    moves : RowMoves
        Where it leaves the rows of the edges.
    indptr, dst
        The edges after it, as compressed rows.
    """

    def __init__(self, edge_set: EdgeSet, edit: EdgeEdit, moves: RowMoves, indptr: Array, dst: Array) -> None:
        self.edge_set, self.edit, self.moves, self.indptr, self.dst = edge_set, edit, moves, indptr, dst
        self._version = edge_set.version

    def commit(self, record: bool = True) -> EdgeEdit:
        """Make the edit, let everybody follow, and return it.

        Raises
        ------
        EditRefusedError
            If the edge set was edited in between.
        """
        edges, edit = self.edge_set, self.edit
        if edges.version != self._version:
            raise EditRefusedError(f"{edges.name}: the edge set changed since the edit was prepared; prepare it again")
        grown = {name: np.asarray(values) for name, values in edit.grown_columns.items()}
        table = edges.columns.moved(self.moves, grown)
        edges.replace(self.indptr, self.dst, table)
        for name, binding in table.bound.items():
            binding.follow(edit, self.moves, grown.pop(name, np.zeros(edit.num_grown)))
        for name, values in grown.items():
            table.fill(edit.grown_rows, name, values)
        if edit.grown_rest is not None:
            table.merge(edit.grown_rows, edit.grown_rest)
        if record:
            edges.history.append(edit)
            edges.undone.clear()
        for listener in edges.listeners():
            listener.edit_done(edges, edit)
        return edit


def plan_edit(
    edges: EdgeSet,
    drop: Pairs | None,
    grow: Pairs | None,
    columns: Mapping[str, Any],
    rest: Columns | None = None,
    *,
    step: int | None = None,
    reason: str = "",
    transaction: int | None = None,
    default_weight: bool = True,
    finite: bool = True,
) -> PreparedEdit:
    """Return the edit of `edges`, checked in full; `EdgeSet.prepare` says what raises.

    `rest` holds attributes that only some grown edges have; `finite` refuses NaN and infinity in columns.
    """
    if isinstance(drop, HeldPairs) and drop.stand_in(edges):
        rows, drop_src = drop.rows, drop[0].astype(np.int32, copy=False)
    else:
        drop_src, drop_dst = pair_ids(drop, edges.num_sources, edges.num_targets, f"{edges.name}: drop")
        rows, drop_src = _existing(edges, drop_src, drop_dst)
    indptr, targets, order = _compressed(edges, grow)
    layout, sources = laid_out(edges, rows, indptr, targets), ea.expand(indptr)
    given = {key: _grown_column(edges, key, values, len(sources), order, finite) for key, values in columns.items()}
    if default_weight and len(sources) and "weight" not in given and edges.weighted:
        zeros = np.zeros(len(sources), edges.weight_dtype)
        if edges.columns.accepts("weight", zeros):
            given["weight"] = zeros
        else:
            rest = _with_weights(rest, len(sources))
    dropped_columns, dropped_rest = edges.columns.cut(rows) if len(rows) else ({}, None)
    edit = EdgeEdit(
        dropped=(ea.read_only(drop_src), ea.read_only(edges.dst[rows])),
        grown=(ea.read_only(sources), ea.read_only(targets)),
        dropped_rows=ea.read_only(rows),
        grown_rows=layout.moves.grown,
        num_before=edges.num_edges,
        dropped_columns=dropped_columns,
        grown_columns=given,
        step=step,
        reason=reason,
        transaction=next_transaction() if transaction is None else transaction,
        dropped_rest=dropped_rest,
        grown_rest=rest if rest is None or order is None else rest.take(order),
    )
    for listener in edges.listeners():
        listener.edit_check(edges, edit)
    return PreparedEdit(edges, edit, layout.moves, layout.indptr, layout.dst)


def _compressed(edges: EdgeSet, grow: Pairs | None) -> tuple[Array, Array, Array | None]:
    """Return grown pairs as compressed rows, checked, and the order that this takes, None where they came in it."""
    if isinstance(grow, tuple) and len(grow) == 2 and all(_plain_ids(side, len(grow[0])) for side in grow):
        loop = loop_for("compress", len(grow[0])) if edges.stage is None else None
        indptr, targets = np.empty(edges.num_sources + 1, np.int64), np.empty(len(grow[0]), np.int32)
        # Most pairs are fit to be taken as they are; what is wrong with others is found out below.
        if loop is not None and loop(*grow, indptr, edges.num_targets, targets):
            return indptr, targets, None
    name = f"{edges.name}: grow"
    src, dst = pair_ids(grow, edges.num_sources, edges.num_targets, name)
    edges.check_admissible(src, dst)
    return ea.compress(src, dst, edges.num_sources, edges.num_targets, name)


def _plain_ids(side: Any, count: int) -> bool:
    return isinstance(side, np.ndarray) and side.dtype == np.int64 and side.shape == (count,)


def _with_weights(rest: Columns | None, count: int) -> Columns:
    """Return `rest` with weight 0 in the rows that have none: beside a column of words numbers stand apart."""
    result = Columns(count) if rest is None else rest.copy()
    for row in range(count):
        if "weight" not in result.row(row):
            result.set(row, "weight", 0.0)
    return result


def _existing(edges: EdgeSet, src: Array, dst: Array) -> tuple[Array, Array]:
    """Return the rows of the pairs, ascending, and their sources, refused unless each is an edge and named once."""
    rows = edges.find(src, dst)
    if (rows < 0).any():
        at = np.flatnonzero(rows < 0)
        raise EdgeError(
            f"{edges.name}: drop: expected edges that exist, got {at.size} that do not: "
            f"{ea.show_pairs(src[at], dst[at])}"
        )
    if (rows[1:] > rows[:-1]).all():
        return rows, src.astype(np.int32)
    order = np.argsort(rows, kind="stable")
    rows = rows[order]
    twice = np.flatnonzero(np.diff(rows) == 0)
    if twice.size:
        at = order[twice]
        raise EdgeError(
            f"{edges.name}: drop: expected each pair once, got {twice.size} duplicated: "
            f"{ea.show_pairs(src[at], dst[at])}; use numpy.unique"
        )
    return rows, src[order].astype(np.int32)


def pair_ids(pairs: Pairs | None, num_sources: int, num_targets: int, name: str) -> tuple[Array, Array]:
    """Return `(src, dst)`, each (K,) int64 and checked; empty for None.

    Raises
    ------
    ArgumentError
        If this is no pair of arrays, or an id is out of range.
    DtypeError, ShapeError
        If the arrays are not integers, not one-dimensional or of different lengths.
    """
    if pairs is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    try:
        src, dst = pairs
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}: expected a pair (src, dst) of arrays, got {pairs!r:.80}") from None
    u = ea.as_ids(src, num_sources, f"{name}: src")
    v = ea.as_ids(dst, num_targets, f"{name}: dst")
    if len(u) != len(v):
        raise ShapeError(f"{name}: expected as many sources as targets, got {len(u)} and {len(v)}")
    return u, v


def _grown_column(edges: EdgeSet, name: str, values: Any, count: int, order: Array | None, finite: bool) -> Array:
    array = np.asarray(values)
    array = np.broadcast_to(array, (count,)) if array.ndim == 0 else array
    if array.shape != (count,):
        raise ShapeError(f"column {name!r} of the grown edges: expected shape ({count},), got {array.shape}")
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ArgumentError(f"column {name!r} of the grown edges: expected finite numbers, got NaN or infinity")
    edges.columns.check_fill(name, array)
    return ea.read_only(np.array(array if order is None else array[order]))

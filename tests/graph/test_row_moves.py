"""Edges in canonical order, and columns that follow edits as if each row were moved by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.errors import EdgeError
from deepgraph.graph import CachedLayeredGraph, row_moves
from deepgraph.graph.arrays import compress
from deepgraph.graph.columns import Columns
from deepgraph.graph.row_moves import RowMoves


@st.composite
def edits(draw: Any) -> tuple[list[int], list[int], int]:
    """Rows that go, rows that come, and how many there were."""
    before = draw(st.integers(0, 40))
    dropped = draw(st.sets(st.integers(0, max(before - 1, 0)), max_size=before)) if before else set()
    count = draw(st.integers(0, 20))
    after = before - len(dropped) + count
    grown = draw(st.sets(st.integers(0, max(after - 1, 0)), min_size=count, max_size=count)) if count else set()
    return sorted(dropped), sorted(grown), before


def by_hand(column: list[Any], dropped: list[int], grown: list[int], fill: Any) -> list[Any]:
    kept = iter([value for row, value in enumerate(column) if row not in dropped])
    after = len(column) - len(dropped) + len(grown)
    return [fill if row in grown else next(kept) for row in range(after)]


@pytest.mark.parametrize("block", [1, 3, 2**16])
@settings(max_examples=80, deadline=None)
@given(edits())
def test_rows_move_as_by_hand(block: int, edit: tuple[list[int], list[int], int]) -> None:
    dropped, grown, before = edit
    moves = RowMoves(np.array(dropped, np.int64), np.array(grown, np.int64), before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_moves, "_BLOCK", block)
        column = np.arange(before) * 10.0
        expected = by_hand(column.tolist(), dropped, grown, -1.0)
        assert moves.apply(column, -1).tolist() == expected
        out = np.full(moves.num_after, 7.0)
        assert moves.apply(column, -1, out) is out
        assert out.tolist() == expected
        words = np.array([f"w{row}" for row in range(before)], "U4")
        assert moves.apply(words, "").tolist() == by_hand(words.tolist(), dropped, grown, "")
    gather = moves.gather()
    assert gather.dtype == np.int32
    assert gather.tolist() == by_hand(list(range(before)), dropped, grown, -1)
    rows = np.setdiff1d(np.arange(before), dropped)
    assert gather[moves.new_rows(rows)].tolist() == rows.tolist()


@settings(max_examples=60, deadline=None)
@given(edits(), st.data())
def test_a_table_moves_as_it_is_taken(edit: tuple[list[int], list[int], int], data: Any) -> None:
    dropped, grown, before = edit
    table = Columns(before, {"full": np.arange(before) + 0.5, "some": np.arange(before)})
    for row in data.draw(st.sets(st.integers(0, max(before - 1, 0)))) if before else ():
        table.delete(row, "some")
        table.set(row, "odd", (row,))
    moves = RowMoves(np.array(dropped, np.int64), np.array(grown, np.int64), before)
    moved, taken = table.moved(moves), table.take(moves.gather())
    assert moved.names == taken.names
    for row in range(moves.num_after):
        assert {key: moved.get(row, key) for key in moved.keys(row)} == {k: taken.get(row, k) for k in taken.keys(row)}
    given_too = table.moved(moves, ["full"])
    given_too.fill(np.array(grown, np.int64), "full", np.full(len(grown), 9.0))
    if before:
        expected = by_hand(table.arrays["full"].tolist(), dropped, grown, 9.0)
        assert given_too.array("full", default=0.0).tolist() == expected


def test_an_edit_makes_no_index_of_all_edges() -> None:
    g = CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2], weight=[1.0, 2.0, 3.0])
    prepared = g._store.edges.edge_set().prepare(drop=([0], [2]))
    prepared.commit()
    assert prepared.moves._gather is None
    assert g.column("weight").tolist() == [1.0, 3.0]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_pairs_are_sorted_the_same_way_however_many_nodes_there_are(data: Any) -> None:
    rows, columns = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    pairs = data.draw(st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)), max_size=20))
    kind = data.draw(st.sampled_from([np.int32, np.int64]))
    src, dst = np.array(pairs, kind).reshape(-1, 2).T
    # Many nodes without edges make another way of sorting the faster one.
    for extra in (0, 50):
        if len(set(pairs)) < len(pairs):
            with pytest.raises(EdgeError, match=f"each pair once, got {len(pairs) - len(set(pairs))} duplicated"):
                compress(src, dst, rows + extra, columns)
            continue
        indptr, targets, order = compress(src, dst, rows + extra, columns)
        expected = sorted(range(len(pairs)), key=lambda k: pairs[k])
        assert (np.arange(len(pairs)) if order is None else order).tolist() == expected
        assert targets.tolist() == [pairs[k][1] for k in expected]
        assert np.repeat(np.arange(rows + extra), np.diff(indptr)).tolist() == [pairs[k][0] for k in expected]
        assert (indptr.dtype, targets.dtype) == (np.int64, np.int32)

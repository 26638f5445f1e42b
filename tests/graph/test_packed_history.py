"""Histories of many edits: packed, and the same in everything but identity."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.errors import EditRefusedError
from deepgraph.graph import CachedLayeredGraph, EdgeSet
from deepgraph.graph import history as module
from deepgraph.graph.edge_store import BoundEdges
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.graph.joined_edits import JoinedHistory, Part
from deepgraph.graph.node_table import NodeTable
from deepgraph.graph.packed_edits import PackedEdits


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)


def facts(edit: EdgeEdit) -> list[Any]:
    """Return everything that an edit says, with types."""
    arrays = [*edit.dropped, *edit.grown, edit.dropped_rows, edit.grown_rows]
    columns = [{k: (a.dtype.str, a.tolist()) for k, a in c.items()} for c in (edit.dropped_columns, edit.grown_columns)]
    said = [(a.dtype.str, a.tolist()) for a in arrays]
    return [*said, *columns, edit.step, edit.reason, edit.transaction, edit.num_before, edit.gather().tolist()]


def edited(seed: int, count: int, weighted: bool = True) -> tuple[EdgeSet, list[EdgeEdit]]:
    """Return an edge set after random edits, and those edits as they were made."""
    rng = np.random.default_rng(seed)
    columns = {"weight": rng.random(8, dtype=np.float32)} if weighted else None
    edges = EdgeSet.from_pairs(*np.divmod(rng.choice(70, 8, replace=False), 7), 10, 7, columns)
    made = []
    for step in range(count):
        src, dst = edges.pairs()
        gone = np.flatnonzero(rng.random(len(src)) < 0.2)
        free = np.setdiff1d(np.arange(70), src * 7 + dst)
        grow = np.divmod(rng.choice(free, int(rng.integers(0, 3)), replace=False), 7)
        options = {"weight": rng.random(len(grow[0]), dtype=np.float32)} if weighted and len(grow[0]) else {}
        made.append(
            edges.edit(
                drop=(src[gone], dst[gone]), grow=grow, step=None if step % 5 == 0 else step,
                reason="DEEPR" if step % 3 else "by hand", **options,
            )
        )  # fmt: skip
    return edges, made


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), count=st.integers(0, 30), weighted=st.booleans())
def test_packed_edits_are_the_edits(seed: int, count: int, weighted: bool) -> None:
    edges, made = edited(seed, count, weighted)
    history = edges.history
    assert any(isinstance(block, PackedEdits) for block in history._blocks) == (count >= 8)
    expected = [facts(edit) for edit in made]
    assert [facts(edit) for edit in history] == expected
    assert not any(a.flags.writeable for edit in history for a in (*edit.dropped, *edit.grown, edit.dropped_rows))
    assert [facts(history[k]) for k in range(-count, count)] == expected + expected
    assert [facts(edit) for edit in history[1:-1:2]] == expected[1:-1:2]
    assert len(history) == count
    assert history.num_dropped == sum(edit.num_dropped for edit in made)
    assert history.num_grown == sum(edit.num_grown for edit in made)
    with pytest.raises(IndexError):
        history[count]
    for twin in (copy.deepcopy(history), pickle.loads(pickle.dumps(history)), History(history)):
        assert [facts(edit) for edit in twin] == expected
    for edit in reversed(made):
        assert facts(history.pop()) == facts(edit)


def test_undo_goes_back_through_packed_edits() -> None:
    edges, made = edited(3, 23)
    twin, _ = edited(3, 0)
    for _ in made:
        edges.undo()
    assert edges.digest() == twin.digest()
    assert len(edges.history) == 0


def test_edits_that_are_not_alike_are_kept_as_they_are() -> None:
    graph = CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2], weight=[1.0, 2.0, 3.0])
    for step in range(10):
        graph.add_edge(0, 3 + step, weight=1.0, note=object() if step == 2 else "text")
        _ = graph.edge_arrays()
    history = graph.history
    assert [edit.num_grown for edit in history] == [1] * 10
    assert history[2].grown_rest is not None or "note" in history[2].grown_columns
    assert history.num_grown == 10


def test_transactions_of_a_packed_history_count_as_past() -> None:
    edges, made = edited(0, 12)
    state = edges.history.__getstate__()
    module._serial.last = 0
    fresh = History()
    fresh.__setstate__(state)
    assert module.next_transaction() == made[-1].transaction + 1


def test_a_step_of_little_change_costs_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 256)
    rng = np.random.default_rng(0)
    cells = rng.choice(784 * 300, 2352, replace=False)
    edges = EdgeSet.from_pairs(*np.divmod(cells, 300), 784, 300, {"weight": np.ones(2352, np.float32)})
    for step in range(600):
        src, dst = edges.pairs()
        gone = np.sort(rng.choice(2352, 21, replace=False))
        free = np.setdiff1d(rng.choice(784 * 300, 40, replace=False), src.astype(np.int64) * 300 + dst)[:21]
        edges.edit(
            drop=(src[gone], dst[gone]), grow=np.divmod(free, 300), weight=np.full(21, 1e-12, np.float32), step=step
        )
    (block,) = (block for block in edges.history._blocks if isinstance(block, PackedEdits))
    assert block.nbytes / block.count < 600


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), asked=st.lists(st.booleans(), min_size=5, max_size=40))
def test_a_history_asked_for_often_is_the_one_asked_for_once(seed: int, asked: list[bool]) -> None:
    """Edits through the graph and past it, undone and made again; the reference joins all edits afresh."""
    rng = np.random.default_rng(seed)
    sets = [
        EdgeSet.from_pairs([0, 1], [1, 0], rows, cols, {"weight": np.ones(2, np.float32)})
        for rows, cols in ((3, 4), (4, 2))
    ]
    parts = [Part(sets[0], 0, 3), Part(sets[1], 3, 7)]
    graph = CachedLayeredGraph._from_parts(NodeTable(9), BoundEdges(parts, 9), {})
    for step, ask in enumerate(asked):
        act = rng.choice(["one", "both", "undo", "redo", "forget"], p=[0.4, 0.3, 0.15, 0.13, 0.02])
        if act == "one":
            toggled(sets[rng.integers(2)], rng, step)
        elif act == "both":
            pair = int(rng.integers(3)), int(rng.integers(3, 7)), int(rng.integers(7, 9))
            edges = [edge for edge in (pair[:2], pair[1:]) if not graph.has_edge(*edge)]
            if edges:
                graph.edit(grow=tuple(np.array(edges).T), step=step, weight=1.0)
        elif act == "forget":
            sets[rng.integers(2)].history.clear()
        elif act == "undo" and len(graph.history):
            graph.undo()
        elif act == "redo" and can_redo(graph):
            graph.redo()
        if ask:
            expected = [facts(edit) for edit in JoinedHistory().of(parts)]
            assert [facts(edit) for edit in graph.history] == expected
            assert [facts(edit) for edit in graph.copy().history] == expected


def toggled(edges: EdgeSet, rng: np.random.Generator, step: int) -> None:
    u, v = int(rng.integers(edges.num_sources)), int(rng.integers(edges.num_targets))
    pair = ([u], [v])
    if (u, v) in zip(*(end.tolist() for end in edges.pairs()), strict=True):
        edges.edit(drop=pair, step=step)
    else:
        edges.edit(grow=pair, step=step, weight=np.ones(1, np.float32))


def can_redo(graph: CachedLayeredGraph) -> bool:
    try:
        graph.redo()
    except EditRefusedError:
        return False
    graph.undo()
    return True

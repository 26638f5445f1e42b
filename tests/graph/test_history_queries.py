"""Questions to a history: net changes, lifetimes, replay in another graph; and edits made again."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import dags

import deepgraph as dg
from deepgraph.errors import ArgumentError, EdgeError, EditRefusedError, FileFormatError
from deepgraph.graph import CachedLayeredGraph, History


@pytest.fixture
def g() -> CachedLayeredGraph:
    return CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3], num_nodes=5, weight=np.float32([1, 2, 3, 4]))


def pairs(ends: Any) -> set[tuple[int, int]]:
    return set(zip(*(end.tolist() for end in ends), strict=True))


def edit_at_random(g: CachedLayeredGraph, rng: np.random.Generator, rounds: int) -> list[set[tuple[int, int]]]:
    """Edit at steps 0, 10, 20, ... and return the edges before and after each edit."""
    stage, states = g.layer_array(), [pairs(g.edge_arrays())]
    for step in range(rounds):
        src, dst = g.edge_arrays()
        gone = rng.permutation(len(src))[: rng.integers(0, len(src) + 1)]
        u, v = np.nonzero(stage[:, None] < stage[None, :])
        some = rng.permutation(len(u))[:5]
        there = pairs((src, dst)) - pairs((src[gone], dst[gone])) if rng.random() < 0.5 else pairs((src, dst))
        new = [(a, b) for a, b in zip(u[some].tolist(), v[some].tolist(), strict=True) if (a, b) not in there]
        g.edit(drop=(src[gone], dst[gone]), grow=np.array(new, np.int64).reshape(-1, 2).T, step=10 * step)
        states.append(pairs(g.edge_arrays()))
    return states


@given(dags(weighted=None), st.integers(0, 999))
def test_diffs_and_lifetimes_agree_with_the_edges_of_each_step(g: CachedLayeredGraph, seed: int) -> None:
    states = edit_at_random(g, np.random.default_rng(seed), 4)
    for i in range(4):
        for j in range(i, 4):
            dropped, grown = g.history.diff(10 * i, 10 * j)
            assert pairs(dropped) == states[i + 1] - states[j + 1]
            assert pairs(grown) == states[j + 1] - states[i + 1]
    whole = g.history.diff()
    assert (pairs(whole.dropped), pairs(whole.grown)) == (states[0] - states[-1], states[-1] - states[0])
    birth, death, src, dst = g.history.lifetimes()
    always = set.intersection(*states) - pairs((src, dst))
    for k, state in enumerate(states):
        now = 10 * k - 5
        lives = ((birth < now) | (birth == -1)) & ((death > now) | (death == -1))
        assert pairs((src[lives], dst[lives])) | always == state


@given(dags(weighted=None), st.integers(0, 999))
def test_replay_gives_the_same_graph_and_redo_what_undo_took(g: CachedLayeredGraph, seed: int) -> None:
    start = g.copy()
    edit_at_random(g, np.random.default_rng(seed), 3)
    digest = g.digest()
    assert g.history.replay(start).digest() == digest
    assert [edit.step for edit in start.history] == [0, 10, 20]
    for _ in range(3):
        g.undo()
    assert [g.redo().step for _ in range(3)] == [0, 10, 20]
    assert g.digest() == digest
    assert len(g.history) == 3


def test_steps_count_on_where_an_edit_has_none_and_number_edits_where_all_lack_them(g: CachedLayeredGraph) -> None:
    g.edit(drop=([0], [1]))
    g.edit(grow=([0], [1]))
    assert [part.tolist() for part in g.history.lifetimes()[:2]] == [[-1, 1], [0, -1]]
    assert pairs(g.history.diff(0, 0).dropped) == set()
    assert pairs(g.history.diff(0, 1).grown) == {(0, 1)}
    g.edit(drop=([0], [1]), step=7)
    g.edit(drop=([0], [2]))
    assert g.history.lifetimes().death.tolist() == [0, 7, 7]
    with pytest.raises(ArgumentError, match=r"diff: expected the later step last, got first=3, last=2; swap them"):
        g.history.diff(3, 2)


def test_an_empty_history_has_empty_answers() -> None:
    assert [len(part) for part in History().lifetimes()] == [0, 0, 0, 0]
    assert [len(end[0]) for end in History().diff()] == [0, 0]


def test_a_replay_that_fails_leaves_the_graph_as_it_was(g: CachedLayeredGraph) -> None:
    other = g.copy()
    g.edit(drop=([0], [1]), step=1)
    g.edit(grow=([0], [3]), step=2)
    other.edit(grow=([0], [3]))
    before = other.digest()
    with pytest.raises(EdgeError, match="graph: grow: expected pairs that are no edges"):
        g.history.replay(other)
    assert (other.digest(), len(other.history)) == (before, 1)


def test_replay_and_redo_bring_attributes_that_only_some_edges_have(g: CachedLayeredGraph) -> None:
    other = g.copy()
    g.add_edge(0, 3, weight=np.nan, note=["kept"])
    g.add_edge(0, 4, weight=1.0)
    digest = g.digest()
    assert g.history.replay(other).digest() == digest
    held = g[0][3]
    g.undo()
    assert held["note"] == ["kept"]
    g.redo()
    assert g.digest() == digest


def test_redo_brings_back_what_was_trained_since(g: CachedLayeredGraph) -> None:
    g.edit(grow=([0], [3]), weight=0.5)
    g[0][3]["weight"] = 9.0
    g.undo()
    again = pickle.loads(pickle.dumps(g))
    for graph in (g, again):
        graph.redo()
        assert graph[0][3]["weight"] == 9.0


def test_redo_is_refused_after_another_edit(g: CachedLayeredGraph) -> None:
    message = "graph: expected an undone edit to make again, got none since the last edit"
    with pytest.raises(EditRefusedError, match=message):
        g.redo()
    g.edit(grow=([0], [3]))
    g.undo()
    g.add_edge(0, 4)
    with pytest.raises(EditRefusedError, match=message):
        g.redo()
    with pytest.raises(EditRefusedError, match="redo: expected a graph, got a view of one"):
        g.reverse(copy=False).redo()
    with pytest.raises(EditRefusedError, match="repeat: expected a graph, got a view of one"):
        g.reverse(copy=False).repeat(g.history[-1])


@pytest.mark.parametrize("make", [dg.MaskedDeepFFN, dg.MaskedDeepDAN])
def test_models_follow_redo_and_replay(make: Any) -> None:
    if make is dg.MaskedDeepFFN:
        model, twin = (make(4, 2, [5, 5], density=0.5, seed=0) for _ in range(2))
    else:
        graph = CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3])
        model, twin = (make.from_graph(graph, seed=0) for _ in range(2))
    g = model.graph
    src, dst = g.edge_arrays()
    ends = np.array([0, len(src) - 1])
    digests = [g.digest()]
    g.edit(drop=(src[ends], dst[ends]), step=1)
    digests.append(g.digest())
    g.edit(grow=(src[ends], dst[ends]), step=2, weight=0.25)
    digests.append(g.digest())
    assert g.history.replay(twin.graph).digest() == digests[2]
    g.undo()
    g.undo()
    assert g.digest() == digests[0]
    for digest in digests[1:]:
        g.redo()
        assert g.digest() == digest
    assert [edit.step for edit in g.history] == [1, 2]
    with pytest.raises(EditRefusedError, match="expected an undone edit to make again"):
        g.redo()
    g.undo()
    g.edit(drop=(src[1:2], dst[1:2]))
    with pytest.raises(EditRefusedError, match="expected an undone edit to make again"):
        g.redo()


# -- files ----------------------------------------------------------------------------------------------------


def same_edits(a: History, b: History) -> None:
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        assert (one.step, one.reason, one.num_before) == (other.step, other.reason, other.num_before)
        assert one.gather().tolist() == other.gather().tolist()
        for part in ("dropped", "grown"):
            assert [end.tolist() for end in getattr(one, part)] == [end.tolist() for end in getattr(other, part)]
            mine, theirs = (getattr(edit, f"{part}_columns") for edit in (one, other))
            assert {k: (v.dtype, v.tolist()) for k, v in mine.items()} == {
                k: (v.dtype, v.tolist()) for k, v in theirs.items()
            }


@given(dags(min_nodes=3, max_nodes=9), st.integers(0, 2**32))
def test_a_history_has_a_file_of_its_own(tmp_path_factory: Any, g: CachedLayeredGraph, seed: int) -> None:
    folder = tmp_path_factory.mktemp("history")
    start = g.copy()
    edit_at_random(g, np.random.default_rng(seed), 4)
    g.history.save(folder / "edits.dg")
    again = History.load(folder / "edits.dg")
    same_edits(g.history, again)
    assert again.replay(start).digest() == g.digest()
    if len(g.history):
        g.save(folder / "g.json")
        loaded = CachedLayeredGraph.load(folder / "g.json")
        same_edits(loaded.history, g.history)
        while len(g.history):
            assert loaded.undo().num_grown == g.undo().num_grown
            assert loaded.digest() == g.digest()


def test_a_history_takes_some_bytes_an_edge(tmp_path: Any) -> None:
    g, empty = CachedLayeredGraph.from_arrays([0], [200], 201), np.arange(1, 200)
    for step in range(100):
        g.edit(grow=(empty, empty + 1) if step % 2 == 0 else None, drop=None if step % 2 == 0 else (empty, empty + 1))
    g.history.save(tmp_path / "edits.dg")
    assert (tmp_path / "edits.dg").stat().st_size < 4 * 100 * len(empty) + 10_000


def test_other_files_are_no_histories(tmp_path: Any, g: CachedLayeredGraph) -> None:
    g.save(tmp_path / "g.dg")
    with pytest.raises(FileFormatError, match=r"g\.dg: expected one history, got something else"):
        History.load(tmp_path / "g.dg")
    g.history.save(tmp_path / "h.dg")
    assert len(dg.load(tmp_path / "h.dg")) == 0
    with pytest.raises(FileFormatError, match=r"h\.dg: expected one graph, got something else"):
        CachedLayeredGraph.load(tmp_path / "h.dg")
    data = (tmp_path / "h.dg").read_bytes()
    (tmp_path / "h.dg").write_bytes(data[:-20])
    with pytest.raises(FileFormatError, match="got a bad one"):
        History.load(tmp_path / "h.dg")

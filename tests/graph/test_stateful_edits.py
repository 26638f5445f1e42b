"""Any sequence of bulk edits, single changes, undo, redo, copies and files, beside a model of dicts."""

from __future__ import annotations

import copy
import pickle
import tempfile
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from strategies import dags

import deepgraph as dg
from deepgraph.errors import DeepGraphError, EditRefusedError
from deepgraph.graph import CachedLayeredGraph

Pair = tuple[int, int]
weights = st.integers(-8, 8).map(float)


@dataclass
class Entry:
    """One edit in the model's history."""

    dropped: dict[Pair, float]
    grown: dict[Pair, float]
    step: int | None


class Timeline(RuleBasedStateMachine):
    """A graph and what it must be: edges with weights by position, and the edits that led there."""

    g: CachedLayeredGraph

    @initialize(start=dags(min_nodes=3, max_nodes=7, special=False, dtype=np.float64))
    def begin(self, start: CachedLayeredGraph) -> None:
        self.g = start
        # New edges go up in an order that holds the first ones, so that no cycle comes about.
        self.rank = np.argsort(np.argsort(start.layer_array(), kind="stable")).tolist()
        self.forget()

    def forget(self) -> None:
        """Begin a new history with the graph as it is."""
        self.start = self.g.copy()
        self.start.history.clear()
        self.now = self.edges_of(self.g)
        self.past: list[Entry] = []
        self.future: list[Entry] = []
        self.removed: set[Pair] = set()
        self.base = dict(self.now)

    @staticmethod
    def edges_of(g: CachedLayeredGraph) -> dict[Pair, float]:
        src, dst = g.edge_arrays()
        weight = g.column("weight", 0.0).tolist() if len(src) else []
        return dict(zip(zip(src.tolist(), dst.tolist(), strict=True), weight, strict=True))

    @staticmethod
    def ends(pairs: Any) -> Any:
        return np.array(list(pairs), np.int64).reshape(-1, 2).T

    def settle(self) -> None:
        """Take the single changes since the arrays were last asked for as one edit, as the graph does."""
        removed = {pair for pair in self.removed if pair in self.base}
        grown = {pair: w for pair, w in self.now.items() if pair not in self.base or pair in removed}
        if removed or grown:
            if self.base or self.past:
                self.past.append(Entry({pair: self.base[pair] for pair in removed}, grown, None))
            else:
                # The first edges of a graph are its beginning.
                self.start = self.g.copy()
            self.future.clear()
        self.base, self.removed = dict(self.now), set()

    def free(self) -> list[Pair]:
        nodes, rank = range(len(self.g)), self.rank
        return [(u, v) for u in nodes for v in nodes if rank[u] < rank[v] and (u, v) not in self.now]

    def apply(self, drop: list[Pair], grow: dict[Pair, float], step: int | None) -> None:
        self.past.append(Entry({pair: self.now.pop(pair) for pair in drop}, dict(grow), step))
        self.now.update(grow)
        self.future.clear()
        self.base = dict(self.now)

    # -- changes ------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def edit(self, data: Any) -> None:
        self.settle()
        drop = data.draw(st.lists(st.sampled_from(sorted(self.now)), max_size=3, unique=True)) if self.now else []
        candidates = [*self.free(), *drop]
        grow = data.draw(st.dictionaries(st.sampled_from(candidates), weights, max_size=3)) if candidates else {}
        step = 10 * len(self.past)
        weight = np.array(list(grow.values()))
        edit = self.g.edit(self.ends(drop), self.ends(grow), step=step, reason="bulk", weight=weight)
        assert (edit.num_dropped, edit.num_grown, edit.step) == (len(drop), len(grow), step)
        self.apply(drop, grow, step)

    @rule(data=st.data())
    def refused(self, data: Any) -> None:
        self.settle()
        edges, free = sorted(self.now), self.free()
        u, v = data.draw(st.sampled_from([*edges, *free])) if edges or free else (0, 0)
        bad = [{"grow": ([v], [u])}] if (u, v) in self.now else [{"drop": ([u], [v])}, {"grow": ([u, u], [v, v])}]
        for arguments in [*bad, {"grow": ([0], [0])}, {"drop": ([-1], [0])}]:
            before = self.g.digest()
            with pytest.raises(DeepGraphError):
                self.g.edit(**arguments)  # type: ignore[arg-type]
            assert self.g.digest() == before

    @rule(data=st.data(), weight=weights)
    def add_edge(self, data: Any, weight: float) -> None:
        pairs = [*self.free(), *self.now]
        if pairs:
            u, v = data.draw(st.sampled_from(sorted(pairs)))
            labels = list(self.g)
            self.g.add_edge(labels[u], labels[v], weight=weight)
            if (u, v) in self.base and (u, v) not in self.removed:
                self.base[u, v] = weight
            self.now[u, v] = weight

    @precondition(lambda self: self.now)
    @rule(data=st.data())
    def remove_edge(self, data: Any) -> None:
        u, v = data.draw(st.sampled_from(sorted(self.now)))
        labels = list(self.g)
        self.g.remove_edge(labels[u], labels[v])
        del self.now[u, v]
        self.removed.add((u, v))

    @rule(data=st.data())
    def set_weights(self, data: Any) -> None:
        self.settle()
        values = data.draw(st.lists(weights, min_size=len(self.now), max_size=len(self.now)))
        self.g.set_column("weight", np.array(values, float))
        self.now = dict(zip(sorted(self.now), values, strict=True))
        self.base = dict(self.now)

    @rule()
    def undo(self) -> None:
        self.settle()
        if not self.past:
            with pytest.raises(EditRefusedError, match="got an empty history"):
                self.g.undo()
            return
        entry = self.past.pop()
        edit = self.g.undo()
        assert (edit.num_dropped, edit.num_grown, edit.step) == (len(entry.dropped), len(entry.grown), entry.step)
        found = {pair: self.now.pop(pair) for pair in entry.grown}
        self.now.update(entry.dropped)
        self.future.append(Entry(entry.dropped, found, entry.step))
        self.base = dict(self.now)

    @rule()
    def redo(self) -> None:
        self.settle()
        if not self.future:
            with pytest.raises(EditRefusedError, match="got none since the last edit"):
                self.g.redo()
            return
        entry = self.future.pop()
        assert self.g.redo().step == entry.step
        found = {pair: self.now.pop(pair) for pair in entry.dropped}
        self.now.update(entry.grown)
        self.past.append(Entry(found, entry.grown, entry.step))
        self.base = dict(self.now)

    # -- other objects ------------------------------------------------------------------------------------------

    @rule(how=st.sampled_from(["copy", "deepcopy", "pickle", "relabel"]))
    def go_on_with_a_copy(self, how: str) -> None:
        make = {
            "copy": lambda x: x.copy(),
            "deepcopy": copy.deepcopy,
            "pickle": lambda x: pickle.loads(pickle.dumps(x)),
            "relabel": lambda x: x.relabel({label: f"{label}'" for label in list(x)[::2]}),
        }[how]
        self.settle()
        old, self.g = self.g, make(self.g)
        before = old.digest()
        self.g.clear_edges()
        assert old.digest() == before
        self.g = make(old)

    @rule(suffix=st.sampled_from(["dg", "json", "safetensors"]))
    def go_on_with_a_file(self, suffix: str) -> None:
        self.settle()
        with tempfile.TemporaryDirectory() as folder:
            self.g.save(f"{folder}/g.{suffix}")
            self.g = CachedLayeredGraph.load(f"{folder}/g.{suffix}")
        # What was undone is in no file.
        self.future.clear()

    @rule()
    def go_on_with_a_graph_of_the_graph(self) -> None:
        self.settle()
        self.g = CachedLayeredGraph(self.g)
        self.forget()

    @rule()
    def turned_round(self) -> None:
        self.settle()
        turned = self.g.reverse()
        assert self.edges_of(turned) == {(v, u): w for (u, v), w in self.now.items()}
        assert len(turned.history) == 0
        assert self.edges_of(turned.reverse()) == self.now

    @rule(data=st.data())
    def part(self, data: Any) -> None:
        kept = data.draw(st.sets(st.integers(0, len(self.g) - 1)))
        labels = self.g.labels()
        found = self.g.subgraph([labels[v] for v in kept]).copy()
        place = {v: k for k, v in enumerate(sorted(kept))}
        self.settle()
        assert list(found) == [labels[v] for v in sorted(kept)]
        inside = {(place[u], place[v]): w for (u, v), w in self.now.items() if u in kept and v in kept}
        assert self.edges_of(found) == inside

    # -- questions ----------------------------------------------------------------------------------------------

    @rule()
    def history_says_what_happened(self) -> None:
        self.settle()
        history = self.g.history
        assert [(len(e.dropped), len(e.grown), e.step) for e in self.past] == [
            (e.num_dropped, e.num_grown, e.step) for e in history
        ]
        before = set(self.edges_of(self.start))
        diff = history.diff()
        assert set(zip(*(end.tolist() for end in diff.dropped), strict=True)) == before - set(self.now)
        assert set(zip(*(end.tolist() for end in diff.grown), strict=True)) == set(self.now) - before
        lives = history.lifetimes()
        pairs = list(zip(lives.src.tolist(), lives.dst.tolist(), strict=True))
        touched = {pair for entry in self.past for pair in (*entry.dropped, *entry.grown)}
        assert set(pairs) == touched
        alive = {pair for pair, death in zip(pairs, lives.death.tolist(), strict=True) if death == -1}
        assert alive == touched & set(self.now)
        with tempfile.TemporaryDirectory() as folder:
            history.save(f"{folder}/edits")
            again = dg.load(f"{folder}/edits")
        for edits in (history, again):
            replayed = edits.replay(self.start.copy())
            assert set(self.edges_of(replayed)) == set(self.now)
            assert replayed.layer_array().tolist() == self.g.layer_array().tolist()

    @rule()
    def layers(self) -> None:
        self.settle()
        model = nx.DiGraph(list(self.now))
        model.add_nodes_from(range(len(self.g)))
        expected = {v: layer for layer, vs in enumerate(nx.topological_generations(model)) for v in vs}
        assert self.g.layer_array().tolist() == [expected[v] for v in range(len(self.g))]

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "now"):
            return
        labels = self.g.labels()
        found = {(u, v): d.get("weight", 0.0) for u, v, d in self.g.edges(data=True)}
        assert found == {(labels[u], labels[v]): w for (u, v), w in self.now.items()}
        assert self.g.number_of_edges() == len(self.now)
        self.settle()
        assert self.edges_of(self.g) == self.now
        assert len(self.g.history) == len(self.past)


TestTimeline = Timeline.TestCase
TestTimeline.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


class Seldom(Timeline):
    """The same, with the arrays asked for only where a rule does: many single changes in a row."""

    @invariant()
    def same(self) -> None:
        if hasattr(self, "now"):
            assert self.g.number_of_edges() == len(self.now)
            labels = list(self.g)
            for u, v in self.now:
                assert self.g.has_edge(labels[u], labels[v])


TestSeldom = Seldom.TestCase
TestSeldom.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def test_what_counts_as_weights_does_not_depend_on_how_they_are_kept() -> None:
    for odd in (None, "heavy", False):
        g = CachedLayeredGraph([(0, 1, {"weight": odd}), (1, 2, {"weight": 2.5}), (2, 3, {"weight": odd})])
        for _ in range(2):
            g.edit(drop=([0, 2], [1, 3]), grow=([0], [2]))
            assert dict(g.edges[0, 2]) == {"weight": 0.0}
            g.undo()
            assert [d["weight"] for _, _, d in g.edges(data=True)] == [odd, 2.5, odd]
            g.edit(grow=([0, 1], [3, 3]))
            assert [dict(g.edges[u, 3]) for u in (0, 1)] == [{"weight": 0.0}] * 2
            assert g.undo().num_grown == 2
    only_words = CachedLayeredGraph([(0, 1, {"weight": "heavy"})])
    only_words.add_node(2)
    only_words.edit(grow=([1], [2]))
    assert dict(only_words.edges[1, 2]) == {}

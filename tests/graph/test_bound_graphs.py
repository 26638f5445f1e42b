"""Graphs whose edges belong to edge sets of a module, at offsets, as those of a feed-forward network are."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from deepgraph.errors import ArgumentError, DtypeError, EdgeError, EditRefusedError, ShapeError
from deepgraph.graph import CachedLayeredGraph, EdgeEdit, EdgeSet
from deepgraph.graph.edge_store import BoundEdges
from deepgraph.graph.node_table import NodeTable

SIZES = (3, 4, 4, 2)
STARTS = (0, 3, 7, 11)


class Parameter:
    """A column weight kept outside, as by a module."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, np.float32)

    def read(self) -> np.ndarray:
        return self.values

    def write(self, rows: Any, values: Any) -> None:
        self.values[rows] = values

    def follow(self, edit: EdgeEdit, moves: Any, grown: Any) -> None:
        gather, fresh = moves.gather(), np.zeros(edit.num_after, np.float32)
        fresh[gather >= 0] = self.values[gather[gather >= 0]]
        fresh[edit.grown_rows] = grown
        self.values = fresh


class Guard:
    """Refuses edits while shut."""

    shut = False

    def edit_check(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        if self.shut:
            raise EditRefusedError(f"{edge_set.name}: a backward is pending")

    def edit_done(self, edge_set: EdgeSet, edit: EdgeEdit) -> None:
        pass


def network(seed: int = 0, density: float = 0.5) -> tuple[CachedLayeredGraph, list[EdgeSet], list[Guard]]:
    rng = np.random.default_rng(seed)
    sets, guards = [], []
    for k, (rows, columns) in enumerate(pairwise(SIZES)):
        src, dst = np.nonzero(rng.random((rows, columns)) < density)
        edges = EdgeSet.from_pairs(
            src, dst, rows, columns, {"weight": np.zeros(len(src), np.float32)}, name=f"layer {k}"
        )
        edges.bind(Parameter(rng.normal(size=len(src))))
        guards.append(Guard())
        edges.listen(guards[-1])
        sets.append(edges)
    parts = [(edges, STARTS[k], STARTS[k + 1]) for k, edges in enumerate(sets)]
    return CachedLayeredGraph._from_parts(NodeTable(sum(SIZES)), BoundEdges(parts, sum(SIZES)), {}), sets, guards


def reference(sets: list[EdgeSet]) -> nx.DiGraph:
    model = nx.DiGraph()
    model.add_nodes_from(range(sum(SIZES)))
    for k, edges in enumerate(sets):
        for u, v, w in zip(*edges.pairs(), edges.weight.tolist(), strict=True):
            model.add_edge(int(u) + STARTS[k], int(v) + STARTS[k + 1], weight=w)
    return model


def assert_one_truth(g: CachedLayeredGraph, sets: list[EdgeSet]) -> None:
    model = reference(sets)
    assert list(g) == list(model)
    assert {(u, v): dict(d) for u, v, d in g.edges(data=True)} == {(u, v): d for u, v, d in model.edges(data=True)}
    assert {v: set(g.pred[v]) for v in g} == {v: set(model.pred[v]) for v in model}
    assert (dict(g.in_degree), dict(g.out_degree)) == (dict(model.in_degree), dict(model.out_degree))
    assert list(zip(*[a.tolist() for a in g.edge_arrays()], strict=True)) == sorted(model.edges)
    assert g.column("weight").tolist() == [model[u][v]["weight"] for u, v in sorted(model.edges)]
    free = g.copy()
    assert free.digest() == g.digest()
    assert g.layer_array().tolist() == free.layer_array().tolist()
    assert (g.csc()[1] == g.edge_arrays()[0][g.csc()[2]]).all()


def random_edit(g: CachedLayeredGraph, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    src, dst = g.edge_arrays()
    gone = rng.permutation(len(src))[: rng.integers(0, 4)]
    pairs = [
        (u, v)
        for k in range(3)
        for u in range(STARTS[k], STARTS[k + 1])
        for v in range(STARTS[k + 1], STARTS[k + 1] + SIZES[k + 1])
    ]
    free = [pair for pair in pairs if not g.has_edge(*pair)]
    new = np.array([free[i] for i in rng.permutation(len(free))[: rng.integers(0, 4)]], np.int64).reshape(-1, 2)
    weight = rng.normal(size=len(new)).astype(np.float32)
    return {"drop": (src[gone], dst[gone]), "grow": tuple(new.T), "weight": weight}


class BoundModel(RuleBasedStateMachine):
    """Edits through the graph, through edge sets and through networkx; the graph is always what the sets are."""

    def __init__(self) -> None:
        super().__init__()
        self.g, self.sets, self.guards = network()
        self.digests: list[str] = []

    def note(self) -> None:
        self.digests.append(self.g.digest())

    @rule(seed=st.integers(0, 999))
    def edit(self, seed: int) -> None:
        wanted = random_edit(self.g, seed)
        if len(wanted["drop"][0]) + len(wanted["grow"][0]):
            self.note()
            edit = self.g.edit(**wanted, step=seed)
            last = self.g.history[-1]
            assert [a.tolist() for a in (*last.dropped, *last.grown)] == [
                a.tolist() for a in (*edit.dropped, *edit.grown)
            ]
            assert (last.step, last.num_after) == (seed, self.g.number_of_edges())

    @rule(index=st.integers(0, 2), seed=st.integers(0, 99))
    def edit_one_set(self, index: int, seed: int) -> None:
        edges = self.sets[index]
        if edges.num_edges:
            self.note()
            src, dst = edges.pairs()
            at = seed % edges.num_edges
            edges.edit(drop=(src[[at]], dst[[at]]), reason="direct")

    @rule(seed=st.integers(0, 999))
    def through_networkx(self, seed: int) -> None:
        wanted = random_edit(self.g, seed)
        gone, new = (list(zip(*(a.tolist() for a in wanted[k]), strict=True)) for k in ("drop", "grow"))
        if gone:
            self.note()
            self.g.remove_edges_from(gone)
        if new:
            self.note()
            self.g.add_edges_from([(u, v, {"weight": 0.5}) for u, v in new])

    @rule()
    def undo(self) -> None:
        if self.digests:
            assert len(self.g.history) == len(self.digests)
            self.g.undo()
            assert self.g.digest() == self.digests.pop()

    @rule(value=st.floats(-2, 2, width=32), data=st.data())
    def write(self, value: float, data: Any) -> None:
        if self.g.number_of_edges():
            u, v = data.draw(st.sampled_from(list(self.g.edges)))
            self.g[u][v]["weight"] = value
            # Undo brings edges back and not what was written to others since.
            for edges in self.sets:
                edges.history.clear()
            self.digests = []

    @rule(shut=st.integers(0, 2), seed=st.integers(0, 99))
    def refused_by_one(self, shut: int, seed: int) -> None:
        before, count = self.g.digest(), len(self.g.history)
        src, dst = self.g.edge_arrays()
        self.guards[shut].shut = True
        if self.sets[shut].num_edges:
            with pytest.raises(EditRefusedError, match=f"layer {shut}: a backward is pending"):
                self.g.edit(drop=(src, dst))
            with pytest.raises(EditRefusedError, match="a backward is pending"):
                self.g.clear_edges()
        self.guards[shut].shut = False
        assert (self.g.digest(), len(self.g.history)) == (before, count)

    @invariant()
    def one_truth(self) -> None:
        assert_one_truth(self.g, self.sets)


TestBoundModel = BoundModel.TestCase
TestBoundModel.settings = settings(max_examples=25, stateful_step_count=12)


@given(st.integers(0, 99))
@settings(max_examples=20)
def test_a_bound_graph_edits_as_a_free_one(seed: int) -> None:
    g, _, _ = network(seed)
    free = g.copy()
    wanted = random_edit(g, seed)
    free.edit(**wanted)
    g.edit(**wanted)
    assert g.digest() == free.digest()
    if len(g.history):
        assert g.history[-1].gather().tolist() == free.history[-1].gather().tolist()


def refusals() -> list[Any]:
    return [
        (lambda g: g.add_node(99), EditRefusedError, "cannot add a node: the graph belongs to a compiled model"),
        (lambda g: g.add_edge(0, "new"), EditRefusedError, "cannot add a node"),
        (lambda g: g.remove_node(0), EditRefusedError, "cannot remove a node.*edit a free copy, g.copy"),
        (lambda g: g.clear(), EditRefusedError, "cannot clear the graph"),
        (lambda g: g.add_edge(0, 11), EditRefusedError, r"got \(0, 11\), which no layer holds; compile the graph with"),
        (lambda g: g.add_edges_from([(0, 3), (0, 4), (0, 5), (0, 6), (0, 11)]), EditRefusedError, "no layer holds"),
        (lambda g: g.edit(drop=([0], [11])), EditRefusedError, "drop: expected edges between consecutive layers"),
        (lambda g: g.add_edge(0, 3, weight=float("nan")), ArgumentError, "expected a finite number as weight, got nan"),
        (lambda g: g.add_edges_from([(0, 3), (0, 4, {"weight": "x"})]), ArgumentError, "expected a finite number.*'x'"),
        (lambda g: g.edit(grow=([0], [3]), weight=[1.0, 2.0]), ShapeError, r"expected shape \(1,\), got \(2,\)"),
        (lambda g: g.edit(drop=([3], [0])), EditRefusedError, "no layer holds"),
        (lambda g: g.set_column("weight", np.ones(2)), ShapeError, "expected shape"),
        (
            lambda g: g.set_column("weight", np.full(g.number_of_edges(), np.inf)),
            ArgumentError,
            "expected finite numbers",
        ),
        (lambda g: g.set_column("weight", ["a"] * g.number_of_edges()), DtypeError, "expected numbers, got"),
        (lambda g: g[1][4].update(weight=float("inf")), ArgumentError, "expected finite numbers, got NaN or infinity"),
        (lambda g: g[1][4].update(weight="a"), DtypeError, "attribute 'weight' of a compiled graph: expected numbers"),
        (lambda g: g[1][4].pop("weight"), DtypeError, "cannot be removed: it is the module's parameter"),
        (lambda g: g.undo(), EditRefusedError, "graph: expected an edit to undo, got an empty history"),
        (lambda g: g._store.edges.renumber(np.arange(13), 13), EditRefusedError, "cannot renumber nodes"),
    ]


@pytest.mark.parametrize("case", range(len(refusals())))
def test_what_is_refused_changes_nothing(case: int) -> None:
    change, error, message = refusals()[case]
    g, sets, _ = network(density=0.0)
    sets[0].edit(grow=([1], [1]))
    sets[0].history.clear()
    before = g.digest()
    with pytest.raises(error, match=message):
        change(g)
    assert g.digest() == before
    assert_one_truth(g, sets)


def test_duplicates_and_existing_edges_are_refused_in_bulk() -> None:
    g, _, _ = network(density=1.0)
    for wanted, message in [
        ({"grow": ([0], [3])}, r"layer 0: grow: expected pairs that are no edges, got 1 that exist: \(0, 0\)"),
        ({"drop": ([3, 3], [7, 7])}, "layer 1: drop: expected each pair once"),
    ]:
        before = g.digest()
        with pytest.raises(EdgeError, match=message):
            g.edit(**wanted)
        assert g.digest() == before


def test_a_refused_undo_changes_nothing() -> None:
    g, _, guards = network()
    src, dst = g.edge_arrays()
    g.edit(drop=(src, dst))
    before = g.digest()
    guards[2].shut = True
    with pytest.raises(EditRefusedError, match="layer 2: a backward is pending"):
        g.undo()
    assert (g.digest(), len(g.history)) == (before, 1)


def test_columns_are_written_through_to_the_parts() -> None:
    g, sets, _ = network()
    g.set_column("weight", np.arange(len(g.edges)))
    assert np.concatenate([edges.weight for edges in sets]).tolist() == list(range(len(g.edges)))
    g.set_column("age", np.arange(len(g.edges)))
    assert sets[1].column("age")[0] == sets[0].num_edges
    assert g.column_names == ["weight", "age"]
    assert g.nbytes == sum(edges.nbytes for edges in sets)
    assert g.reverse().reverse().digest() == g.digest()


def test_attributes_of_existing_edges_are_updated_with_new_ones_added() -> None:
    g, sets, _ = network(density=0.0)
    g.add_edge(0, 3)
    g.add_edges_from([(0, 3, {"weight": 2.0}), (0, 4, {"weight": 3.0, "note": "x"})])
    assert dict(g[0]) == {3: {"weight": 2.0}, 4: {"weight": 3.0, "note": "x"}}
    assert len(g.history) == 2
    assert_one_truth_of_pairs(g, sets)


def test_one_edge_at_a_time() -> None:
    g, sets, _ = network(density=1.0)
    g.remove_edge(0, 3)
    g.remove_edge(7, 11)
    assert_one_truth(g, sets)
    assert [edit.num_dropped for edit in g.history] == [1, 1]
    assert [edit.dropped_rows.tolist() for edit in g.history] == [[0], [27]]
    with pytest.raises(nx.NetworkXError, match="The edge 0-3 not in graph"):
        g.remove_edge(0, 3)
    with pytest.raises(KeyError):
        g._store.edges.table(0, 3)


def test_one_edge_set_may_be_the_whole_graph() -> None:
    edges = EdgeSet.from_pairs([0, 1], [1, 2], 3, 3, {"weight": [1.0, 2.0]}, stage=np.arange(3))
    edges.bind(Parameter([1.0, 2.0]))
    g = CachedLayeredGraph._from_parts(NodeTable(3), BoundEdges([(edges, 0, 0)], 3), {})
    assert g.history is edges.history
    g.edit(grow=([0], [2]), weight=[3.0])
    assert (g.column("weight").tolist(), dict(g.pred[2])) == ([1.0, 3.0, 2.0], {0: {"weight": 3.0}, 1: {"weight": 2.0}})
    with pytest.raises(EdgeError, match="expected edges that go up in stage"):
        g.add_edge(2, 0)
    assert g.reverse().column("weight").tolist() == [1.0, 3.0, 2.0]
    assert edges.columns.take(np.array([2, -1])).arrays["weight"].tolist() == [2.0, 0.0]
    g.undo()
    assert g.number_of_edges() == 2


def assert_one_truth_of_pairs(g: CachedLayeredGraph, sets: list[EdgeSet]) -> None:
    assert set(g.edges) == set(reference(sets).edges)


def test_parts_must_fit() -> None:
    edges = EdgeSet.from_pairs([0], [1], 2, 2)
    for parts in ([(edges, 0, 2)], [(edges, 2, 0)], [(edges, 0, 0), (edges, 1, 1)]):
        with pytest.raises(ArgumentError, match="expected edge sets whose rows ascend within 3 nodes"):
            BoundEdges(parts, 3)

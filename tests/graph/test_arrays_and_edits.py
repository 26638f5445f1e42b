"""Arrays, columns, edits, layers and roles of a graph: what they give, what they refuse, and nothing moved."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import cyclic_graphs, dags, special_dags

from deepgraph.errors import (
    ArgumentError,
    CycleError,
    DtypeError,
    EdgeError,
    EditRefusedError,
    MissingColumnError,
    ShapeError,
    StructureError,
    TooLargeError,
    UnknownNodeError,
)
from deepgraph.graph import CachedLayeredGraph, EdgeSet, History
from deepgraph.graph.arrays import as_ids, find
from deepgraph.graph.layers import find_cycle, layer_index


@pytest.fixture
def g() -> CachedLayeredGraph:
    return CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3], num_nodes=5, weight=np.float32([1, 2, 3, 4]))


# -- building --------------------------------------------------------------------------------------


@given(dags(special=False), st.randoms())
def test_the_order_of_the_given_edges_does_not_matter(g: CachedLayeredGraph, random: Any) -> None:
    src, dst = g.edge_arrays()
    order = list(range(len(src)))
    random.shuffle(order)
    again = CachedLayeredGraph.from_arrays(src[order], dst[order], len(g), weight=g.column("weight")[order])
    assert again.digest() == g.digest()


def test_arrays_are_canonical_typed_and_read_only(g: CachedLayeredGraph) -> None:
    src, dst = g.edge_arrays()
    assert (src.dtype, dst.dtype) == (np.int32, np.int32)
    indptr, targets = g.csr()
    assert indptr.tolist() == [0, 2, 3, 4, 4, 4]
    assert targets.tolist() == dst.tolist()
    g.set_node_column("bias", np.zeros(5))
    for array in (src, dst, indptr, targets, *g.csc(), g.column("weight"), g.node_column("bias"), g.layer_array()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            ([0, 0], [1, 1]),
            EdgeError,
            r"expected each pair once, got 1 duplicated: \(0, 1\); drop them with numpy.unique",
        ),
        (([0], [1, 2]), ShapeError, "expected as many sources as targets, got 1 and 2"),
        (([-1], [1]), ArgumentError, "src: expected node positions from 0, got -1"),
        (([0], [5], 3), ArgumentError, "dst: expected node positions below 3, got 5"),
        (([0.5], [1]), DtypeError, r"src: expected integer node positions, got dtype float64; translate labels"),
        (([[0]], [1]), ShapeError, r"src: expected a one-dimensional array \(K,\), got shape \(1, 1\)"),
        (([0], [1], -2), ArgumentError, "num_nodes: expected an integer from 0, got -2"),
        (([0], [1], 2.0), ArgumentError, "num_nodes: expected an integer from 0, got 2.0"),
        (([0], [1], 2**40), TooLargeError, "num_nodes: expected at most 2,147,483,647 nodes, got 1,099,511,627,776"),
        (([0], [2**40]), TooLargeError, "expected at most 2,147,483,647 nodes"),
    ],
)
def test_bad_edges_are_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        CachedLayeredGraph.from_arrays(*arguments)


def test_bad_columns_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"column 'weight': expected shape \(1,\), got \(2,\)"):
        CachedLayeredGraph.from_arrays([0], [1], weight=[1.0, 2.0])
    with pytest.raises(DtypeError, match="column 'weight': expected numbers, booleans or strings, got dtype object"):
        CachedLayeredGraph.from_arrays([0], [1], weight=np.array([{}]))


def test_nan_weights_are_held_by_a_free_graph() -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[np.nan, 1.0])
    g.edit(drop=([0], [1]))
    g.undo()
    assert np.isnan(g.column("weight")).tolist() == [True, False]


def test_empty_graphs() -> None:
    for g in (CachedLayeredGraph(), CachedLayeredGraph.from_arrays([], [])):
        assert (len(g), g.num_layers, g.layers, g.layer_array().tolist(), g.column_names) == (0, 0, [], [], [])
        assert g.input_positions().tolist() == g.output_positions().tolist() == []
        assert g.edit().num_grown == 0


# -- columns ---------------------------------------------------------------------------------------


def test_columns_follow_networkx_attributes(g: CachedLayeredGraph) -> None:
    g[0][1]["weight"] = 9.5
    assert g.column("weight").tolist() == [9.5, 2.0, 3.0, 4.0]
    g.set_column("weight", [1, 2, 3, 4])
    assert g[2][3] == {"weight": 4}
    g.add_edge(0, 3, weight=0.5)
    assert g.column("weight").tolist() == [1.0, 2.0, 0.5, 3.0, 4.0]
    assert g.column_names == ["weight"]
    assert g.to_scipy("weight").toarray()[0].tolist() == [0, 1.0, 2.0, 0.5, 0]


def test_missing_and_partial_columns(g: CachedLayeredGraph) -> None:
    with pytest.raises(MissingColumnError, match=r"expected a column 'mass', got columns: 'weight'"):
        g.column("mass")
    g[0][1]["mass"] = 2
    with pytest.raises(MissingColumnError, match="column 'mass': 3 of 4 rows lack it; pass default= to fill them"):
        g.column("mass")
    assert g.column("mass", 7).tolist() == [2, 7, 7, 7]
    assert g.column("charge", 1.5).tolist() == [1.5] * 4
    g[0][2]["mass"] = [1, 2]
    with pytest.raises(MissingColumnError, match=r"expected values that fit one array, got \[1, 2\] \(list\)"):
        g.column("mass", 0)
    assert g[0][2]["mass"] == [1, 2]
    with pytest.raises(MissingColumnError, match="got columns: none"):
        CachedLayeredGraph().node_column("bias")


def test_columns_refuse_what_does_not_fit(g: CachedLayeredGraph) -> None:
    before = g.digest()
    with pytest.raises(ShapeError, match=r"column 'weight': expected shape \(4,\), got \(3,\)"):
        g.set_column("weight", [1, 2, 3])
    with pytest.raises(DtypeError, match="expected numbers, booleans or strings"):
        g.set_node_column("bias", [None] * 5)
    assert g.digest() == before


@pytest.mark.parametrize("value", [2**70, -(2**63) - 1, 1e300, "nul\0", "x" * 100, True, None, (1,), 1 + 2j, 2**53 + 1])
def test_any_value_is_given_back_as_it_was_stored(value: Any) -> None:
    g = CachedLayeredGraph.from_arrays(np.arange(9), np.arange(1, 10), weight=np.ones(9, np.float32))
    g[0][1]["weight"] = value
    g[0][1]["new"] = value
    assert g.column_names in (["weight", "new"], ["weight"])
    assert g[0][1] == {"weight": value, "new": value}
    assert g[1][2] == {"weight": 1.0}


def test_integers_and_floats_of_one_name_become_one_column() -> None:
    g = CachedLayeredGraph()
    g.add_edge("a", "b", weight=1)
    assert g.column("weight").dtype == np.int64
    g.add_edge("b", "c", weight=0.5)
    assert g.column("weight").tolist() == [1.0, 0.5]
    g.add_edge("c", "d", weight="heavy")
    assert g["c"]["d"]["weight"] == "heavy"


def test_nodes_speak_labels_and_positions() -> None:
    g = CachedLayeredGraph()
    g.add_edges_from([("a", "b"), ("b", (1, 2))])
    assert g.positions(["b", (1, 2)]).tolist() == [1, 2]
    assert g.labels([2, 0]) == [(1, 2), "a"]
    assert g.labels() == ["a", "b", (1, 2)]
    for unknown in ("z", [1]):
        with pytest.raises(UnknownNodeError, match=r"expected a node of the graph, got .*; list\(g\) names them"):
            g.positions([unknown])
    with pytest.raises(ArgumentError, match="positions: expected node positions below 3, got 3"):
        g.labels([3])
    g.set_node_column("bias", [1.0, 2.0, 3.0])
    g.add_node("late")
    assert g.node_column("bias", 0.0).tolist() == [1, 2, 3, 0]
    g.remove_node("a")
    assert g.node_column("bias", 0.0).tolist() == [2, 3, 0]
    assert g.nodes["b"] == {"bias": 2.0}


# -- layers, stages, roles -------------------------------------------------------------------------


@given(dags(weighted=False))
def test_the_layer_is_the_longest_path_from_a_source(g: CachedLayeredGraph) -> None:
    expected = [0] * len(g)
    for v in nx.topological_sort(g):
        for w in g.successors(v):
            expected[w] = max(expected[w], expected[v] + 1)
    assert g.layer_array().tolist() == expected
    assert g.num_layers == max(expected, default=-1) + 1
    assert [g.get_layer_size(k) for k in g.layers] == [expected.count(k) for k in g.layers]
    assert [v for k in g.layers for v in g.get_vertices(k)] == sorted(g, key=lambda v: (expected[v], v))


def test_both_ways_of_walking_frontiers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    src, dst = np.triu_indices(300, 1)
    keep = rng.random(len(src)) < 0.05
    g = CachedLayeredGraph.from_arrays(src[keep], dst[keep], 300)
    expected = g.layer_array()
    for narrow in (0, 10**9):
        monkeypatch.setattr("deepgraph.graph.layers._NARROW", narrow)
        assert (layer_index(*g.csr(), 300) == expected).all()


def test_a_chain_of_100k_nodes() -> None:
    g = CachedLayeredGraph.from_arrays(np.arange(99_999), np.arange(1, 100_000))
    assert g.num_layers == 100_000
    assert (g.layer_array() == np.arange(100_000)).all()


@given(cyclic_graphs())
def test_a_cycle_is_named(g: CachedLayeredGraph) -> None:
    with pytest.raises(CycleError, match="expected a directed acyclic graph, got a cycle of"):
        g.layer_array()
    cycle = find_cycle(*g.csr(), np.ones(len(g), bool)) if all(d for _, d in g.in_degree) else None
    if cycle:
        assert cycle[0] == cycle[-1]
        assert nx.is_path(g, cycle)


def test_a_cycle_is_named_by_labels() -> None:
    g = CachedLayeredGraph([("in", "a"), ("a", "b"), ("b", "a")])
    with pytest.raises(CycleError, match=r"got a cycle of 2 edges: '[ab]' -> '[ab]' -> '[ab]'; remove an edge of it"):
        g.layer_array()
    ring = CachedLayeredGraph(nx.cycle_graph(20, create_using=nx.DiGraph))
    with pytest.raises(CycleError, match=r"cycle of 20 edges: .* -> \.\.\.;"):
        ring.num_layers  # noqa: B018


def test_layers_are_asked_by_deepstructs_names(g: CachedLayeredGraph) -> None:
    assert (g.first_layer, g.last_layer, g.first_layer_size, g.last_layer_size) == ([0, 4], [3], 2, 1)
    assert g.get_layer(3) == 2
    assert (g.layer_connection_size(0, 1), g.layer_connection_size(2, 1)) == (2, 2)
    assert g.layer_connected(1, 2)
    assert not g.layer_connected(0, 2)
    with pytest.raises(UnknownNodeError, match="expected a node of the graph, got 9"):
        g.get_layer(9)
    with pytest.raises(ArgumentError, match=r"expected a layer in 0\.\.2, got 3"):
        g.get_vertices(3)
    with pytest.raises(ArgumentError, match="expected two different layers, got 1 twice"):
        g.layer_connection_size(1, 1)


def test_stages_default_to_layers_and_are_checked(g: CachedLayeredGraph) -> None:
    assert g.stage_array().tolist() == [0, 1, 1, 2, 0]
    g.set_node_column("stage", [0, 1, 3, 4, 2])
    assert g.stage_array().tolist() == [0, 1, 3, 4, 2]
    g.nodes[3]["stage"] = 3
    with pytest.raises(
        StructureError, match=r"got 1 that do not, first \(2, 3\) from stage 3 to 3; set the node column"
    ):
        g.stage_array()
    g.set_node_column("stage", [0.5] * 5)
    with pytest.raises(StructureError, match="node column 'stage': expected integers, got dtype float64"):
        g.stage_array()


def test_roles_default_to_sources_and_sinks(g: CachedLayeredGraph) -> None:
    assert g.role_array().tolist() == ["input", "hidden", "hidden", "output", "input/output"]
    assert (g.input_positions().tolist(), g.output_positions().tolist()) == ([0, 4], [3, 4])
    g.nodes[1]["role"] = "input"
    assert g.role_array().tolist() == ["hidden", "input", "hidden", "hidden", "hidden"]
    g.graph["outputs"] = [3, 3]
    assert (g.input_positions().tolist(), g.output_positions().tolist()) == ([1], [3, 3])
    g.nodes[2]["role"] = "sink"
    with pytest.raises(StructureError, match=r"node 2: expected a role of .*, got 'sink'"):
        g.role_array()
    g.graph["inputs"] = [7]
    with pytest.raises(ArgumentError, match="graph attribute 'inputs': expected node positions below 5, got 7"):
        g.input_positions()


# -- edits -----------------------------------------------------------------------------------------


def test_an_edit_is_an_event(g: CachedLayeredGraph) -> None:
    edit = g.edit(drop=([2, 0], [3, 1]), grow=([0, 4], [3, 3]), step=7, reason="swap", weight=[9.0, 8.0])
    assert (edit.step, edit.reason, edit.num_before, edit.num_after) == (7, "swap", 4, 4)
    assert [a.tolist() for a in (*edit.dropped, *edit.grown)] == [[0, 2], [1, 3], [0, 4], [3, 3]]
    assert (edit.dropped_rows.tolist(), edit.grown_rows.tolist()) == ([0, 3], [1, 3])
    assert edit.dropped_columns["weight"].tolist() == [1.0, 4.0]
    assert edit.gather().tolist() == [1, -1, 2, -1]
    assert g.column("weight").tolist() == [2.0, 9.0, 3.0, 8.0]
    assert g.column("weight").dtype == np.float32
    assert repr(edit) == "EdgeEdit(dropped=2, grown=2, step=7, reason='swap')"
    assert repr(g.history) == "History(1 edits, 2 edges dropped, 2 grown)"
    assert isinstance(g.history[:1], History)
    assert (g.history.num_dropped, g.history.num_grown) == (2, 2)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        ({"drop": ([0], [3])}, EdgeError, r"drop: expected edges that exist, got 1 that do not: \(0, 3\)"),
        ({"drop": ([0, 1, 0], [1, 3, 1])}, EdgeError, r"drop: expected each pair once, got 1 duplicated: \(0, 1\)"),
        ({"grow": ([0], [1])}, EdgeError, r"grow: expected pairs that are no edges, got 1 that exist: \(0, 1\)"),
        ({"grow": ([0, 0], [3, 3])}, EdgeError, r"grow: expected each pair once, got 1 duplicated: \(0, 3\)"),
        ({"grow": ([4], [4])}, EdgeError, "grow: expected no self-loop, got one at position 4"),
        ({"grow": ([3], [0])}, CycleError, "got a cycle of 3 edges: "),
        ({"grow": ([0], [9])}, ArgumentError, "grow: dst: expected node positions below 5, got 9"),
        ({"grow": ([0, 1], [3])}, ShapeError, "grow: expected as many sources as targets, got 2 and 1"),
        ({"drop": 3}, ArgumentError, r"drop: expected a pair \(src, dst\) of arrays, got 3"),
        ({"grow": (["a"], [3])}, DtypeError, "grow: src: expected integer node positions, got dtype <U1"),
        ({"grow": ([0], [3]), "weight": [np.nan]}, ArgumentError, "expected finite numbers, got NaN or infinity"),
        (
            {"grow": ([0], [3]), "weight": [1.0, 2.0]},
            ShapeError,
            r"of the grown edges: expected shape \(1,\), got \(2,\)",
        ),
        (
            {"grow": ([0], [3]), "weight": ["a"]},
            DtypeError,
            "column 'weight': expected values like its float32, got <U1",
        ),
        ({"grow": ([0], [3]), "mass": [None]}, DtypeError, "column 'mass': expected numbers, booleans or strings"),
    ],
)
def test_a_refused_edit_changes_nothing(g: CachedLayeredGraph, edit: Any, error: Any, message: str) -> None:
    before, history, held = g.digest(), len(g.history), g[0][1]
    with pytest.raises(error, match=message):
        g.edit(**edit)
    assert (g.digest(), len(g.history), held) == (before, history, {"weight": 1.0})


def test_undo_takes_back_the_newest_and_refuses_beyond(g: CachedLayeredGraph) -> None:
    g[0][1]["note"] = ["kept", "as", "is"]
    g[1][3]["mass"] = 3
    digests = [g.digest()]
    for k, (drop, grow) in enumerate([(([0, 1], [1, 3]), None), (None, ([4], [3])), (([4], [3]), ([4, 0], [2, 3]))]):
        g.edit(drop=drop, grow=grow, step=k)
        digests.append(g.digest())
    for digest in digests[-2::-1]:
        g.undo()
        assert g.digest() == digest
    assert g[0][1] == {"weight": 1.0, "note": ["kept", "as", "is"]}
    with pytest.raises(EditRefusedError, match="graph: expected an edit to undo, got an empty history"):
        g.undo()


@given(dags(weighted=None), st.data())
def test_edits_and_undo_restore_the_graph(g: CachedLayeredGraph, data: Any) -> None:
    before, rng = g.digest(), np.random.default_rng(data.draw(st.integers(0, 999)))
    layer = g.layer_array()
    rounds = data.draw(st.integers(1, 3))
    for _ in range(rounds):
        src, dst = g.edge_arrays()
        gone = rng.permutation(len(src))[: rng.integers(0, len(src) + 1)]
        u, v = (rng.integers(0, len(g), 6) for _ in range(2)) if len(g) else (np.empty(0, int),) * 2
        up = layer[u] < layer[v]
        pairs = np.unique(np.stack([u[up], v[up]]), axis=1)
        pairs = pairs[:, find(*g.csr(), *pairs) < 0]
        g.edit(drop=(src[gone], dst[gone]), grow=tuple(pairs))
        fresh = CachedLayeredGraph.from_arrays(*g.edge_arrays(), len(g))
        assert g.layer_array().tolist() == fresh.layer_array().tolist()
    for _ in range(rounds):
        g.undo()
    assert g.digest() == before
    assert g.layer_array().tolist() == layer.tolist()


def test_an_edge_may_be_dropped_and_grown_at_once(g: CachedLayeredGraph) -> None:
    g.edit(drop=([0], [1]), grow=([0], [1]), weight=5.0)
    assert g.column("weight").tolist() == [5.0, 2.0, 3.0, 4.0]
    g.undo()
    assert g.column("weight").tolist() == [1.0, 2.0, 3.0, 4.0]


def test_single_changes_through_networkx_become_one_edit_and_undo(g: CachedLayeredGraph) -> None:
    before = g.digest()
    g.add_edge(0, 3, weight=7.0, note="new")
    g.add_edge(0, 4, weight=8.0)
    g.remove_edge(1, 3)
    assert len(g.history) == 1
    edit = g.history[-1]
    assert (edit.reason, edit.num_grown, edit.num_dropped) == ("networkx", 2, 1)
    assert edit.grown_columns["weight"].tolist() == [7.0, 8.0]
    assert edit.grown_rest is not None
    g.undo()
    assert g.digest() == before


def test_the_history_goes_when_positions_do(g: CachedLayeredGraph) -> None:
    g.edit(drop=([0], [1]))
    g.remove_node(4)
    assert len(g.history) == 0


def test_a_pickled_history_stays_older_than_new_edits(g: CachedLayeredGraph) -> None:
    g.edit(drop=([0], [1]))
    again = pickle.loads(pickle.dumps(g))
    assert again.edit(drop=([1], [3])).transaction > again.history[0].transaction
    twin = copy.deepcopy(again)
    twin.undo()
    assert (len(twin.history), len(again.history)) == (1, 2)


def test_digest_sees_every_part(g: CachedLayeredGraph) -> None:
    changes: list[Any] = [
        lambda h: h.set_node_column("bias", np.zeros(5)),
        lambda h: h.add_node("a"),
        lambda h: h.remove_edge(0, 1),
        lambda h: h[0][1].update(weight=2.0),
        lambda h: h[0][1].update(other=[1]),
        lambda h: h[0][1].pop("weight"),
        lambda h: h.set_column("tag", ["a", "b", "a", "b"]),
    ]
    digests = {g.digest()}
    for change in changes:
        h = g.copy()
        assert h.digest() == g.digest()
        change(h)
        digests.add(h.digest())
    assert len(digests) == len(changes) + 1
    g.set_column("weight", g.column("weight").astype(float))
    assert nx.relabel_nodes(g, {i: i for i in range(5)}).digest() == g.digest()


def test_bytes_per_edge() -> None:
    src, dst = np.triu_indices(400, 1)
    g = CachedLayeredGraph.from_arrays(src, dst, weight=np.ones(len(src), np.float32))
    assert g.nbytes <= 8 * len(src) + 8 * 401
    g.csc()
    assert g.nbytes <= 16 * len(src) + 16 * 401


# -- edge sets -------------------------------------------------------------------------------------


def test_admissible_pairs_are_counted_and_kept() -> None:
    stage, closed = np.array([0, 0, 1, 2]), np.array([True, True, False, False])
    edges = EdgeSet.from_pairs([0], [2], 4, 4, name="dag", stage=stage, closed=closed)
    assert (edges.num_admissible, edges.density) == (5, 0.2)
    assert repr(edges) == "EdgeSet('dag', 4 x 4, 1 edges, density 0.2)"
    with pytest.raises(
        EdgeError, match=r"expected edges that go up in stage, got 1 that do not: \(3, 2\); stage\[3\] = 2"
    ):
        edges.edit(grow=([3], [2]))
    closed[3] = True
    with pytest.raises(EdgeError, match=r"expected no edge into an input, got 1: \(0, 3\)"):
        edges.edit(grow=([0], [3]))
    assert EdgeSet.from_pairs([], [], 3, 4).num_admissible == 12


def test_a_prepared_edit_is_stale_after_another() -> None:
    edges = EdgeSet.from_pairs([0, 1], [1, 1], 2, 2)
    prepared = edges.prepare(drop=([0], [1]))
    edges.edit(grow=([0], [0]))
    with pytest.raises(EditRefusedError, match="the edge set changed since the edit was prepared; prepare it again"):
        prepared.commit()


@pytest.mark.parametrize("name", special_dags())
def test_corner_cases_have_layers_copies_and_digests(name: str) -> None:
    n, src, dst = special_dags()[name]
    g = CachedLayeredGraph.from_arrays(src, dst, n)
    assert g.copy().digest() == g.digest() == g.reverse().reverse().digest()
    assert g.reverse().num_layers == g.num_layers
    assert nx.is_directed_acyclic_graph(g)
    assert as_ids([], 0, "none").tolist() == []


@pytest.mark.parametrize("asked", [False, True])
def test_undo_and_redo_keep_numbers_and_booleans_apart(asked: bool) -> None:
    graph = CachedLayeredGraph()
    graph.add_nodes_from([0, 1, 2])
    graph.add_edge(1, 2, weight=0, w=5)
    graph.column("w")
    graph.add_edge(1, 0, w=False)
    before = graph.digest()
    graph.edit(drop=([1], [2]), grow=([0], [2]))
    after = graph.digest() if asked else None
    graph.undo()
    assert (graph[1][0]["w"], type(graph[1][0]["w"])) == (False, bool)
    assert (graph[1][2]["w"], type(graph[1][2]["w"])) == (5, int)
    assert graph.digest() == before
    graph.redo()
    assert after in (None, graph.digest())
    graph.undo()
    assert graph.digest() == before

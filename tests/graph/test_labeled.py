"""LabeledDAG: nodes lie in declared layers, edges go up; the layer index of any graph."""

from __future__ import annotations

import copy
import itertools
import pickle

import networkx as nx
import numpy as np
import pytest

from deepgraph.errors import CycleError
from deepgraph.graph import CachedLayeredGraph, LabeledDAG, build_layer_index, uniform_proportions


def two_layers() -> LabeledDAG:
    dag = LabeledDAG()
    low, high = dag.add_vertices(3, layer=0), dag.add_vertices(2, layer=1)
    dag.add_edges_from(itertools.product(low, high), weight=1.0)
    return dag


def test_vertices_are_numbered_and_lie_where_they_were_declared() -> None:
    dag = LabeledDAG()
    assert dag.add_vertex() == 0
    assert dag.add_vertices(3, layer=2) == [1, 2, 3]
    assert dag.num_layers == 3
    assert dag.get_vertices(2) == [1, 2, 3]
    assert [dag.index_in_layer(v) for v in dag] == [0, 0, 1, 2]
    dag.add_node("free", layer=1, bias=0.5)
    assert dag.get_layer("free") == 1
    assert dag.nodes["free"]["bias"] == 0.5


def test_numbers_that_are_taken_are_not_given_again() -> None:
    dag = LabeledDAG()
    dag.add_node(1)
    assert dag.add_vertices(2) == [2, 3]


def test_an_edge_places_the_nodes_it_brings() -> None:
    dag = LabeledDAG()
    dag.add_edge("a", "b")
    dag.add_edge("b", "c", target_layer=5)
    dag.add_edge("d", "c", source_layer=3)
    assert {v: dag.get_layer(v) for v in dag} == {"a": 0, "b": 1, "c": 5, "d": 3}
    assert "source_layer" not in dag.edges["d", "c"]


def test_layers_stay_when_edges_go() -> None:
    dag = two_layers()
    dag.remove_edges_from(list(dag.edges))
    assert dag.num_layers == 2
    assert dag.get_layer_size(1) == 2


def test_a_cycle_closing_edge_raises_and_changes_nothing() -> None:
    dag = LabeledDAG()
    dag.add_edge(0, 1)
    dag.add_edge(1, 2)
    with pytest.raises(CycleError, match=r"edge \(2, 0\) closes a cycle"):
        dag.add_edge(2, 0)
    with pytest.raises(CycleError, match=r"edge \(1, 1\) closes a cycle"):
        dag.add_edges_from([(0, 2), ("new", 0 + 2), (1, 1)])
    assert list(dag.edges) == [(0, 1), (1, 2)]
    assert "new" not in dag
    with pytest.raises(ValueError, match="from layer 1 to 1"):
        dag.add_edge(1, "x", target_layer=1)
    with pytest.raises(CycleError, match="closes a cycle"):
        dag.edit(grow=([2], [0]))


def test_declared_layers_are_checked() -> None:
    dag = two_layers()
    with pytest.raises(ValueError, match="expected its layer 0, got 4"):
        dag.add_node(0, layer=4)
    with pytest.raises(ValueError, match="expected its layer 0, got 4"):
        dag.add_edge(0, 3, source_layer=4)
    with pytest.raises(ValueError, match="expected an integer from 0, got -1"):
        dag.add_vertex(layer=-1)
    with pytest.raises(ValueError, match="expected an integer from 1, got 0"):
        dag.add_vertices(0)


def test_append_merges_the_last_layer_with_the_first() -> None:
    dag, top = two_layers(), LabeledDAG()
    top.add_edges_from(itertools.product(top.add_vertices(2), top.add_vertices(4, layer=1)), weight=2.0)
    dag.append(top)
    assert [dag.get_layer_size(layer) for layer in dag.layers] == [3, 2, 4]
    assert dag.layer_connection_size(1, 2) == 8
    assert dag.column("weight").sum() == 6 + 16
    with pytest.raises(ValueError, match="first layer of 4 nodes, as the last one here, got 2"):
        dag.append(top)
    with pytest.raises(TypeError, match="expected a layered graph, got DiGraph"):
        dag.append(nx.DiGraph())
    with pytest.raises(ValueError, match="at least 2 layers"):
        LabeledDAG().append(top)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g)), lambda g: g.copy()])
def test_copies_keep_class_and_layers(again) -> None:  # type: ignore[no-untyped-def]
    dag = two_layers()
    twin = again(dag)
    assert isinstance(twin, LabeledDAG)
    assert twin.layer_array().tolist() == dag.layer_array().tolist()
    assert list(twin.edges(data=True)) == list(dag.edges(data=True))
    assert isinstance(nx.relabel_nodes(dag, {0: "x"}), LabeledDAG)
    assert dag.subgraph([0, 3]).copy().get_layer(3) == 1


def test_made_from_graphs_and_arrays() -> None:
    plain = nx.DiGraph([(0, 1), (1, 2), (0, 2)])
    assert LabeledDAG(plain).layer_array().tolist() == [0, 1, 2]
    assert LabeledDAG.from_arrays([0, 1], [1, 2]).layer_array().tolist() == [0, 1, 2]
    assert LabeledDAG().num_layers == 0
    with pytest.raises(CycleError, match="cycle"):
        LabeledDAG(nx.DiGraph([(0, 1), (1, 0)]))


def test_layer_index_agrees_with_longest_paths_and_needs_no_recursion() -> None:
    g = nx.gn_graph(60, seed=1)
    layer_of, nodes_in = build_layer_index(g)
    for v in g:
        assert layer_of[v] == 1 + max((layer_of[u] for u in g.predecessors(v)), default=-1)
        assert v in nodes_in[layer_of[v]]
    # The recursive index of deepstruct stops at Python's recursion limit.
    chain = CachedLayeredGraph.from_arrays(np.arange(20_000), np.arange(1, 20_001))
    assert build_layer_index(chain)[0][20_000] == 20_000


def test_known_layers_stay() -> None:
    g = nx.DiGraph([("a", "b"), ("b", "c")])
    assert build_layer_index(g, {"b": 7})[0] == {"a": 0, "b": 7, "c": 8}
    with pytest.raises(TypeError, match="expected a directed graph, got Graph"):
        build_layer_index(nx.Graph())


def test_layers_are_right_after_an_edge_was_removed() -> None:
    # deepstruct keeps the layers of before.
    g = CachedLayeredGraph([(0, 1), (1, 2)])
    assert g.num_layers == 3
    g.remove_edge(0, 1)
    assert g.num_layers == 2
    assert g.get_layer(2) == 1


def test_uniform_proportions_sum_to_one() -> None:
    shares = uniform_proportions(nx.path_graph(7))
    assert sum(shares.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="expected a graph with nodes"):
        uniform_proportions(nx.Graph())

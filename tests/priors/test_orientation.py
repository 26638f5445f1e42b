"""Orientation: every policy, what comes along from networkx, and what is refused."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.errors import ArgumentError, CycleError, StructureError, UnknownNodeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors.orientation import from_networkx, seed_number

POLICIES = ["auto", "stored", "random", "degree", "bfs"]


@st.composite
def simple_graphs(draw: st.DrawFn) -> nx.Graph:
    """Undirected graphs on words, in an order that is not sorted."""
    nodes = draw(st.lists(st.sampled_from("hgfedcba"), unique=True, max_size=8))
    G = nx.Graph()
    G.add_nodes_from(nodes)
    pairs = [(u, v) for i, u in enumerate(nodes) for v in nodes[:i]]
    G.add_edges_from(draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else [])
    return G


def test_words_are_followed() -> None:
    G = nx.Graph([("a", "b"), ("b", "c"), ("c", "a")])
    assert sorted(from_networkx(G, "stored").edges) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert sorted(from_networkx(G, ["c", "b", "a"]).edges) == [("b", "a"), ("c", "a"), ("c", "b")]
    assert sorted(from_networkx(G, {"a": 1, "b": 0, "c": 1}).edges) == [("a", "c"), ("b", "a"), ("b", "c")]


@settings(deadline=None)
@given(simple_graphs(), st.sampled_from(POLICIES), st.integers(0, 9))
def test_every_policy_keeps_nodes_and_undirected_edges(G: nx.Graph, policy: str, seed: int) -> None:
    g = from_networkx(G, policy, seed=seed)  # type: ignore[arg-type]
    assert isinstance(g, CachedLayeredGraph)
    assert list(g) == list(G)
    assert nx.is_directed_acyclic_graph(g)
    assert {frozenset(edge) for edge in g.edges} == {frozenset(edge) for edge in G.edges}
    assert g.number_of_edges() == G.number_of_edges()
    record = g.graph["orientation"]
    assert record["policy"] == ("random" if policy == "auto" else policy)
    assert record["seed"] == (seed if record["policy"] == "random" else None)
    assert record["sources"] == sum(degree == 0 for _, degree in g.in_degree)
    assert record["sinks"] == sum(degree == 0 for _, degree in g.out_degree)
    assert record["depth"] == (nx.dag_longest_path_length(g) if len(g) else 0)


@given(simple_graphs())
def test_stored_order_is_what_adding_the_edges_does(G: nx.Graph) -> None:
    plain: nx.DiGraph = nx.DiGraph()
    plain.add_nodes_from(G)
    plain.add_edges_from(G.edges)
    assert set(from_networkx(G, "stored").edges) == set(plain.edges)


def test_a_ring_in_stored_order_is_a_chain_and_in_random_order_is_not() -> None:
    G = nx.watts_strogatz_graph(300, 8, 0.3, seed=0)
    stored = from_networkx(G, "stored").graph["orientation"]
    shuffled = from_networkx(G, seed=0).graph["orientation"]
    assert stored["depth"] > 3 * shuffled["depth"]
    assert shuffled["sinks"] > 3 * stored["sinks"]


def test_degree_order_starts_at_the_hubs() -> None:
    G = nx.barabasi_albert_graph(200, 3, seed=0)
    g = from_networkx(G, "degree")
    degree = dict(G.degree)
    assert all(degree[u] >= degree[v] for u, v in g.edges)
    assert all(u < v for u, v in g.edges if degree[u] == degree[v])


def test_breadth_first_order_is_networkxs() -> None:
    G = nx.gnp_random_graph(60, 0.06, seed=3)
    g = from_networkx(G, "bfs")
    place = {}
    for component in nx.connected_components(G):
        start = max(sorted(component), key=G.degree)
        order = [start, *(v for _, v in nx.bfs_edges(G, start, sort_neighbors=sorted))]
        place.update({node: k for k, node in enumerate(order)})
    assert all(place[u] < place[v] for u, v in g.edges)
    assert len(list(nx.connected_components(G))) > 1


def test_random_order_is_the_recorded_seeds() -> None:
    G = nx.path_graph(50)
    for seed in (np.random.default_rng(5), torch.Generator().manual_seed(5), None):
        g = from_networkx(G, seed=seed)
        again = from_networkx(G, seed=g.graph["orientation"]["seed"])
        assert set(again.edges) == set(g.edges)
    assert set(from_networkx(G, seed=1).edges) != set(from_networkx(G, seed=2).edges)


def test_no_seed_draws_from_numpys_global_state() -> None:
    np.random.seed(0)
    first = seed_number()
    np.random.seed(0)
    assert seed_number() == first
    assert seed_number(np.int64(3)) == 3


# -- directed graphs ------------------------------------------------------------------------------------------------


def test_a_directed_graph_is_kept() -> None:
    G = nx.DiGraph([("x", "y"), ("z", "y")])
    g = from_networkx(G)
    assert list(g.edges) == [("x", "y"), ("z", "y")]
    assert g.graph["orientation"] == {"policy": "kept", "seed": None, "sources": 2, "sinks": 1, "depth": 1}
    with pytest.raises(
        ArgumentError, match=r"kept as it is, so orientation must be 'auto'; got 'random'.*to_undirected"
    ):
        from_networkx(G, "random")


def test_our_own_graph_is_copied() -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, 2.0])
    copy = from_networkx(g)
    assert copy is not g
    assert list(copy.edges(data="weight")) == list(g.edges(data="weight"))
    assert copy.graph["orientation"]["depth"] == 2
    assert "orientation" not in g.graph
    with pytest.raises(ArgumentError, match="kept as it is"):
        from_networkx(g, "bfs")


@pytest.mark.parametrize("kind", [nx.DiGraph, CachedLayeredGraph])
def test_a_cycle_is_named(kind: type[nx.DiGraph]) -> None:
    with pytest.raises(CycleError, match=r"cycle of 3 edges: 'b' -> 'c' -> 'd' -> 'b'.*to_undirected"):
        from_networkx(kind([("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]))
    with pytest.raises(CycleError, match=r"cycle of 30 edges: .* -> \.\.\. -> "):
        from_networkx(nx.cycle_graph(30, create_using=kind))


# -- what comes along -----------------------------------------------------------------------------------------------


def test_attributes_become_columns() -> None:
    G = nx.Graph(name="small")
    G.add_node("a", bias=0.5, kind="first", tag=(1, 2))
    G.add_node("b", bias=1.5, kind="second")
    G.add_node("c", bias=2.5, kind="third")
    G.add_edge("c", "a", weight=3.0, seen=True)
    G.add_edge("a", "b", weight=1.0, seen=False, note=["x"])
    g = from_networkx(G, "stored")
    assert list(g.edges) == [("a", "b"), ("a", "c")]
    assert g.column("weight").tolist() == [1.0, 3.0]
    assert g.column("seen").tolist() == [False, True]
    assert g.node_column("bias").tolist() == [0.5, 1.5, 2.5]
    assert g.node_column("kind").tolist() == ["first", "second", "third"]
    assert g.nodes["a"]["tag"] == (1, 2)
    assert "tag" not in g.nodes["b"]
    assert g["a"]["b"]["note"] == ["x"]
    assert g.graph["name"] == "small"
    g["a"]["b"]["weight"] = 9.0
    g.graph["name"] = "changed"
    assert G["a"]["b"]["weight"] == 1.0
    assert G.graph["name"] == "small"


def test_numbered_nodes_and_others_keep_their_labels() -> None:
    assert list(from_networkx(nx.path_graph(3))) == [0, 1, 2]
    assert list(from_networkx(nx.grid_2d_graph(2, 2))) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    G: nx.Graph = nx.Graph()
    G.add_nodes_from([2, 0, 1])
    assert list(from_networkx(G)) == [2, 0, 1]
    assert [type(node) for node in from_networkx(nx.Graph([(0.0, 1.0)]))] == [float, float]


def test_history_is_empty_and_no_nodes_are_fine() -> None:
    assert len(from_networkx(nx.path_graph(4)).history) == 0
    empty = from_networkx(nx.Graph())
    assert len(empty) == 0
    assert empty.graph["orientation"]["depth"] == 0


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph])
def test_self_loops_are_counted(kind: type[nx.Graph]) -> None:
    with pytest.raises(CycleError, match=r"no self-loops; got 2, the first at node 'a'.*selfloop_edges"):
        from_networkx(kind([("a", "a"), ("a", "b"), ("b", "b")]))


def test_multigraphs_are_refused() -> None:
    with pytest.raises(StructureError, match=r"got a multigraph: collapse it with nx.Graph\(G\)"):
        from_networkx(nx.MultiGraph([(0, 1), (0, 1)]))


@pytest.mark.parametrize(
    ("order", "error", "message"),
    [
        ("sideways", ArgumentError, "orientation must be one of .*got 'sideways'"),
        ([0, 1, 7], UnknownNodeError, r"nodes that the graph does not have: \[7\]"),
        ([0, 1], ArgumentError, r"each of the 3 nodes once; got 2 names of 2 nodes, missing \[2\]"),
        ([0, 1, 1], ArgumentError, r"got 3 names of 2 nodes, missing \[2\]"),
        ({0: 0.0, 1: float("nan"), 2: 1.0}, ArgumentError, "maps 1 to NaN"),
    ],
)
def test_bad_orders_are_refused(
    order: Sequence[Hashable] | Mapping[int, float], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        from_networkx(nx.path_graph(3), order)

"""Law 1: a CachedLayeredGraph is what networkx's DiGraph is, after any sequence of changes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from strategies import cyclic_graphs, dags, node_labels

from deepgraph.errors import CycleError, DeepGraphError, EditRefusedError
from deepgraph.graph import CachedLayeredGraph

ALGORITHMS = {
    "pagerank": nx.pagerank,
    "betweenness": nx.betweenness_centrality,
    "closeness": nx.closeness_centrality,
    "in degree centrality": nx.in_degree_centrality,
    "katz": lambda g: nx.katz_centrality_numpy(g, alpha=0.01),
    "hits degree": lambda g: dict(nx.degree_centrality(g)),
    "clustering": nx.clustering,
    "transitivity": nx.transitivity,
    "average neighbor degree": nx.average_neighbor_degree,
    "reciprocity": nx.overall_reciprocity,
    "core number": nx.core_number,
    "is dag": nx.is_directed_acyclic_graph,
    "components": lambda g: list(nx.weakly_connected_components(g)),
    "strong components": lambda g: sorted(sorted(map(repr, c)) for c in nx.strongly_connected_components(g)),
    "condensation": lambda g: sorted(nx.condensation(g).edges),
    "shortest paths": lambda g: dict(nx.all_pairs_shortest_path_length(g)),
    "dijkstra": lambda g: dict(nx.all_pairs_dijkstra_path_length(g, weight=lambda u, v, d: abs(d.get("weight", 1)))),
    "descendants": lambda g: {v: nx.descendants(g, v) for v in g},
    "ancestors": lambda g: {v: nx.ancestors(g, v) for v in g},
    "degrees": lambda g: (dict(g.degree), dict(g.in_degree), dict(g.out_degree)),
    "weighted degrees": lambda g: (dict(g.in_degree(weight="weight")), dict(g.out_degree(weight="weight"))),
    "adjacency": lambda g: nx.to_numpy_array(g, nonedge=0.0),
    "scipy": lambda g: nx.to_scipy_sparse_array(g).toarray(),
    "complement": lambda g: set(nx.complement(g).edges),
    "reverse": lambda g: set(nx.reverse(g).edges),
    "undirected": lambda g: sorted(map(sorted_pair, g.to_undirected().edges)),
    "line graph": lambda g: set(nx.line_graph(g).edges),
    "closure": lambda g: set(nx.transitive_closure(g).edges),
    "bfs": lambda g: [set(nx.bfs_tree(g, v).edges) for v in list(g)[:2]],
    "node link": lambda g: sorted(map(repr, nx.node_link_data(g, edges="links")["links"])),
    "efficiency": lambda g: nx.global_efficiency(g.to_undirected()),
    "greedy coloring": lambda g: nx.greedy_color(g, strategy="largest_first"),
}
ON_DAGS = {
    "topological": lambda g: list(nx.topological_sort(g)),
    "generations": lambda g: [sorted(map(repr, layer)) for layer in nx.topological_generations(g)],
    "longest": nx.dag_longest_path_length,
    "reduction": lambda g: set(nx.transitive_reduction(g).edges),
    "antichains": lambda g: sum(1 for _ in nx.antichains(g)) if len(g) < 7 else 0,
}


def sorted_pair(pair: tuple[Any, Any]) -> tuple[Any, ...]:
    return tuple(sorted(map(repr, pair)))


def close(a: Any, b: Any) -> bool:
    """Equal, floats to 1e-9."""
    if isinstance(a, dict):
        return set(a) == set(b) and all(close(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, np.ndarray):
        return bool(np.allclose(a, b, rtol=1e-9, atol=1e-12, equal_nan=True))
    if isinstance(a, float):
        return a == pytest.approx(b, rel=1e-9, abs=1e-12, nan_ok=True)
    return bool(a == b)


def outcome(function: Any, g: Any) -> Any:
    try:
        return function(g)
    except (nx.NetworkXException, ValueError, TypeError, ZeroDivisionError, np.linalg.LinAlgError) as error:
        return type(error)


def assert_same(g: CachedLayeredGraph, model: nx.DiGraph) -> None:
    assert list(g) == list(model)
    assert dict(g.nodes(data=True)) == dict(model.nodes(data=True))
    assert len(g.edges) == len(model.edges) == g.number_of_edges()
    assert {(u, v): dict(d) for u, v, d in g.edges(data=True)} == {(u, v): d for u, v, d in model.edges(data=True)}
    assert {v: set(g._pred[v]) for v in g} == {v: set(model._pred[v]) for v in model}
    assert dict(g.in_degree) == dict(model.in_degree)
    assert dict(g.out_degree) == dict(model.out_degree)
    assert g.graph == model.graph


values = st.one_of(st.integers(-3, 2**60), st.floats(allow_nan=False), st.booleans(), st.text(max_size=3), st.none())
names = st.sampled_from(["weight", "name", "w"])
attributes = st.dictionaries(names, values, max_size=2)


class NetworkxModel(RuleBasedStateMachine):
    """Random changes on our graph and on networkx's at once."""

    def __init__(self) -> None:
        super().__init__()
        self.g, self.model = CachedLayeredGraph(), nx.DiGraph()
        self.undone = 0

    @initialize(start=dags(max_nodes=6, weighted=None, dtype=np.float64, special=False))
    def begin(self, start: CachedLayeredGraph) -> None:
        self.g, self.model = start, nx.DiGraph(start)

    def node(self, data: st.DataObject) -> Any:
        nodes = list(self.model)
        return data.draw(st.one_of(st.sampled_from(nodes), node_labels) if nodes else node_labels)

    def both(self, call: Any) -> None:
        outcomes = []
        for graph in (self.g, self.model):
            try:
                outcomes.append(call(graph))
            except (nx.NetworkXError, KeyError) as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1] or not isinstance(outcomes[0], type)

    @rule(data=st.data(), attr=attributes)
    def add_node(self, data: Any, attr: dict[str, Any]) -> None:
        node = self.node(data)
        self.both(lambda g: g.add_node(node, **attr))

    @rule(nodes=st.lists(st.tuples(node_labels, attributes), max_size=3), attr=attributes)
    def add_nodes(self, nodes: Any, attr: dict[str, Any]) -> None:
        self.both(lambda g: g.add_nodes_from(nodes, **attr))

    @rule(data=st.data(), attr=attributes)
    def add_edge(self, data: Any, attr: dict[str, Any]) -> None:
        u, v = self.node(data), self.node(data)
        self.both(lambda g: g.add_edge(u, v, **attr))

    @rule(data=st.data(), attr=attributes, count=st.integers(1, 4))
    def add_edges(self, data: Any, attr: dict[str, Any], count: int) -> None:
        edges = [(self.node(data), self.node(data), data.draw(attributes)) for _ in range(count)]
        self.both(lambda g: g.add_edges_from(edges, **attr))

    @rule(data=st.data())
    def remove_node(self, data: Any) -> None:
        node = self.node(data)
        self.both(lambda g: g.remove_node(node))

    @rule(data=st.data())
    def remove_nodes(self, data: Any) -> None:
        nodes = [self.node(data), self.node(data)]
        self.both(lambda g: g.remove_nodes_from(nodes))

    @rule(data=st.data())
    def remove_edge(self, data: Any) -> None:
        edges = list(self.model.edges)
        edge = data.draw(st.sampled_from(edges)) if edges else (self.node(data), self.node(data))
        self.both(lambda g: g.remove_edge(*edge))

    @rule(data=st.data())
    def remove_edges(self, data: Any) -> None:
        edges = [(self.node(data), self.node(data)) for _ in range(3)]
        self.both(lambda g: g.remove_edges_from(edges))

    @precondition(lambda self: len(self.model.edges))
    @rule(data=st.data(), name=names, value=values)
    def write_edge_attribute(self, data: Any, name: str, value: Any) -> None:
        u, v = data.draw(st.sampled_from(list(self.model.edges)))
        for g in (self.g, self.model):
            g[u][v][name] = value
        assert self.g._pred[v][u] is self.g._succ[u][v]

    @precondition(lambda self: len(self.model.edges))
    @rule(data=st.data(), name=names)
    def delete_edge_attribute(self, data: Any, name: str) -> None:
        u, v = data.draw(st.sampled_from(list(self.model.edges)))
        self.both(lambda g: g[u][v].pop(name, None))

    @precondition(lambda self: len(self.model))
    @rule(data=st.data(), name=names, value=values)
    def write_node_attribute(self, data: Any, name: str, value: Any) -> None:
        node = data.draw(st.sampled_from(list(self.model)))
        for g in (self.g, self.model):
            g.nodes[node][name] = value

    @rule(value=values)
    def write_graph_attribute(self, value: Any) -> None:
        self.both(lambda g: g.graph.update(name=value))

    @rule()
    def clear_edges(self) -> None:
        self.both(lambda g: g.clear_edges())

    @rule(data=st.data())
    def relabel_in_place(self, data: Any) -> None:
        if len(self.model):
            mapping = {self.node(data): ("new", data.draw(st.integers(0, 3)))}
            mapping = {k: v for k, v in mapping.items() if k in self.model and v not in self.model}
            self.both(lambda g: nx.relabel_nodes(g, mapping, copy=False) and None)

    @rule(how=st.sampled_from(["copy", "deepcopy", "pickle", "reverse twice", "relabel", "from nx", "subgraph copy"]))
    def replace(self, how: str) -> None:
        g, model = self.g, self.model
        make = {
            "copy": lambda x: x.copy(),
            "deepcopy": copy.deepcopy,
            "pickle": lambda x: pickle.loads(pickle.dumps(x)),
            "reverse twice": lambda x: x.reverse().reverse(),
            "relabel": lambda x: nx.relabel_nodes(x, {v: ("r", i) for i, v in enumerate(x)}),
            "from nx": lambda x: type(x)(x),
            "subgraph copy": lambda x: x.subgraph(list(x)[1:]).copy(),
        }[how]
        self.g, self.model = make(g), make(model)
        assert isinstance(self.g, CachedLayeredGraph)

    @rule()
    def read_arrays(self) -> None:
        src, dst = self.g.edge_arrays()
        pairs = list(zip(self.g.labels(src), self.g.labels(dst), strict=True))
        assert set(pairs) == set(self.model.edges)
        assert (np.diff(src.astype(np.int64) * len(self.g) + dst) > 0).all()
        indptr, src, edge = self.g.csc()
        assert (self.g.edge_arrays()[0][edge] == src).all()
        assert (np.diff(indptr) == [self.model.in_degree(v) for v in self.g]).all()

    @rule(name=names)
    def read_column(self, name: str) -> None:
        try:
            column = self.g.column(name)
        except DeepGraphError:
            return
        labels = self.g.labels()
        for u, v, value in zip(*self.g.edge_arrays(), column.tolist(), strict=True):
            assert self.model[labels[u]][labels[v]][name] == value

    @precondition(lambda self: nx.is_directed_acyclic_graph(self.model) and len(self.model) > 1)
    @rule(data=st.data())
    def edit_and_undo(self, data: Any) -> None:
        nodes, edges = list(self.model), list(self.model.edges)
        gone = data.draw(st.lists(st.sampled_from(edges), max_size=3, unique=True)) if edges else []
        order = {v: i for i, v in enumerate(nx.topological_sort(self.model))}
        free = [(u, v) for u in nodes for v in nodes if order[u] < order[v] and (u, v) not in self.model.edges]
        new = data.draw(st.lists(st.sampled_from(free), max_size=3, unique=True)) if free else []
        g, before = self.g, self.g.digest()
        had = g._arrays().edges.edge_set().weighted
        ends = [(g.positions([u for u, _ in e]), g.positions([v for _, v in e])) for e in (gone, new)]
        edit = g.edit(drop=ends[0], grow=ends[1], reason="test")
        assert (edit.num_dropped, edit.num_grown) == (len(gone), len(new))
        assert g.undo() is edit
        assert_same(g, self.model)
        assert g.digest() == before
        g.edit(drop=ends[0], grow=ends[1])
        self.model.remove_edges_from(gone)
        self.model.add_edges_from(new, **({"weight": 0} if had else {}))

    @precondition(lambda self: nx.is_directed_acyclic_graph(self.model) and len(self.model))
    @rule()
    def layers(self) -> None:
        layer = self.g.layer_array()
        for v, own in zip(self.g, layer.tolist(), strict=True):
            assert own == nx.dag_longest_path_length(
                self.model.subgraph(nx.ancestors(self.model, v) | {v}), weight=None
            )

    @precondition(lambda self: not nx.is_directed_acyclic_graph(self.model))
    @rule()
    def cycle_is_found(self) -> None:
        before = self.g.digest()
        with pytest.raises(CycleError, match="got a cycle of"):
            self.g.layer_array()
        assert self.g.digest() == before

    @rule(name=st.sampled_from(sorted(ALGORITHMS)))
    def algorithm(self, name: str) -> None:
        self.g.edge_arrays()
        assert close(outcome(ALGORITHMS[name], self.g), outcome(ALGORITHMS[name], nx.DiGraph(self.g)))

    @invariant()
    def same(self) -> None:
        assert_same(self.g, self.model)


TestNetworkxModel = NetworkxModel.TestCase
TestNetworkxModel.settings = settings(max_examples=60, stateful_step_count=25)


@pytest.mark.parametrize("name", [*ALGORITHMS, *ON_DAGS])
@settings(max_examples=12)
@given(g=dags(weighted=None, dtype=np.float64, special=False))
def test_algorithms_agree_on_dags(name: str, g: CachedLayeredGraph) -> None:
    function = {**ALGORITHMS, **ON_DAGS}[name]
    assert close(outcome(function, g), outcome(function, nx.DiGraph(g)))


@pytest.mark.parametrize("name", ALGORITHMS)
@settings(max_examples=6)
@given(g=cyclic_graphs())
def test_algorithms_agree_on_cyclic_graphs(name: str, g: CachedLayeredGraph) -> None:
    assert close(outcome(ALGORITHMS[name], g), outcome(ALGORITHMS[name], nx.DiGraph(g)))


# -- views -----------------------------------------------------------------------------------------


@pytest.fixture
def graph() -> CachedLayeredGraph:
    g = CachedLayeredGraph.from_arrays([0, 0, 1, 2, 3], [1, 2, 3, 3, 4], weight=[1.0, 2.0, 3.0, 4.0, 5.0])
    g.graph["inputs"], g.graph["outputs"] = [0], [4]
    return g


@pytest.mark.parametrize(
    "view",
    [lambda g: g.subgraph([0, 1, 3]), lambda g: g.reverse(copy=False), nx.freeze, lambda g: g.copy(as_view=True)],
    ids=["subgraph", "reverse", "freeze", "as_view"],
)
def test_views_read_as_networkx_does_and_refuse_writes(graph: CachedLayeredGraph, view: Any) -> None:
    seen, expected = view(graph), view(nx.DiGraph(graph))
    assert_same(seen, expected)
    pairs = {(seen.labels([u])[0], seen.labels([v])[0]) for u, v in zip(*seen.edge_arrays(), strict=True)}
    assert pairs == set(expected.edges)
    for change in ("add_edge", "remove_edge"):
        with pytest.raises(nx.NetworkXError, match="Frozen graph can't be modified"):
            getattr(seen, change)(0, 1)


@pytest.mark.parametrize("what", ["edit", "undo", "set_column", "set_node_column"])
def test_array_edits_of_a_view_are_refused(graph: CachedLayeredGraph, what: str) -> None:
    view = graph.subgraph([0, 1, 3])
    arguments = {"set_column": ("weight", [0.0, 0.0]), "set_node_column": ("bias", [0.0] * 3)}.get(what, ())
    before = graph.digest()
    with pytest.raises(EditRefusedError, match=f"{what}: expected a graph, got a view of one; edit g.copy"):
        getattr(view, what)(*arguments)
    assert graph.digest() == before


def test_inputs_and_outputs_keep_their_nodes_when_positions_change(graph: CachedLayeredGraph) -> None:
    assert graph.subgraph([0, 3, 4]).output_positions().tolist() == [2]
    assert graph.subgraph([3, 4]).copy().graph == {"inputs": [], "outputs": [1]}
    graph.remove_node(1)
    assert graph.output_positions().tolist() == [3]
    assert graph.labels(graph.output_positions()) == [4]
    graph.remove_node(0)
    assert graph.input_positions().tolist() == []


def test_rows_and_proxies_survive_the_removal_of_other_nodes(graph: CachedLayeredGraph) -> None:
    row, data, node = graph._adj[3], graph[3][4], graph.nodes[3]
    node["name"] = "three"
    graph.remove_node(0)
    graph.edge_arrays()
    assert dict(row) == {4: {"weight": 5.0}}
    assert data == {"weight": 5.0}
    data["weight"] = 6.0
    assert graph.column("weight").tolist() == [3.0, 4.0, 6.0]
    graph.remove_node(3)
    graph.edge_arrays()
    assert (dict(row), len(row), 4 in row) == ({}, 0, False)
    assert (data, node) == ({"weight": 6.0}, {"name": "three"})


def test_a_held_edge_keeps_its_values_when_a_bulk_edit_drops_it(graph: CachedLayeredGraph) -> None:
    data = graph[0][2]
    graph.edit(drop=([0], [2]))
    assert data == {"weight": 2.0}
    graph.undo()
    assert graph[0][2] == {"weight": 2.0}


def test_only_what_equals_an_integer_finds_a_numbered_node(graph: CachedLayeredGraph) -> None:
    assert all(key in graph for key in (1, 1.0, True, np.int64(1), 1 + 0j))
    assert not any(key in graph for key in (-1, 5, 1.5, float("nan"), float("inf"), "1", None, (1,)))
    with pytest.raises(TypeError, match="unhashable"):
        graph.add_edge(0, [1])
    with pytest.raises(ValueError, match="None cannot be a node"):
        graph.add_node(None)


def test_networkx_keeps_no_stale_conversions(graph: CachedLayeredGraph) -> None:
    assert graph.__networkx_cache__ is None
    assert isinstance(graph, nx.DiGraph)
    assert graph.is_directed()
    assert not graph.is_multigraph()


def test_a_wrong_edge_tuple_is_named(graph: CachedLayeredGraph) -> None:
    with pytest.raises(nx.NetworkXError, match=r"Edge tuple \(1,\) must be a 2-tuple or 3-tuple"):
        graph.add_edges_from([(1,)])

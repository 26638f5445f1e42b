"""The fusion passes on arrays, without a model: what is merged, what is not, and that the function stays."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepgraph.transform import collect, fusion, merging, traced
from deepgraph.transform.collect import Collector
from deepgraph.transform.fusion import absorb, bypass, drop_unused, fuse
from deepgraph.transform.merging import merge_parallel
from deepgraph.transform.traced import Shares, reorder, stages

FUNCTIONS = {"identity": lambda z: z, "relu": lambda z: max(z, 0.0), "tanh": np.tanh}


def build(nodes, edges, outputs):
    """A traced graph: nodes are (kind, activation, bias) in topological order, edges (src, dst, weight[, origin])."""
    collector = Collector(dtype=np.float64)
    for kind, activation, bias in nodes:
        collector.add_nodes(1, kind, activation=activation, bias=np.array([bias]), module=f"{kind} {bias}")
    for src, dst, weight, *origin in edges:
        collector.add_edges(np.array([src]), np.array([dst]), np.array([weight]), np.array(origin or [-1]))
    inputs = np.array([index for index, node in enumerate(nodes) if node[0] == "input"], dtype=int)
    return collector.finish(inputs, np.array(outputs))


def run(graph, x):
    value = {}
    for v in range(graph.num_nodes):
        if v in graph.inputs:
            value[v] = x[list(graph.inputs).index(v)]
            continue
        into = np.flatnonzero(graph.dst == v)
        parts = [graph.weight[e] * value[int(graph.src[e])] for e in into]
        total = graph.bias[v] + (np.prod(parts) if graph.reduces[graph.reduce[v]] == "prod" else sum(parts))
        value[v] = FUNCTIONS[graph.activations[graph.activation[v]]](total)
    return [value[int(v)] for v in graph.outputs]


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 9))
    number = st.sampled_from([-2.0, -1.0, 0.5, 1.0, 3.0])
    nodes = [("input", "identity", 0.0), ("input", "identity", 0.0)]
    edges = []
    for v in range(2, 2 + count):
        kind = draw(st.sampled_from(["neuron", "pool", "unit", "unit", "unit"]))
        nodes.append((kind, draw(st.sampled_from(["identity", "identity", "relu", "tanh"])), draw(number)))
        for _ in range(draw(st.integers(0, 3))):
            edges.append((draw(st.integers(0, v - 1)), v, draw(number), draw(st.integers(-1, 3))))
    outputs = draw(st.lists(st.integers(0, 1 + count), min_size=1, max_size=3))
    return build(nodes, edges, outputs)


@given(graph=graphs(), step=st.sampled_from([absorb, bypass, drop_unused, fuse]), seed=st.integers(0, 99))
@settings(max_examples=300, deadline=None)
def test_no_pass_changes_the_function(graph, step, seed):
    x = np.random.default_rng(seed).normal(size=2)
    passed = step(graph)
    assert np.allclose(run(passed, x), run(graph, x), atol=1e-9)
    assert passed.num_nodes <= graph.num_nodes
    assert passed.num_edges <= graph.num_edges


@given(graph=graphs(), step=st.sampled_from([absorb, bypass, drop_unused, fuse]), seed=st.integers(0, 99))
@settings(max_examples=200, deadline=None)
def test_every_pass_knows_what_parameter_entries_do_to_biases(graph, step, seed):
    random = np.random.default_rng(seed)
    computed = np.flatnonzero(graph.kind != 0)
    # Some entries are in several biases.
    entry = random.integers(0, 4, len(computed))
    passed = step(replace(graph, shares=Shares(computed, entry, random.normal(size=len(computed)))))
    change, x = random.normal(size=4), random.normal(size=2)

    def changed(traced, shares):
        bias = traced.bias.copy()
        np.add.at(bias, shares.node, shares.factor * change[shares.entry])
        return run(replace(traced, bias=bias), x)

    again = np.random.default_rng(seed)
    again.integers(0, 4, len(computed))
    shares = Shares(computed, entry, again.normal(size=len(computed)))
    assert np.allclose(changed(passed, passed.shares), changed(graph, shares), atol=1e-9)


def test_passes_know_nothing_of_torch():
    for module in (fusion, merging, traced, collect):
        tree = ast.parse(Path(module.__file__).read_text())
        imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imported += [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
        assert not [name for name in imported if name.partition(".")[0] == "torch"]
        assert {name for name in imported if name.startswith("deepgraph")} <= {"deepgraph.transform.traced"}


@given(graph=graphs())
@settings(max_examples=100, deadline=None)
def test_products_keep_a_node_each(graph):
    alone = build(
        [("input", "identity", 0.0)] * 2 + [("neuron", "identity", 1.0)] * (graph.num_nodes - 2),
        list(zip(graph.src, graph.dst, graph.weight, strict=True)),
        graph.outputs,
    )
    assert fuse(alone).num_nodes == graph.num_nodes


@given(graph=graphs())
@settings(max_examples=100, deadline=None)
def test_fusing_twice_is_fusing_once(graph):
    once = fuse(graph)
    twice = fuse(once)
    assert (twice.num_nodes, twice.num_edges) == (once.num_nodes, once.num_edges)


@given(graph=graphs())
@settings(max_examples=100, deadline=None)
def test_stages_go_up_along_every_edge_and_keep_groups_together(graph):
    for found in (graph, fuse(graph)):
        stage = stages(found)
        assert (stage[found.src] < stage[found.dst]).all()
        assert (stage[found.inputs] == 0).all()
        assert (np.delete(stage, found.inputs) > 0).all()


def test_declared_distances_hold_and_neurons_without_inputs_stay_with_their_group():
    collector = Collector()
    x = collector.add_nodes(1, "input")
    first = collector.add_groups(2)
    collector.link_groups(first, first + 1, 3)
    collector.add_nodes(3, "neuron", group=np.array([first, first, first + 1]))
    collector.add_nodes(2, "neuron")
    collector.add_edges(np.array([x, 1, 3]), np.array([1, 3, 5]), np.ones(3))
    assert stages(collector.finish(np.array([x]), np.array([5]))).tolist() == [0, 1, 1, 4, 5, 5]


LINEAR = ("neuron", "identity", 1.0)
UNIT = ("unit", "identity", 0.0)
RELU = ("unit", "relu", 0.0)
X = ("input", "identity", 0.0)


def test_a_relu_that_shares_its_operand_is_not_merged():
    graph = build([X, LINEAR, RELU, UNIT], [(0, 1, 1.0), (1, 2, 1.0), (1, 3, 1.0), (2, 3, 1.0)], [3])
    assert fuse(graph).num_nodes == 4


def test_a_linear_node_that_is_a_result_is_not_merged():
    graph = build([X, LINEAR, RELU], [(0, 1, 1.0), (1, 2, 1.0)], [1, 2])
    assert fuse(graph).num_nodes == 3


def test_an_activated_node_is_not_merged_into_a_sum():
    graph = build([X, ("neuron", "relu", 0.0), UNIT], [(0, 1, 1.0), (1, 2, 1.0)], [2])
    assert fuse(graph).num_nodes == 3


def test_sums_of_products_become_one_neuron_known_by_the_first_product():
    graph = build(
        [X, X, LINEAR, ("neuron", "identity", 5.0), UNIT, RELU],
        [(0, 2, 2.0), (1, 3, 3.0), (2, 4, 1.0), (3, 4, -1.0), (4, 5, 1.0)],
        [5],
    )
    fused = fuse(graph)
    assert (fused.weight.tolist(), fused.bias.tolist()) == ([2.0, -3.0], [0.0, 0.0, -4.0])
    assert fused.modules[fused.module[2]] == "neuron 1.0"
    assert fused.activations[fused.activation[2]] == "relu"


def test_a_scale_before_several_neurons_goes_into_their_weights():
    graph = build([X, ("unit", "identity", 1.0), LINEAR, LINEAR], [(0, 1, 2.0), (1, 2, 3.0), (1, 3, 5.0)], [2, 3])
    fused = fuse(graph)
    assert (fused.weight.tolist(), fused.bias.tolist()) == ([6.0, 10.0], [0.0, 4.0, 6.0])


def test_constants_go_into_the_biases():
    graph = build([X, ("unit", "identity", 7.0), UNIT, LINEAR], [(1, 2, 2.0), (0, 3, 1.0), (2, 3, 10.0)], [3])
    fused = fuse(graph)
    assert (fused.num_nodes, fused.num_edges, fused.bias.tolist()) == (2, 1, [0.0, 141.0])


def test_products_of_activations_take_nothing_in():
    collector = Collector(dtype=np.float64)
    collector.add_nodes(2, "input")
    collector.add_nodes(2, "unit", bias=np.ones(2))
    collector.add_nodes(1, "unit", reduce="prod")
    collector.add_nodes(1, "unit", activation="relu")
    collector.add_edges(np.array([0, 1, 2, 3, 4]), np.array([2, 3, 4, 4, 5]), np.ones(5))
    graph = collector.finish(np.array([0, 1]), np.array([5]))
    assert fuse(graph).num_nodes == 6


def test_approximate_nodes_stay_as_they_are():
    graph = build([X, LINEAR, UNIT], [(0, 1, 1.0), (1, 2, 1.0)], [2])
    marked = replace(graph, approximate=np.array([False, True, False]))
    assert fuse(marked).num_nodes == 3


def test_pools_that_nothing_reads_are_dropped_and_neurons_are_not():
    graph = build([X, LINEAR, ("pool", "identity", 0.0), RELU], [(0, 1, 1.0), (0, 2, 1.0), (2, 3, 1.0)], [0])
    assert drop_unused(graph).num_nodes == 2


def test_long_chains_are_merged_in_one_go():
    count = 1000
    chain = [X, *[("unit", "identity", 1.0)] * count]
    graph = build(chain, [(v, v + 1, 1.0) for v in range(count)], [count])
    for step in (absorb, bypass):
        merged = step(graph)
        assert (merged.num_nodes, merged.bias[-1]) == (2, count)


def test_parallel_edges_are_added_up_and_their_entries_listed():
    graph = build(
        [X, X, LINEAR],
        [(1, 2, 1.0, 5), (0, 2, 1.0, 3), (0, 2, 2.0, 3), (1, 2, 4.0, 6), (1, 2, 8.0)],
        [2],
    )
    merged = merge_parallel(graph)
    assert list(zip(merged.src, merged.dst, merged.weight, merged.origin, strict=True)) == [
        (0, 2, 3, 3),
        (1, 2, 13, -2),
    ]
    assert (merged.several_edge.tolist(), merged.several_origin.tolist()) == ([1, 1], [5, 6])


def test_a_graph_without_edges_is_merged_too():
    graph = build([X], [], [0])
    assert len(merge_parallel(fuse(graph)).src) == 0


def test_nodes_can_be_put_in_another_order():
    graph = build([X, LINEAR, RELU], [(0, 1, 3.0), (1, 2, 1.0)], [2])
    moved = reorder(graph, np.array([2, 0, 1]))
    assert (moved.src.tolist(), moved.dst.tolist(), moved.inputs.tolist(), moved.outputs.tolist()) == (
        [2, 0],
        [0, 1],
        [2],
        [1],
    )
    assert moved.bias.tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("limit", [None, 2, 1, 0])
def test_the_collector_counts_what_it_does_not_keep(limit):
    collector = Collector(limit)
    collector.add_nodes(3, "input")
    for _ in range(2):
        collector.add_edges(np.array([0]), np.array([1]), np.ones(1))
    assert (collector.num_edges, collector.num_nodes) == (2, 3)
    assert collector.counting_only == (limit in (0, 1))

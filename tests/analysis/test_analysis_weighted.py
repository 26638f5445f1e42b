"""Measures of weights against networkx, numpy or sums over all paths."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest

import deepgraph as dg
from deepgraph import analysis
from deepgraph.analysis import EdgeArrays
from deepgraph.errors import ArgumentError, MissingColumnError


def weighted(graph: dg.CachedLayeredGraph, seed: int = 0, signed: bool = True) -> dg.CachedLayeredGraph:
    """Return the graph with random weights, a few of them 0."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=graph.number_of_edges()) if signed else rng.gamma(1.0, size=graph.number_of_edges())
    values[::9] = 0.0
    graph.set_column("weight", values)
    return graph


def plain(graph: dg.CachedLayeredGraph, absolute: bool = True) -> nx.DiGraph:
    """Return a networkx copy, with magnitudes of weights."""
    ends = zip(*(part.tolist() for part in graph.edge_arrays()), strict=True)
    values = graph.column("weight")
    copy = nx.DiGraph()
    copy.add_nodes_from(range(len(graph)))
    copy.add_weighted_edges_from(
        (u, v, abs(w) if absolute else w) for (u, v), w in zip(ends, values.tolist(), strict=True)
    )
    return copy


GRAPHS = {
    "small world": weighted(dg.priors.watts_strogatz(60, 6, 0.3, seed=0)),
    "scale free": weighted(dg.priors.barabasi_albert(80, 3, seed=0)),
    "layered": weighted(dg.priors.random_layered([10, 15, 12, 4], 0.25, seed=0)),
    "deep": weighted(dg.priors.watts_strogatz(90, 4, 0.0, orientation="stored", seed=0)),
}
each_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())


@each_graph
def test_pagerank_hands_rank_on_by_magnitude(graph):
    theirs = nx.pagerank(plain(graph), weight="weight", tol=1e-13, max_iter=1000)
    assert analysis.pagerank(graph, weight="abs") == pytest.approx([theirs[v] for v in range(len(graph))], abs=1e-9)
    with pytest.raises(ArgumentError, match=r'needs weights >= 0, got -.*; take weight="abs"'):
        analysis.pagerank(graph, weight="weight")


@each_graph
def test_assortativity_of_strengths_is_the_correlation_over_edges(graph):
    both = plain(graph).to_undirected()
    theirs = nx.degree_pearson_correlation_coefficient(both, weight="weight")
    assert analysis.assortativity(graph, weight="abs") == pytest.approx(theirs)
    pointed = nx.degree_pearson_correlation_coefficient(plain(graph), "out", "in", weight="weight")
    if not math.isnan(pointed):
        assert analysis.assortativity(graph, "out", "in", weight="abs") == pytest.approx(pointed)


@each_graph
def test_clustering_with_weights_is_that_of_networkx(graph):
    theirs = nx.clustering(plain(graph).to_undirected(), weight="weight")
    ours = analysis.local_clustering(graph, weight="abs")
    assert ours == pytest.approx([theirs[v] for v in range(len(graph))])
    assert analysis.clustering(graph, "abs") == pytest.approx(np.mean(list(theirs.values())))
    ones = EdgeArrays.from_arrays(*graph.edge_arrays(), len(graph), weight=np.full(graph.number_of_edges(), -3.0))
    assert analysis.local_clustering(ones, "abs") == pytest.approx(analysis.local_clustering(ones))
    assert analysis.local_clustering(ones, "weight") == pytest.approx(-analysis.local_clustering(ones))


@pytest.mark.parametrize("seed", range(4))
def test_paths_count_the_product_of_their_weights(seed):
    graph = weighted(dg.priors.erdos_renyi_dag(14, 0.35, seed=seed), seed)
    copy = plain(graph)
    inputs, outputs = graph.input_positions().tolist(), graph.output_positions().tolist()
    total = sum(
        math.prod(copy[u][v]["weight"] for u, v in itertools.pairwise(path))
        for u, v in itertools.product(inputs, outputs)
        if u != v
        for path in nx.all_simple_paths(copy, u, v)
    )
    assert analysis.log_paths(graph, "abs") == pytest.approx(math.log(total))
    with pytest.raises(ArgumentError, match="this measure needs weights >= 0"):
        analysis.log_paths(graph, "weight")


def test_the_path_norm_of_a_wide_net_is_a_product_of_matrices():
    graph = weighted(dg.priors.random_layered([30, 40, 40, 5], 0.6, seed=1))
    matrix = np.abs(graph.to_scipy("weight").toarray())
    bounds = np.cumsum([0, 30, 40, 40, 5])
    blocks = [matrix[a:b, b:c] for a, b, c in zip(bounds[:-2], bounds[1:-1], bounds[2:], strict=True)]
    assert analysis.log_paths(graph, "abs") == pytest.approx(math.log(np.linalg.multi_dot(blocks).sum()))


def test_weights_of_zero_cut_paths():
    view = EdgeArrays.from_arrays([0, 1, 0], [1, 3, 2], 4, weight=[0.0, 1.0, 2.0], outputs=[3])
    assert analysis.log_paths(view) == 0.0
    assert analysis.log_paths(view, "abs") == -math.inf
    wide = weighted(dg.priors.random_layered([20, 20, 20], 0.5, seed=0))
    wide.set_column("weight", np.zeros(wide.number_of_edges()))
    assert analysis.log_paths(wide, "abs") == -math.inf


@pytest.mark.parametrize("weight", ["weight", "abs"])
def test_spectra_of_weights_are_those_of_numpy(weight):
    graph = weighted(dg.priors.random_layered([12, 9], 0.6, seed=0))
    dense = graph.to_scipy("weight").toarray()[:12, 12:]
    values = np.linalg.svd(np.abs(dense) if weight == "abs" else dense, compute_uv=False)
    [spectrum] = analysis.pair_spectra(graph, weight=weight)
    assert (spectrum.first, spectrum.second) == pytest.approx((values[0], values[1]))
    assert analysis.spectral_gap(graph, weight) == pytest.approx(values[0] - values[1])
    assert math.isnan(spectrum.ramanujan)


def test_strength_is_that_of_networkx():
    graph = GRAPHS["scale free"]
    for direction, degree in (("in", "in_degree"), ("out", "out_degree"), ("total", "degree")):
        theirs = dict(getattr(plain(graph), degree)(weight="weight"))
        assert analysis.strength(graph, direction).tolist() == pytest.approx([theirs[v] for v in range(len(graph))])
        signed = dict(getattr(plain(graph, absolute=False), degree)(weight="weight"))
        assert analysis.strength(graph, direction, "weight") == pytest.approx([signed[v] for v in range(len(graph))])
    positive, negative = (np.count_nonzero(sign * graph.column("weight") > 0) for sign in (1, -1))
    assert analysis.sign_balance(graph) == pytest.approx((positive - negative) / (positive + negative))


def test_the_report_weighs_what_it_says():
    graph = GRAPHS["layered"]
    report = dg.analyse(graph, seed=0, progress=False)
    assert report["assortativity_strength"].value == analysis.assortativity(graph, weight="abs")
    assert report["log_paths_abs"].value == analysis.log_paths(graph, "abs")
    assert report["gini_pagerank_abs"].value == analysis.gini(analysis.pagerank(graph, weight="abs"))
    assert report["gini_strength_in"].value == analysis.fan(graph, "in", "abs").gini


@pytest.mark.parametrize(
    "measure",
    [
        analysis.pagerank,
        analysis.assortativity,
        analysis.clustering,
        analysis.log_paths,
        analysis.spectral_gap,
        analysis.modularity,
        analysis.fan,
    ],
)
def test_weights_that_are_missing_or_misnamed_are_refused(measure):
    bare = EdgeArrays.from_arrays([0, 0, 1], [1, 2, 2], 3)
    with pytest.raises(MissingColumnError, match='weight="abs" needs the edge column "weight", and the graph has none'):
        measure(bare, weight="abs")
    with pytest.raises(ArgumentError, match='weight must be None, "weight" or "abs", got \'size\''):
        measure(bare, weight="size")


def test_rows_of_stages_and_pairs_of_a_hand_made_graph():
    src, dst = [0, 0, 1, 1, 2], [2, 3, 2, 3, 4]  # a full square, then one edge; 3 leads nowhere
    graph = dg.CachedLayeredGraph.from_arrays(src, dst, num_nodes=5, weight=[1.0, -2.0, 3.0, 0.0, -4.0])
    graph.set_node_column("stage", np.array([0, 0, 1, 1, 2], np.int32))
    graph.set_node_column("role", np.array(["input", "input", "hidden", "hidden", "output"]))
    report = dg.analyse(graph, seed=0, progress=False)
    first, middle, last = report.stages
    assert (first["units"], first["live"], first["dead"], first["live_share"]) == (2, 2, 0, 1.0)
    assert (middle["units"], middle["live"], middle["dead"], middle["live_share"]) == (2, 1, 1, 0.5)
    assert (middle["mean_fan_in"], middle["sd_fan_in"], middle["max_fan_in"], middle["gini_fan_in"]) == (2, 0, 2, 0)
    assert (middle["mean_fan_out"], middle["sd_fan_out"], middle["max_fan_out"]) == (0.5, 0.5, 1)
    assert (middle["mean_strength"], middle["positive_share"]) == (3.0, pytest.approx(2 / 3))
    assert (last["mean_strength"], last["positive_share"]) == (4.0, 0.0)
    square, single = report.stage_pairs
    assert (square["edges"], square["density"], square["butterflies"], square["bipartite_clustering"]) == (4, 1, 1, 1)
    assert (square["effective_edges"], square["effective_density"]) == (2, 0.5)
    assert (square["spectral_gap"], square["ramanujan_gap"]) == (pytest.approx(2.0), pytest.approx(2.0))
    assert (single["edges"], single["density"], single["effective_edges"]) == (1, 0.5, 1)
    assert math.isnan(single["spectral_gap"])
    assert report["mean_strength_in"].value == pytest.approx(10 / 3)
    assert (report["live_units"].value, report["dead_neurons"].value) == (1, 1)
    assert (report["effective_edges"].value, report["effective_density"].value) == (3, 0.5)
    assert (report["parameters"].value, report["flops"].value) == (8, 10)
    assert report["rich_club"].value == pytest.approx(4 / 6)  # 0, 1, 2 and, by a tie, 3

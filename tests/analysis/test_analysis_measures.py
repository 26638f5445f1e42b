"""Every measure against networkx, scipy or a graph whose answer is known."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import zeta

from deepgraph import analysis
from deepgraph.analysis import EdgeArrays
from deepgraph.errors import (
    ArgumentError,
    CycleError,
    DtypeError,
    EdgeError,
    MissingColumnError,
    ShapeError,
    StructureError,
)


def arrays(graph: nx.Graph, **options: object) -> EdgeArrays:
    """Return the arrays of a networkx graph on 0..N-1, every edge pointing up."""
    ends = np.sort(np.array(graph.edges, dtype=np.int64).reshape(-1, 2), axis=1)
    return EdgeArrays.from_arrays(ends[:, 0], ends[:, 1], graph.number_of_nodes(), **options)


def layered(sizes: list[int], density: float, seed: int) -> EdgeArrays:
    """Return a random strictly layered net."""
    rng = np.random.default_rng(seed)
    offset = np.cumsum([0, *sizes])
    src, dst = [], []
    for at, (height, width) in enumerate(itertools.pairwise(sizes)):
        row, column = np.nonzero(rng.random((height, width)) < density)
        src.append(row + offset[at])
        dst.append(column + offset[at + 1])
    stage = np.repeat(np.arange(len(sizes)), sizes)
    nodes = np.arange(offset[-1])
    return EdgeArrays.from_arrays(
        np.concatenate(src),
        np.concatenate(dst),
        int(offset[-1]),
        stage=stage,
        inputs=nodes[stage == 0],
        outputs=nodes[stage == len(sizes) - 1],
    )


def directed(view: EdgeArrays) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(view.num_nodes))
    graph.add_edges_from(zip(view.src.tolist(), view.dst.tolist(), strict=True))
    return graph


GRAPHS = {
    "small world": arrays(nx.newman_watts_strogatz_graph(60, 6, 0.4, seed=1)),
    "sparse random": arrays(nx.gnm_random_graph(80, 90, seed=2)),
    "dense random": arrays(nx.gnm_random_graph(30, 200, seed=3)),
    "scale free": arrays(nx.barabasi_albert_graph(70, 3, seed=4)),
    "tree": arrays(nx.balanced_tree(3, 3)),
    "layered": layered([12, 20, 9, 4], 0.2, 5),
    "path": arrays(nx.path_graph(200)),
    "complete": arrays(nx.complete_graph(12)),
}
each_graph = pytest.mark.parametrize("view", GRAPHS.values(), ids=GRAPHS.keys())


def path_graph(view: EdgeArrays) -> nx.Graph:
    largest = max(nx.connected_components(directed(view).to_undirected()), key=len)
    return directed(view).to_undirected().subgraph(largest)


@each_graph
def test_effective_edges_are_those_between_descendants_and_ancestors(view):
    graph = directed(view)
    down = set(view.inputs.tolist()).union(*(nx.descendants(graph, u) for u in view.inputs.tolist()))
    up = set(view.outputs.tolist()).union(*(nx.ancestors(graph, v) for v in view.outputs.tolist()))
    expected = [u in down and v in up for u, v in zip(view.src.tolist(), view.dst.tolist(), strict=True)]
    assert analysis.effective_edge_mask(view).tolist() == expected
    assert analysis.effective_edges(view) == sum(expected)
    touched = {node for (u, v), kept in zip(graph.edges, expected, strict=True) if kept for node in (u, v)}
    assert set(np.flatnonzero(analysis.live_unit_mask(view)).tolist()) == touched


@each_graph
def test_log_paths_counts_paths(view):
    counts = [0] * view.num_nodes
    total = 0
    graph = directed(view)
    inputs, outputs = set(view.inputs.tolist()), set(view.outputs.tolist())
    for v in nx.topological_sort(graph):
        arriving = sum(counts[u] for u in graph.predecessors(v))
        counts[v] = arriving + (v in inputs)
        total += arriving * (v in outputs)
    assert analysis.log_paths(view) == pytest.approx(math.log(total), rel=1e-12)


def test_log_paths_does_not_overflow():
    wide = layered([30] * 40, 1.0, 0)  # 30^40 paths
    assert analysis.log_paths(wide) == pytest.approx(40 * math.log(30), rel=1e-12)
    mixed = layered([3, 3, 40, 40, 2, 1, 50, 3], 1.0, 0)  # narrow and wide stages take turns
    assert analysis.log_paths(mixed) == pytest.approx(math.log(3 * 3 * 40 * 40 * 2 * 50 * 3), rel=1e-12)


def test_paths_that_end_early_or_start_late_are_not_counted():
    view = EdgeArrays.from_arrays([0, 1, 2, 0], [2, 2, 3, 4], 6, inputs=[0], outputs=[3, 5])
    assert analysis.effective_edges(view) == 2
    assert analysis.log_paths(view) == 0.0
    assert analysis.dead_neurons(view) == 2  # node 1 has no input, node 4 leads nowhere
    assert analysis.live_share(view) == pytest.approx(1 / 3)
    assert analysis.log_paths(EdgeArrays.from_arrays([0], [1], 3, inputs=[0], outputs=[2])) == -math.inf


def test_an_input_that_is_an_output_too_counts_only_longer_paths():
    view = EdgeArrays.from_arrays([0, 1], [1, 2], 4, inputs=[0, 1, 3], outputs=[1, 2, 3])
    assert math.exp(analysis.log_paths(view)) == pytest.approx(3.0)  # 0-1, 0-1-2, 1-2


@each_graph
def test_path_lengths_are_those_of_networkx(view):
    graph = path_graph(view)
    lengths = analysis.path_lengths(view, sources=10_000)
    assert lengths.mean == pytest.approx(nx.average_shortest_path_length(graph), rel=1e-12)
    assert lengths.maximum == nx.diameter(graph) == analysis.path_length_max(view, sources=10_000)
    assert (lengths.error, lengths.sources, lengths.component) == (0.0, len(graph), len(graph))


def test_path_lengths_are_the_same_from_words_and_from_single_searches():
    view = GRAPHS["path"]  # deeper than the search by words goes
    assert analysis.path_length_mean(view, sources=200) == pytest.approx(201 / 3)
    sampled = analysis.path_lengths(GRAPHS["small world"], sources=20, seed=0)
    assert 0 < sampled.error < 0.3
    assert sampled == analysis.path_lengths(GRAPHS["small world"], sources=20, seed=0)
    exact = analysis.path_length_mean(GRAPHS["small world"])
    assert abs(sampled.mean - exact) < 4 * sampled.error


def test_the_stated_error_of_path_lengths_is_that_of_repeated_samples():
    view = arrays(nx.newman_watts_strogatz_graph(400, 4, 0.1, seed=0))
    samples = [analysis.path_lengths(view, sources=40, seed=seed) for seed in range(60)]
    spread = np.std([sample.mean for sample in samples], ddof=1)
    assert np.mean([sample.error for sample in samples]) == pytest.approx(spread, rel=0.3)


@each_graph
def test_degrees_and_mixing_are_those_of_networkx(view):
    graph = directed(view)
    both = graph.to_undirected()
    assert analysis.degrees(view, "in").tolist() == [graph.in_degree(v) for v in range(view.num_nodes)]
    assert analysis.degrees(view, "out").tolist() == [graph.out_degree(v) for v in range(view.num_nodes)]
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = nx.degree_assortativity_coefficient(both)
        pointed = nx.degree_assortativity_coefficient(graph, x="out", y="in")
    if min(dict(both.degree).values()) < max(dict(both.degree).values()):
        assert analysis.assortativity(view) == pytest.approx(expected, abs=1e-9)
    else:
        assert math.isnan(analysis.assortativity(view))
    if not math.isnan(analysis.assortativity(view, "out", "in")):
        assert analysis.assortativity(view, "out", "in") == pytest.approx(pointed, abs=1e-9)
    k, club = analysis.rich_club_curve(view)
    theirs = nx.rich_club_coefficient(both, normalized=False)
    ours = dict(zip(k.tolist(), club.tolist(), strict=True))
    assert {degree: ours[degree] for degree in theirs} == pytest.approx(theirs)


def test_rich_club_takes_ties_in():
    view = GRAPHS["scale free"]
    limit = np.sort(view.degree)[::-1][6]
    club = np.flatnonzero(view.degree >= limit)
    expected = nx.density(directed(view).to_undirected().subgraph(club.tolist()))
    assert analysis.rich_club(view) == pytest.approx(expected)
    assert analysis.rich_club(view, share=1.0) == pytest.approx(2 * view.num_edges / (70 * 69))


@each_graph
def test_components_cores_and_triangles_are_those_of_networkx(view):
    both = directed(view).to_undirected()
    assert analysis.components(view) == nx.number_connected_components(both)
    assert analysis.largest_component_share(view) == pytest.approx(len(path_graph(view)) / view.num_nodes)
    cores = nx.core_number(both)
    assert analysis.core_numbers(view).tolist() == [cores[v] for v in range(view.num_nodes)]
    assert analysis.max_core(view) == max(cores.values())
    corners = nx.triangles(both)
    assert analysis.triangles(view).tolist() == [corners[v] for v in range(view.num_nodes)]
    assert analysis.clustering(view) == pytest.approx(nx.average_clustering(both), abs=1e-12)


def test_cores_of_a_wide_graph_go_through_wide_rounds():
    graph = nx.gnm_random_graph(3_000, 9_000, seed=0)
    cores = nx.core_number(graph)
    assert analysis.core_numbers(arrays(graph)).tolist() == [cores[v] for v in range(3_000)]


def test_a_layered_net_has_no_triangles_by_construction():
    view = GRAPHS["layered"]
    assert analysis.clustering(view) == 0.0
    assert not analysis.triangles(view).any()


@pytest.mark.parametrize("seed", range(5))
def test_bipartite_clustering_is_that_of_networkx_per_stage_pair(seed):
    view = layered([14, 10, 12], 0.3, seed)
    squares, closed = analysis.butterflies_by_pair(view), analysis.clustering_by_pair(view)
    for pair in range(2):
        block = nx.Graph()
        inside = view.pairs.of_edge == pair
        block.add_edges_from(zip(view.src[inside].tolist(), view.dst[inside].tolist(), strict=True))
        assert closed[pair] == pytest.approx(nx.bipartite.robins_alexander_clustering(block))
        known = sum(math.comb(len(set(block[u]) & set(block[v])), 2) for u, v in _same_side(view, block))
        assert squares[pair] == known
    assert analysis.butterflies(view) == squares.sum()


def _same_side(view: EdgeArrays, block: nx.Graph) -> list[tuple[int, int]]:
    lowest = min(view.stage[v] for v in block)
    return list(itertools.combinations([v for v in block if view.stage[v] == lowest], 2))


def test_butterflies_of_a_complete_block():
    view = layered([5, 7], 1.0, 0)
    assert analysis.butterflies(view) == math.comb(5, 2) * math.comb(7, 2)
    assert analysis.bipartite_clustering(view) == 1.0


def test_skip_pairs_are_separate_blocks():
    view = EdgeArrays.from_arrays([0, 0, 1, 1, 0, 1], [2, 3, 2, 3, 4, 4], 5, stage=[0, 0, 1, 1, 2])
    assert analysis.butterflies_by_pair(view).tolist() == [1, 0]  # 0-4-1-2 spans two pairs
    assert analysis.stage_pair_density(view) == {(0, 1): 1.0, (0, 2): 1.0}


@pytest.mark.parametrize("seed", range(4))
def test_spectra_are_those_of_numpy_on_the_largest_component(seed):
    view = layered([9, 11], 0.25, seed)
    graph = directed(view).to_undirected()
    largest = max(nx.connected_components(graph), key=len)
    rows, columns = sorted(v for v in largest if v < 9), sorted(v for v in largest if v >= 9)
    dense = nx.to_numpy_array(graph)[np.ix_(rows, columns)]
    values = np.linalg.svd(dense, compute_uv=False)
    [spectrum] = analysis.pair_spectra(view)
    assert (spectrum.first, spectrum.second) == pytest.approx((values[0], values[1]))
    assert (spectrum.rows, spectrum.columns, spectrum.edges) == (len(rows), len(columns), int(dense.sum()))
    left, right = dense.sum() / len(rows), dense.sum() / len(columns)
    assert analysis.ramanujan_gap(view) == pytest.approx(math.sqrt(left - 1) + math.sqrt(right - 1) - values[1])


def test_large_blocks_take_the_iterative_decomposition():
    view = layered([150, 160], 0.1, 0)
    dense = nx.to_numpy_array(directed(view))[:150, 150:]
    values = np.linalg.svd(dense, compute_uv=False)
    assert analysis.spectral_gap(view) == pytest.approx(values[0] - values[1], rel=1e-6)


def test_modularity_of_known_graphs():
    karate = analysis.modularity(arrays(nx.karate_club_graph()), seed=0)
    assert 0.40 < karate <= 0.4198  # the best partition has 0.4198
    caves = nx.connected_caveman_graph(12, 6)
    cliques = [set(range(at, at + 6)) for at in range(0, 72, 6)]
    assert analysis.modularity(arrays(caves), seed=0) >= nx.community.modularity(caves, cliques) - 1e-12


@each_graph
def test_modularity_of_a_partition_is_that_of_networkx(view):

    community = analysis.louvain(view, seed=0)
    sets = [set(np.flatnonzero(community == c).tolist()) for c in np.unique(community)]
    both = directed(view).to_undirected()
    assert analysis.modularity_of(view, community) == pytest.approx(nx.community.modularity(both, sets, weight=None))
    coarse = nx.community.greedy_modularity_communities(both)
    assert analysis.modularity_of(view, community) > nx.community.modularity(both, coarse) - 0.05


def test_louvain_ends_where_networkx_circles():
    edges = [(0, 1), (0, 2), (0, 5), (0, 6), (1, 2), (1, 4), (2, 3), (2, 5), (2, 6), (3, 4)]
    view = arrays(nx.Graph(edges))
    partitions = itertools.product(range(3), repeat=7)
    best = max(analysis.modularity_of(view, np.array(partition)) for partition in partitions)
    for seed in range(20):
        assert best - 0.03 < analysis.modularity(view, seed=seed) <= best + 1e-12


def test_modularity_with_weights():

    view = EdgeArrays.from_arrays([0, 1, 2], [1, 2, 3], 4, weight=[3.0, -1.0, 3.0])
    graph = nx.Graph()
    graph.add_weighted_edges_from([(0, 1, 3.0), (1, 2, 1.0), (2, 3, 3.0)])
    expected = nx.community.modularity(graph, [{0, 1}, {2, 3}])
    assert analysis.modularity_of(view, np.array([5, 5, 7, 7]), weight="abs") == pytest.approx(expected)
    assert analysis.modularity(view, weight="abs", seed=0) == pytest.approx(expected)
    with pytest.raises(ArgumentError, match=r'this measure needs weights >= 0, got -1\.0; take weight="abs"'):
        analysis.modularity(view, weight="weight")


def test_power_law_of_a_zipf_sample_is_that_of_the_powerlaw_package():
    drawn = np.random.default_rng(0).zipf(2.5, 5000)
    fit = analysis.fit_power_law(drawn)  # powerlaw 2.0: alpha 2.458228, xmin 1, D 0.00489617
    assert (fit.kmin, fit.tail) == (1, 5000)
    assert fit.exponent == pytest.approx(2.458228, abs=2e-6)
    assert fit.distance == pytest.approx(0.00489617, abs=1e-6)


def test_power_law_exponent_is_the_most_likely_one():
    values = np.random.default_rng(3).zipf(2.2, 3000)
    tail = values[values >= 4]
    best = minimize_scalar(
        lambda a: len(tail) * np.log(zeta(a, 4)) + a * np.log(tail).sum(), bounds=(1.01, 6), method="bounded"
    )
    assert analysis.fit_power_law(values, kmin=4).exponent == pytest.approx(best.x, abs=1e-4)


def test_power_law_bootstrap_tells_power_law_from_poisson():
    rng = np.random.default_rng(0)
    assert analysis.fit_power_law(rng.zipf(2.5, 500), kmin=1, bootstrap=40, seed=0).p > 0.1
    assert analysis.fit_power_law(1 + rng.poisson(5, 500), kmin=1, bootstrap=40, seed=0).p < 0.05


def test_power_law_refusals():
    with pytest.raises(StructureError, match="at least 50 values in the tail, got 49"):
        analysis.fit_power_law(np.arange(1, 50))
    with pytest.raises(StructureError, match="at least two different values"):
        analysis.fit_power_law(np.full(200, 3))
    with pytest.raises(StructureError, match=r"falls faster than k\^-20 from 100 on"):
        analysis.fit_power_law(np.repeat([100, 101], [500, 1]), kmin=100)
    with pytest.raises(ArgumentError, match="integers >= 0, got negative or fractional"):
        analysis.fit_power_law([1.5, 2.0])
    with pytest.raises(ArgumentError, match="kmin must be at least 1, got 0"):
        analysis.fit_power_law([1, 2], kmin=0)
    with pytest.raises(ArgumentError, match="bootstrap must be a number of samples >= 0, got -1"):
        analysis.fit_power_law([1, 2], bootstrap=-1)


def test_gini_of_known_values():
    assert analysis.gini([1, 2, 3]) == pytest.approx(2 / 9)
    assert analysis.gini(np.r_[np.zeros(99), 1]) == pytest.approx(0.99)
    assert analysis.gini([0, 0]) == 0.0
    assert math.isnan(analysis.gini([]))
    with pytest.raises(ArgumentError, match=r'finite values >= 0, got values in \[-1\.0, 2\.0\].*weight="abs"'):
        analysis.gini([2, -1])


@each_graph
@pytest.mark.parametrize("direction", ["in", "out"])
def test_fan_by_stage_is_the_spread_of_each_stage(view, direction):
    counts = view.fan_in if direction == "in" else view.fan_out
    ends = view.is_input if direction == "in" else view.is_output
    by_stage = analysis.fan_by_stage(view, direction)
    assert list(by_stage) == view.stages.tolist()
    for stage, summary in by_stage.items():
        units = counts[(view.stage == stage) & ~ends]
        assert summary.units == len(units)
        if len(units):
            expected = (units.mean(), units.std(), units.max(), analysis.gini(units))
            got = (summary.mean, summary.sd, summary.maximum, summary.gini)
            assert got == pytest.approx(expected, abs=1e-7)
        else:
            assert math.isnan(summary.gini)
            assert math.isnan(summary.maximum)
    whole = analysis.fan(view, direction)
    assert whole.gini == pytest.approx(analysis.gini(counts[~ends]))


def test_strength_and_sign_balance():
    view = EdgeArrays.from_arrays([0, 1, 0], [2, 2, 1], 3, weight=[0.5, -2.0, 0.0])
    assert view.weight.tolist() == [0.0, 0.5, -2.0]  # canonical order
    assert analysis.strength(view).tolist() == [0.0, 0.0, 2.5]
    assert analysis.strength(view, "total", "weight").tolist() == [0.5, -2.0, -1.5]
    assert analysis.sign_balance(view) == 0.0
    assert analysis.fan(view, "in", weight="abs").maximum == 2.5
    with pytest.raises(ArgumentError, match='weight must be None, "weight" or "abs", got \'size\''):
        analysis.strength(view, weight="size")
    with pytest.raises(MissingColumnError, match='needs the edge column "weight", and the graph has none'):
        analysis.sign_balance(GRAPHS["tree"])


def test_density_counts_matrices_or_pairs():
    view = layered([4, 6, 3], 0.5, 0)
    assert analysis.admissible_pairs(view) == 24 + 18
    assert analysis.admissible_pairs(view, "all") == 24 + 18 + 12
    assert analysis.density(view) == view.num_edges / 42
    skip = EdgeArrays.from_arrays([0, 1, 0], [1, 2, 2], 3)
    assert (analysis.density(skip), analysis.skip_share(skip)) == (1.0, pytest.approx(1 / 3))
    assert (analysis.depth(skip), analysis.num_stages(skip)) == (2, 3)
    with pytest.raises(ArgumentError, match='admissible must be "auto", "adjacent" or "all", got \'some\''):
        analysis.density(view, "some")


def test_depth_can_be_less_than_the_stages():
    view = EdgeArrays.from_arrays([0], [1], 3, stage=[0, 5, 7])
    assert (analysis.depth(view), analysis.num_stages(view), analysis.mean_skip_length(view)) == (1, 3, 1.0)


def test_cost_counts_numbers_operations_and_bytes():
    view = layered([8, 4], 1.0, 0)
    cost = analysis.network_cost(view)
    assert (cost.parameters, cost.flops) == (32 + 4, 64)
    assert (cost.bytes_csr, cost.bytes_bitmask, cost.bytes_dense) == (32 * 8 + 13 * 8, 32 * 4 + 4, 32 * 4)
    assert analysis.bytes_csr(view, value_bytes=2) == 32 * 6 + 13 * 8
    with pytest.raises(ArgumentError, match="value_bytes must be at least 1, got 0"):
        analysis.bytes_dense(view, 0)
    with pytest.raises(ArgumentError, match="storage must be one of csr, bitmask, dense, got 'coo'"):
        analysis.weight_bytes(view, "coo")


def test_dense_pairs_are_left_out_unless_all_are():
    sparse_then_dense = layered([30, 20, 10], 0.1, 0)
    row, column = np.divmod(np.arange(200), 10)
    inside = sparse_then_dense.stage[sparse_then_dense.dst] == 1
    view = EdgeArrays.from_arrays(
        np.r_[sparse_then_dense.src[inside], 30 + row],
        np.r_[sparse_then_dense.dst[inside], 50 + column],
        60,
        stage=sparse_then_dense.stage,
    )
    thin, left_out = analysis.without_dense_pairs(view)
    assert left_out == ["1-2 (density 1.00)"]
    assert thin.num_edges == int(inside.sum())
    whole, nothing = analysis.without_dense_pairs(layered([10, 10], 1.0, 0))
    assert (whole.num_edges, nothing) == (100, [])
    with pytest.raises(ArgumentError, match=r"limit must be a density in \[0, 1\], got 2"):
        analysis.without_dense_pairs(view, 2)


EMPTY = EdgeArrays.from_arrays([], [], 0)
SINGLE = EdgeArrays.from_arrays([], [], 1)
LOOSE = EdgeArrays.from_arrays([], [], 5)


@pytest.mark.parametrize("view", [EMPTY, SINGLE, LOOSE], ids=["empty", "single", "loose"])
def test_graphs_without_edges(view):
    row = analysis.features(view, seed=0)
    zeros = ["edges", "depth", "density", "effective_edges", "butterflies", "max_core", "flops", "dead_neurons"]
    assert [row[name] for name in zeros] == [0.0] * len(zeros)
    assert row["components"] == view.num_nodes
    assert row["log_paths"] == -math.inf
    for name in ("path_length_mean", "modularity", "assortativity", "bipartite_clustering", "ramanujan_gap"):
        assert math.isnan(row[name]), name


def test_arrays_refuse_what_is_no_graph():
    with pytest.raises(EdgeError, match="each pair once, got 1 duplicated"):
        EdgeArrays.from_arrays([0, 0], [1, 1], 2)
    with pytest.raises(CycleError, match="got a cycle of 2 edges"):
        EdgeArrays.from_arrays([0, 1], [1, 0], 2)
    with pytest.raises(StructureError, match="every edge must go up in stage, got 0 -> 1 from stage 1 to 1"):
        EdgeArrays.from_arrays([0], [1], 2, stage=[1, 1])
    with pytest.raises(ShapeError, match=r"stage must have one entry per node \(2,\), got shape \(3,\)"):
        EdgeArrays.from_arrays([0], [1], 2, stage=[0, 1, 2])
    with pytest.raises(ShapeError, match=r"weight must have one entry per edge \(1,\), got \(2,\)"):
        EdgeArrays.from_arrays([0], [1], 2, weight=[1.0, 2.0])
    with pytest.raises(DtypeError, match=r"networkx.*DiGraph; convert a networkx graph with"):
        analysis.density(nx.DiGraph([(0, 1)]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: analysis.path_lengths(v, sources=1), "sources must be at least 2, to state an error, got 1"),
        (lambda v: analysis.degrees(v, "up"), 'direction must be "in", "out" or "total", got \'up\''),
        (lambda v: analysis.fan(v, "total"), 'direction must be "in" or "out", got \'total\''),
        (lambda v: analysis.rich_club(v, 0), r"share must be in \(0, 1\], got 0"),
        (lambda v: analysis.modularity(v, library="igraph"), "library must be .*, got 'igraph'"),
        (lambda v: analysis.modularity_of(v, np.zeros(3)), r"one entry per node \(40,\), got shape \(3,\)"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ArgumentError, match=message):
        call(GRAPHS["tree"])

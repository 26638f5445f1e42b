"""Each family of priors: its definition, networkx as the independent reference, and its bad arguments."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, TooLargeError
from deepgraph.priors import (
    balanced_tree,
    barabasi_albert,
    edge_counts,
    erdos_renyi_dag,
    from_networkx,
    grid_2d,
    newman_watts_strogatz,
    random_layered,
    watts_strogatz,
)


def undirected(graph: nx.Graph) -> set[frozenset[Any]]:
    return {frozenset(edge) for edge in graph.edges}


# -- trees ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("r", "h"), [(1, 0), (1, 5), (2, 0), (2, 4), (3, 3), (5, 2)])
def test_tree_is_networkxs(r: int, h: int) -> None:
    expected = nx.balanced_tree(r, h, create_using=nx.DiGraph)
    out, inward = balanced_tree(r, h), balanced_tree(r, h, "in")
    assert set(out.edges) == set(expected.edges)
    assert set(inward.edges) == set(expected.reverse().edges)
    assert out.stage_array().tolist() == [nx.shortest_path_length(expected, 0, v) for v in expected]
    assert (out.stage_array() + inward.stage_array() == h).all()


def test_tree_roles() -> None:
    out, inward = balanced_tree(2, 2), balanced_tree(2, 2, "in")
    assert out.input_positions().tolist() == inward.output_positions().tolist() == [0]
    assert out.output_positions().tolist() == inward.input_positions().tolist() == [3, 4, 5, 6]
    assert balanced_tree(3, 0).role_array().tolist() == ["input/output"]


def test_tree_refuses() -> None:
    with pytest.raises(ArgumentError, match="r >= 1 children and height h >= 0; got r=0, h=2"):
        balanced_tree(0, 2)
    with pytest.raises(ArgumentError, match="got r=2, h=-1"):
        balanced_tree(2, -1)
    with pytest.raises(ArgumentError, match=r"direction must be 'out' .* got 'up'"):
        balanced_tree(2, 2, "up")  # type: ignore[arg-type]
    for r, h in ((2, 31), (2, 10**9), (1, 2**31), (10**6, 2)):
        with pytest.raises(TooLargeError, match=f"r={r}, h={h} has more than 2,147,483,647 nodes"):
            balanced_tree(r, h)


# -- grids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 6), (5, 1), (4, 7)])
def test_grid_is_networkxs(rows: int, columns: int) -> None:
    expected = nx.relabel_nodes(nx.grid_2d_graph(rows, columns), lambda node: node[0] * columns + node[1])
    g = grid_2d(rows, columns)
    assert undirected(g) == undirected(expected)
    assert g.stage_array().tolist() == g.layer_array().tolist()


def test_grid_has_as_many_paths_as_the_binomial() -> None:
    assert sum(1 for _ in nx.all_simple_paths(grid_2d(5, 4), 0, 19)) == 35
    # With diagonals: the Delannoy number D(3, 3).
    assert sum(1 for _ in nx.all_simple_paths(grid_2d(4, 4, diagonal=True), 0, 15)) == 63


def test_grid_refuses() -> None:
    with pytest.raises(ArgumentError, match="at least one row and one column; got rows=0, columns=3"):
        grid_2d(0, 3)
    with pytest.raises(TooLargeError, match="100000 x 100000 has more than"):
        grid_2d(10**5, 10**5)


# -- small worlds and scale-free graphs -----------------------------------------------------------------------------


def test_small_worlds_and_scale_free_are_networkxs() -> None:
    assert undirected(watts_strogatz(60, 4, 0.3, seed=7)) == undirected(nx.watts_strogatz_graph(60, 4, 0.3, seed=7))
    assert undirected(newman_watts_strogatz(60, 4, 0.3, seed=7)) == undirected(
        nx.newman_watts_strogatz_graph(60, 4, 0.3, seed=7)
    )
    assert undirected(barabasi_albert(60, 3, seed=7)) == undirected(nx.barabasi_albert_graph(60, 3, seed=7))


def test_priors_are_oriented_by_from_networkx() -> None:
    expected = from_networkx(nx.watts_strogatz_graph(60, 4, 0.3, seed=7), "auto", seed=7)
    g = watts_strogatz(60, 4, 0.3, seed=7)
    assert set(g.edges) == set(expected.edges)
    assert g.graph["orientation"] == expected.graph["orientation"]
    assert g.stage_array().tolist() == expected.layer_array().tolist()


def test_barabasi_albert_in_stored_order_grows() -> None:
    g = barabasi_albert(300, 2, seed=0, orientation="stored")
    assert all(u < v for u, v in g.edges)
    assert all(degree == 2 for node, degree in g.in_degree if node > 2)
    assert max(degree for _, degree in g.out_degree) > 20


def test_one_node_and_no_neighbours() -> None:
    assert len(watts_strogatz(1, 0, 0.5, seed=0)) == 1
    assert newman_watts_strogatz(5, 1, 0.5, seed=0).number_of_edges() == 0
    assert list(barabasi_albert(2, 1, seed=0, orientation="stored").edges) == [(0, 1)]


@pytest.mark.parametrize("prior", [watts_strogatz, newman_watts_strogatz])
def test_small_worlds_refuse(prior: Any) -> None:
    with pytest.raises(ArgumentError, match="n must be at least 1, the number of nodes; got 0"):
        prior(0, 2, 0.1)
    with pytest.raises(ArgumentError, match=r"k must lie in \[0, n\).* got k=10 with n=10"):
        prior(10, 10, 0.1)
    with pytest.raises(ArgumentError, match="got k=-2"):
        prior(10, -2, 0.1)
    for p in (-0.1, 1.1, float("nan")):
        with pytest.raises(ArgumentError, match=r"p must lie in \[0, 1\]"):
            prior(10, 4, p)
    with pytest.raises(ArgumentError, match="seed must be an int >= 0"):
        prior(10, 4, 0.1, seed=-1)


def test_barabasi_albert_refuses() -> None:
    with pytest.raises(ArgumentError, match="n must be at least 2, the number of nodes; got 1"):
        barabasi_albert(1, 1)
    for m in (0, 5):
        with pytest.raises(ArgumentError, match=rf"m must lie in \[1, n\).* got m={m} with n=5"):
            barabasi_albert(5, m)


# -- Erdos-Renyi ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 10, 200])
def test_erdos_renyi_of_density_one_is_the_tournament(n: int) -> None:
    assert set(erdos_renyi_dag(n, 1.0, seed=0).edges) == {(i, j) for j in range(n) for i in range(j)}


def test_erdos_renyi_numbers_pairs_right_at_the_limits_of_floats() -> None:
    from deepgraph.priors.random_graphs import pair_of_cell

    high = np.array([2, 3, 10**6, 2**26 + 1, 10**8, 2**31 - 1], dtype=np.int64)
    first, last = high * (high - 1) // 2, high * (high + 1) // 2 - 1
    for cell, low in ((first, np.zeros_like(high)), (last, high - 1)):
        found = pair_of_cell(cell)
        assert found[0].tolist() == low.tolist()
        assert found[1].tolist() == high.tolist()


def test_erdos_renyi_is_uniform_over_pairs() -> None:
    counts = np.zeros((8, 8))
    for seed in range(400):
        src, dst = erdos_renyi_dag(8, 0.25, seed=seed).edge_arrays()
        counts[src, dst] += 1
    assert counts.sum() == 400 * 7
    assert stats.chisquare(counts[np.triu_indices(8, 1)]).pvalue > 0.001


def test_erdos_renyi_p_draws_a_binomial_number() -> None:
    edges = [erdos_renyi_dag(100, p=0.1, seed=seed).number_of_edges() for seed in range(100)]
    assert abs(np.mean(edges) - 495) < 4 * np.sqrt(495 * 0.9 / 100)
    assert len(set(edges)) > 10
    assert erdos_renyi_dag(50, p=0.0, seed=0).number_of_edges() == 0


def test_erdos_renyi_large_and_thin() -> None:
    g = erdos_renyi_dag(100_000, p=1e-6, seed=0)
    assert 4000 < g.number_of_edges() < 6000


def test_erdos_renyi_refuses() -> None:
    with pytest.raises(ArgumentError, match="n must be at least 1, the number of nodes; got 0"):
        erdos_renyi_dag(0, 0.1)
    for density in (0.0, 1.5, float("nan")):
        with pytest.raises(ArgumentError, match=r"density must lie in \(0, 1\]"):
            erdos_renyi_dag(5, density)
    with pytest.raises(ArgumentError, match=r"p must lie in \[0, 1\], a probability; got 2"):
        erdos_renyi_dag(5, p=2)
    for arguments in ({}, {"density": 0.1, "p": 0.1}):
        with pytest.raises(ArgumentError, match="give either density"):
            erdos_renyi_dag(5, **arguments)


# -- layered --------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=6),
    st.floats(0.01, 1),
    st.sampled_from(["uniform", "er", "erk", "igq"]),
    st.integers(0, 5),
)
def test_layered_has_the_exact_number_between_layers(
    sizes: list[int], density: float, distribution: Any, skip: int
) -> None:
    g = random_layered(sizes, density, seed=0, distribution=distribution, skip=skip)
    stage = g.stage_array()
    assert np.bincount(stage).tolist() == sizes
    pairs = [(i, j) for i in range(len(sizes)) for j in range(i + 1, min(i + 2 + skip, len(sizes)))]
    counts = edge_counts([(sizes[j], sizes[i]) for i, j in pairs], density, distribution)
    src, dst = g.edge_arrays()
    found = np.zeros((len(sizes), len(sizes)), dtype=int)
    np.add.at(found, (stage[src], stage[dst]), 1)
    assert [found[i, j] for i, j in pairs] == counts.tolist()
    assert found.sum() == counts.sum() == g.number_of_edges()


def test_layered_takes_one_density_per_pair() -> None:
    g = random_layered([10, 20, 5], [0.1, 1.0], seed=0)
    stage, (src, _) = g.stage_array(), g.edge_arrays()
    assert np.bincount(stage[src]).tolist() == [20, 100]


def test_layered_roles_and_a_single_layer() -> None:
    g = random_layered([2, 3, 1], 0.2, seed=0)
    assert g.role_array().tolist() == ["input"] * 2 + ["hidden"] * 3 + ["output"]
    single = random_layered([3], 0.5, seed=0)
    assert single.number_of_edges() == 0
    assert single.role_array().tolist() == ["input/output"] * 3


def test_layered_is_uniform_over_pairs() -> None:
    counts = np.zeros((3, 4))
    for seed in range(500):
        src, dst = random_layered([3, 4], 0.25, seed=seed).edge_arrays()
        counts[src, dst - 3] += 1
    assert stats.chisquare(counts.ravel()).pvalue > 0.001


def test_layered_with_many_layers_and_large_pairs() -> None:
    assert random_layered([1] * 5000, 1.0, seed=0).number_of_edges() == 4999
    assert random_layered([10**6, 10**6], 1e-8, seed=0).number_of_edges() == 10_000


def test_layered_refuses() -> None:
    for sizes in ([], [3, 0]):
        with pytest.raises(ShapeError, match="at least one layer, each of at least one node; got"):
            random_layered(sizes, 0.5)
    with pytest.raises(ArgumentError, match=r"skip must be at least 0.* got -1"):
        random_layered([2, 2], 0.5, skip=-1)
    for density in (0.0, 1.5, [0.5, 0.0]):
        with pytest.raises(ArgumentError, match=r"density must lie in \(0, 1\]"):
            random_layered([2, 2, 2], density)
    with pytest.raises(ArgumentError, match=r"density must lie in \(0, 1\]"):
        random_layered([2], 0.0)
    with pytest.raises(ShapeError, match=r"one for each of 2 pairs of layers; got \(3,\)"):
        random_layered([2, 2, 2], [0.5] * 3)
    with pytest.raises(DtypeError, match=r"sizes must be ints, one for each layer; got \[2, 2.5\]"):
        random_layered([2, 2.5], 0.5)  # type: ignore[list-item]

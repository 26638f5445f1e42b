"""Priors whose nodes come in groups: stochastic blocks, blown-up themes, relational graphs, cells."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgraph.analysis import flops
from deepgraph.errors import ArgumentError, CycleError, DtypeError, ShapeError, StructureError, UnknownNodeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors import (
    barabasi_albert,
    blow_up,
    cell,
    erdos_renyi_dag,
    from_networkx,
    matching_width,
    random_layered,
    random_wiring,
    relational,
    relational_flops,
    shared_out,
    stochastic_block,
    watts_strogatz,
)

THEME = nx.DiGraph([("in", "a"), ("in", "b"), ("a", "out"), ("b", "out"), ("in", "out")])


def between(g: CachedLayeredGraph, column: str) -> np.ndarray:
    """Return the number of edges from group to group."""
    group, (src, dst) = g.node_column(column), g.edge_arrays()
    counts = np.zeros((group.max() + 1,) * 2, dtype=int)
    np.add.at(counts, (group[src], group[dst]), 1)
    return counts


# -- stochastic blocks ----------------------------------------------------------------------------------------------


def test_blocks_have_their_probabilities() -> None:
    p = np.array([[0.3, 0.05, 0.0], [0.05, 0.1, 0.2], [0.0, 0.2, 1.0]])
    sizes = np.array([60, 80, 9])
    runs = [stochastic_block(sizes.tolist(), p, seed=seed) for seed in range(20)]
    counts = sum(between(g, "block") for g in runs) / 20
    pairs = np.triu(np.outer(sizes, sizes), 1) + np.diag(sizes * (sizes - 1) // 2)
    found = np.triu(counts + counts.T, 1) + np.diag(np.diag(counts))
    error = np.sqrt(pairs * p * (1 - p) / 20)
    assert (np.abs(found - pairs * p) <= 4 * error).all()
    assert len({g.number_of_edges() for g in runs}) > 10


def test_blocks_in_stored_order_point_forwards() -> None:
    g = stochastic_block([20, 30], [[0.2, 0.3], [0.3, 0.2]], seed=0, orientation="stored")
    assert all(u < v for u, v in g.edges)
    assert g.node_column("block").tolist() == [0] * 20 + [1] * 30
    shuffled = stochastic_block([20, 30], [[0.2, 0.3], [0.3, 0.2]], seed=0)
    assert {frozenset(e) for e in shuffled.edges} == {frozenset(e) for e in g.edges}
    assert between(shuffled, "block")[1, 0] > 0


def test_one_block_is_erdos_renyi() -> None:
    edges = [stochastic_block([60], [[0.1]], seed=seed).number_of_edges() for seed in range(60)]
    assert abs(np.mean(edges) - 177) < 4 * np.sqrt(177 * 0.9 / 60)


def test_blocks_refuse() -> None:
    with pytest.raises(ShapeError, match=r"p must be \(2, 2\), one row for each block; got \(1, 2\)"):
        stochastic_block([2, 2], [[0.1, 0.2]])
    with pytest.raises(ShapeError, match="at least one block"):
        stochastic_block([], [])
    for value in (-0.1, 1.1, float("nan")):
        with pytest.raises(ArgumentError, match=r"p must lie in \[0, 1\], probabilities"):
            stochastic_block([2], [[value]])
    with pytest.raises(ArgumentError, match="p must be symmetric"):
        stochastic_block([2, 2], [[0.1, 0.2], [0.3, 0.1]])


# -- themes ---------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8), st.integers(0, 10**6))
def test_shares_sum_and_nobody_goes_without(proportions: list[float], extra: int) -> None:
    if not any(proportions):
        proportions[0] = 1.0
    total = len(proportions) + extra
    counts = shared_out(total, proportions)
    assert counts.sum() == total
    assert counts.min() >= 1
    # Those above the least share keep their ratios up to rounding.
    share, above = np.array(proportions), counts > 1
    if above.any() and share[above].sum() > 0:
        exact = share[above] / share[above].sum() * counts[above].sum()
        assert (np.abs(exact - counts[above]) <= 1 + len(share)).all()


def test_shares_of_extreme_numbers() -> None:
    assert shared_out(10, [5e-324, 5e-324]).tolist() == [5, 5]
    assert shared_out(10, [1e308, 1e308, 1e-300]).tolist() == [5, 4, 1]


def test_shares_refuse() -> None:
    for proportions in ([], [0.0, 0.0], [1.0, -1.0], [1.0, float("inf")]):
        with pytest.raises(ArgumentError, match="proportions must be finite numbers >= 0, not all 0"):
            shared_out(5, proportions)
    with pytest.raises(ArgumentError, match="2 nodes are too few for 3 groups"):
        shared_out(2, [1, 1, 1])


def test_theme_edges_become_pairs_of_groups() -> None:
    g = blow_up(THEME, {"out": 2, "in": 4, "a": 3, "b": 5})
    expected = np.zeros((4, 4), dtype=int)
    expected[0, 1:] = [12, 20, 8]
    expected[1:3, 3] = [6, 10]
    assert (between(g, "group") == expected).all()
    assert np.bincount(g.node_column("group")).tolist() == [4, 3, 5, 2]
    assert g.stage_array().tolist() == [0] * 4 + [1] * 8 + [2] * 2
    assert g.input_positions().tolist() == [0, 1, 2, 3]


def test_theme_at_any_size_has_the_densities() -> None:
    for total in (40, 400):
        g = blow_up(THEME, [1, 2, 1, 1], [0.5, 0.25, 1.0, 0.1, 0.2], num_nodes=total, seed=0)
        unit = total // 5
        counts = between(g, "group")
        pairs = [(0, 1, 1.0), (0, 2, 0.5), (0, 3, 0.5), (1, 3, 0.0), (2, 3, 0.0)]
        densities = [0.5, 0.25, 1.0, 0.1, 0.2]
        sizes = np.array([unit, 2 * unit, unit, unit])
        for (u, v, _), density in zip(pairs, densities, strict=True):
            assert counts[u, v] == round(density * sizes[u] * sizes[v])
    assert blow_up(THEME, [3] * 4, 0.4, seed=0).number_of_edges() == 18


def test_a_path_blown_up_is_a_layered_graph() -> None:
    g = blow_up(nx.path_graph(3, create_using=nx.DiGraph), [8, 6, 4], 0.5, seed=0, distribution="er")
    plain = random_layered([8, 6, 4], 0.5, seed=0, distribution="er")
    assert (between(g, "group") == between_stages(plain)).all()


def between_stages(g: CachedLayeredGraph) -> np.ndarray:
    g = g.copy()
    g.set_node_column("group", g.stage_array())
    return between(g, "group")


def test_theme_keeps_declared_roles_and_stages() -> None:
    theme = random_layered([2, 3, 1], 1.0, seed=0)
    g = blow_up(theme, [2] * 6)
    assert g.role_array().tolist() == ["input"] * 4 + ["hidden"] * 6 + ["output"] * 2
    assert g.stage_array().tolist() == [0] * 4 + [1] * 6 + [2] * 2


def test_undirected_theme_is_directed_by_the_seed() -> None:
    theme = nx.cycle_graph(6)
    orders = {tuple(map(tuple, between(blow_up(theme, [2] * 6, seed=seed), "group"))) for seed in range(8)}
    assert len(orders) > 4


def test_themes_refuse() -> None:
    with pytest.raises(CycleError, match="got a cycle of 2 edges"):
        blow_up(nx.DiGraph([(0, 1), (1, 0)]), [1, 1])
    with pytest.raises(UnknownNodeError, match=r"sizes names nodes that the theme does not have: \['c'\]"):
        blow_up(THEME, {"in": 1, "a": 1, "b": 1, "out": 1, "c": 2})
    with pytest.raises(ShapeError, match=r"sizes must name each of the 4 nodes; it lacks \['a', 'b'\]"):
        blow_up(THEME, {"in": 1, "out": 1})
    with pytest.raises(ShapeError, match="one number for each of the 4 nodes; got 2"):
        blow_up(THEME, [1, 2])
    with pytest.raises(DtypeError, match="sizes must be ints, one for each group"):
        blow_up(THEME, [1, 2, 1.5, 1])
    with pytest.raises(ShapeError, match="each of at least one node"):
        blow_up(THEME, [1, 2, 0, 1])
    with pytest.raises(ShapeError, match=r"density must be one number or one for each of 5 pairs .* got \(2,\)"):
        blow_up(THEME, [1, 2, 1, 1], [0.1, 0.2])


# -- relational graphs ----------------------------------------------------------------------------------------------


def test_relational_graph_of_a_complete_graph_is_dense_and_of_an_empty_one_apart() -> None:
    dense = relational(nx.complete_graph(4), [10, 8, 6])
    assert dense.number_of_edges() == 128
    apart = relational(nx.empty_graph(4), [10, 8, 6])
    assert nx.number_weakly_connected_components(apart) == 4


def test_messages_follow_the_graph_in_every_round() -> None:
    G = nx.Graph([("x", "y"), ("y", "z")])
    g = relational(G, [7, 3, 5])
    assert np.bincount(g.stage_array()).tolist() == [7, 3, 5]
    group = g.node_column("group")
    assert group.tolist() == [0, 0, 0, 1, 1, 2, 2, 0, 1, 2, 0, 0, 1, 1, 2]
    joined = {(int(group[u]), int(group[v])) for u, v in g.edges}
    assert joined == {(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2)}
    # Every neuron of a group reads all neurons of all neighbouring groups.
    held = np.array([3, 2, 2])
    adjacency = nx.to_numpy_array(G, dtype=int) + np.eye(3, dtype=int)
    assert [g.in_degree(7 + v) for v in range(3)] == (held @ adjacency).tolist()


def test_self_loops_of_the_graph_count_once() -> None:
    looped = nx.cycle_graph(4)
    looped.add_edge(0, 0)
    assert relational(looped, 8, 2).digest() == relational(nx.cycle_graph(4), 8, 2).digest()


@given(st.integers(1, 8), st.floats(0, 1), st.lists(st.integers(8, 20), min_size=2, max_size=4))
def test_flops_are_those_of_the_network(n: int, p: float, width: list[int]) -> None:
    G = nx.gnp_random_graph(n, p, seed=0)
    assert relational_flops(G, width) == 2 * relational(G, width).number_of_edges() == flops(relational(G, width))
    assert relational_flops(G, width, None, 5, 3) == relational_flops(G, width) + 2 * (5 * width[0] + 3 * width[-1])


@given(st.integers(1, 12), st.floats(0, 1), st.integers(1, 4), st.integers(0, 30), st.floats(1, 50))
def test_matching_width_is_the_closest(n: int, p: float, rounds: int, outer: int, more: float) -> None:
    G = nx.gnp_random_graph(n, p, seed=1)
    wanted = int(relational_flops(G, n, rounds, outer, outer) * more)
    width = matching_width(G, wanted, rounds, outer, outer)

    def off(other: int) -> int:
        return abs(relational_flops(G, other, rounds, outer, outer) - wanted)

    assert width >= n
    assert off(width) <= off(width + 1)
    assert width == n or off(width) < off(width - 1)


def test_relational_refuses() -> None:
    with pytest.raises(StructureError, match="expected an undirected graph"):
        relational(nx.DiGraph([(0, 1)]), 4, 2)
    with pytest.raises(StructureError, match="at least one node; got an empty one"):
        relational(nx.Graph(), 4, 2)
    with pytest.raises(ArgumentError, match="rounds must be at least 1 when width is one number; got rounds=None"):
        relational(nx.cycle_graph(3), 4)
    with pytest.raises(ShapeError, match=r"rounds \+ 1 >= 2 layers; got 1 of them with rounds=None"):
        relational(nx.cycle_graph(3), [4])
    with pytest.raises(ShapeError, match=r"rounds \+ 1 >= 2 layers; got 2 of them with rounds=3"):
        relational(nx.cycle_graph(3), [4, 5], rounds=3)
    with pytest.raises(ArgumentError, match="one neuron for each of the 5 nodes; got a layer of 4"):
        relational(nx.cycle_graph(5), [6, 4])
    with pytest.raises(DtypeError, match="sizes must be ints"):
        relational(nx.cycle_graph(3), 4.5, 2)  # type: ignore[arg-type]
    with pytest.raises(DtypeError, match="flops must be an int; got float"):
        matching_width(nx.cycle_graph(3), 1e6, 2)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="flops=10 is less than the narrowest network costs, 36 with one neuron"):
        matching_width(nx.cycle_graph(3), 10, 2)


# -- cells ----------------------------------------------------------------------------------------------------------


@given(st.integers(1, 20), st.floats(0, 1), st.integers(0, 99))
def test_every_node_of_a_cell_lies_on_a_path(n: int, p: float, seed: int) -> None:
    g = cell(nx.gnp_random_graph(n, p, seed=seed), "random", seed=seed)
    assert g.input_positions().tolist() == [0]
    assert g.output_positions().tolist() == [n + 1]
    assert len(nx.descendants(g, 0)) == len(nx.ancestors(g, n + 1)) == n + 1
    assert g.number_of_edges() >= n + 1


@pytest.mark.parametrize(
    ("model", "inner"),
    [
        ("ws", lambda seed: watts_strogatz(32, 4, 0.75, seed=seed, orientation="stored")),
        ("ba", lambda seed: barabasi_albert(32, 5, seed=seed, orientation="stored")),
        ("er", lambda seed: erdos_renyi_dag(32, p=0.2, seed=seed)),
    ],
)
def test_random_wiring_is_the_model_between_two_nodes(model: Any, inner: Any) -> None:
    g, expected = random_wiring(32, model, seed=3), inner(3)
    assert {(u - 1, v - 1) for u, v in g.edges if u > 0 and v < 33} == set(expected.edges)
    assert set(g.successors(0)) == {v + 1 for v, degree in expected.in_degree if degree == 0}
    assert set(g.predecessors(33)) == {v + 1 for v, degree in expected.out_degree if degree == 0}
    assert all(u < v for u, v in g.edges)


def test_cell_of_a_directed_graph_keeps_it() -> None:
    inner = from_networkx(nx.DiGraph([("a", "b"), ("c", "b")]))
    assert sorted(cell(inner).edges) == [(0, 1), (0, 3), (1, 2), (2, 4), (3, 2)]


def test_cells_refuse() -> None:
    with pytest.raises(StructureError, match="at least one node; got an empty one"):
        cell(nx.Graph())
    with pytest.raises(ArgumentError, match="model must be 'ws', 'ba' or 'er'; got 'star'"):
        random_wiring(8, "star")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"m must lie in \[1, n\)"):
        random_wiring(4, "ba", seed=0)

"""Grids of any dimension, triangular lattices, rings and small worlds: networkx and closed forms as references."""

from __future__ import annotations

import math
import random
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgraph.errors import ArgumentError, DtypeError, TooLargeError
from deepgraph.priors import (
    barabasi_albert,
    circulant,
    from_networkx,
    grid,
    grid_2d,
    hypercube,
    newman_watts_strogatz,
    ring,
    triangular,
    watts_strogatz,
    ws_flex,
)


def undirected(graph: nx.Graph) -> set[frozenset[Any]]:
    return {frozenset(edge) for edge in graph.edges}


# -- grids ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [[1], [7], [3, 1], [4, 5], [2, 3, 4], [3, 3, 2, 2]])
def test_grid_is_networkxs(shape: list[int]) -> None:
    expected = nx.grid_graph(tuple(reversed(shape)))
    labels = {node: int(np.ravel_multi_index(np.atleast_1d(node), shape)) for node in expected}
    g = grid(shape)
    assert undirected(g) == undirected(nx.relabel_nodes(expected, labels))
    assert len(g) == math.prod(shape)
    assert g.stage_array().tolist() == g.layer_array().tolist() == np.indices(shape).sum(axis=0).ravel().tolist()


def test_grid_of_two_dimensions_is_grid_2d() -> None:
    assert grid([4, 6]).digest() == grid_2d(4, 6).digest()


def test_hypercube_is_the_lattice_of_subsets() -> None:
    g = hypercube(5)
    assert set(g.edges) == {(u, u | 1 << bit) for u in range(32) for bit in range(5) if not u >> bit & 1}
    assert np.bincount(g.layer_array()).tolist() == [1, 5, 10, 10, 5, 1]
    assert sum(1 for _ in nx.all_simple_paths(hypercube(4), 0, 15)) == math.factorial(4)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (2, 1), (2, 3), (5, 4), (4, 7), (6, 5)])
def test_triangular_is_networkxs(rows: int, columns: int) -> None:
    expected = nx.triangular_lattice_graph(rows, columns)
    order = sorted(expected, key=lambda node: (node[1], node[0]))
    g = triangular(rows, columns)
    assert undirected(g) == undirected(nx.relabel_nodes(expected, {node: i for i, node in enumerate(order)}))
    assert all(u < v for u, v in g.edges)
    assert g.input_positions().tolist() == [0]


def test_grids_refuse() -> None:
    for shape in ([], [3, 0]):
        with pytest.raises(ArgumentError, match="at least one axis, each of at least one node; got"):
            grid(shape)
    with pytest.raises(DtypeError, match=r"shape must be ints, one for each axis; got \[2.5\]"):
        grid([2.5])  # type: ignore[list-item]
    with pytest.raises(TooLargeError, match=r"shape \[2000, 2000, 2000\] has more than"):
        grid([2000] * 3)
    with pytest.raises(ArgumentError, match="dimension must be at least 1; got 0"):
        hypercube(0)
    with pytest.raises(TooLargeError, match=r"hypercube of dimension 31 has more than .* take at most 30"):
        hypercube(31)
    with pytest.raises(ArgumentError, match="needs rows >= 1 and columns >= 1; got 2 and 0"):
        triangular(2, 0)
    with pytest.raises(TooLargeError, match="lattice of 100000 x 100000 has more than"):
        triangular(10**5, 10**5)


# -- rings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "offsets"), [(1, []), (2, [1]), (7, [1, 3]), (8, [2, 4]), (12, [1, 5, 6])])
def test_circulant_is_networkxs(n: int, offsets: list[int]) -> None:
    assert undirected(circulant(n, offsets, seed=0)) == undirected(nx.circulant_graph(n, offsets))


def test_ring_is_the_start_of_watts_strogatz() -> None:
    assert ring(30, 4, seed=5).digest() == watts_strogatz(30, 4, 0.0, seed=5).digest()
    assert ring(1, 0).number_of_edges() == 0


def test_ring_breadth_first_goes_both_ways_round() -> None:
    g = ring(40, orientation="bfs")
    assert (g.num_layers, g.graph["orientation"]["sources"], g.graph["orientation"]["sinks"]) == (21, 1, 1)


def test_rings_refuse() -> None:
    with pytest.raises(ArgumentError, match="n must be at least 1"):
        circulant(0, [])
    for offsets in ([0], [4], [1, 1]):
        with pytest.raises(ArgumentError, match=r"distinct and lie in \[1, 3\], half of n=7; got"):
            circulant(7, offsets)
    with pytest.raises(DtypeError, match=r"offsets must be ints.*got \[1.5\]"):
        circulant(7, [1.5])  # type: ignore[list-item]
    for n, k in ((0, 0), (5, 3), (4, 4), (4, -2)):
        with pytest.raises(ArgumentError, match=f"got n={n}, k={k}"):
            ring(n, k)


# -- small worlds ---------------------------------------------------------------------------------------------------


@given(st.integers(1, 25), st.data(), st.sampled_from([0.0, 0.2, 0.7, 1.0]), st.integers(0, 10**6))
def test_random_draws_are_networkxs(n: int, data: st.DataObject, p: float, seed: int) -> None:
    # Up to nearly complete graphs, where a node may have no free partner left.
    k = data.draw(st.integers(0, n - 1))
    for ours, theirs in (
        (watts_strogatz, nx.watts_strogatz_graph),
        (newman_watts_strogatz, nx.newman_watts_strogatz_graph),
    ):
        expected = from_networkx(theirs(n, k, p, seed=seed), seed=seed)
        g = ours(n, k, p, seed=seed)
        assert set(g.edges) == set(expected.edges)
        assert g.graph == expected.graph
    if n > 1:
        m = data.draw(st.integers(1, n - 1))
        expected = from_networkx(nx.barabasi_albert_graph(n, m, seed=seed), "bfs")
        assert set(barabasi_albert(n, m, seed=seed, orientation="bfs").edges) == set(expected.edges)


@pytest.mark.parametrize(
    ("density", "p", "seed", "clustering", "length"),
    [(0.128, 0.1281, 4, 0.4485, 2.479), (0.1295, 0.339, 12, 0.301, 2.291), (0.133, 0.0, 24, 0.651, 4.245)],
)
def test_ws_flex_has_the_published_measures(
    density: float, p: float, seed: int, clustering: float, length: float
) -> None:
    G = ws_flex(64, 64 * density, p, seed=seed).to_undirected()
    assert abs(nx.average_clustering(G) - clustering) < 6e-4
    assert abs(nx.average_shortest_path_length(G) - length) < 6e-4


def test_ws_flex_between_even_degrees() -> None:
    for k in (2, 3.7, 4, 9.99):
        g = ws_flex(40, k, 0.4, seed=0)
        assert g.number_of_edges() == round(k * 20)
    ahead = np.bincount(ws_flex(40, 5.0, 0.0, seed=0, orientation=list(range(40))).edge_arrays()[0], minlength=40)
    # 100 edges: 20 nodes reach 3 steps ahead, the others 2; edges across the end of the ring start at its beginning.
    assert ahead.sum() == 100
    assert ahead[5:20].tolist() == [3] * 15
    assert ahead[20:35].tolist() == [2] * 15


def test_ws_flex_of_a_full_ring_is_complete() -> None:
    assert undirected(ws_flex(9, 8, 0.5, seed=0)) == undirected(nx.complete_graph(9))


def test_ws_flex_leaves_pythons_generator_alone() -> None:
    state = random.getstate()
    ws_flex(30, 4.4, 0.5, seed=0)
    assert random.getstate() == state


def test_ws_flex_refuses() -> None:
    with pytest.raises(ArgumentError, match="n must be at least 3, the number of nodes; got 2"):
        ws_flex(2, 2, 0.1)
    for k in (1.9, 10, float("nan")):
        with pytest.raises(ArgumentError, match=r"k must lie in \[2, n - 1\], the average degree; got k="):
            ws_flex(10, k, 0.1)
    with pytest.raises(ArgumentError, match=r"p must lie in \[0, 1\], a probability; got 1.2"):
        ws_flex(10, 4, 1.2)

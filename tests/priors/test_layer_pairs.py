"""Priors made of pairs of layers: constant fan-in, bipartite models and fixed patterns."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, TooLargeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors import (
    banded,
    bipartite_regular,
    bipartite_scale_free,
    bipartite_small_world,
    block_diagonal,
    butterfly,
    constant_fan_in,
    n_of_m,
)

layer_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=4)
SIZED: list[Any] = [
    lambda sizes: constant_fan_in(sizes, 1),
    lambda sizes: bipartite_small_world(sizes, 1, 0.5),
    lambda sizes: bipartite_scale_free(sizes, 0.5),
    lambda sizes: bipartite_regular(sizes, 1, balanced=True),
    lambda sizes: block_diagonal(sizes, 1),
    lambda sizes: banded(sizes, 1),
    lambda sizes: n_of_m(sizes, 1, 1),
]


def matrix(g: CachedLayeredGraph, layer: int = 0) -> np.ndarray:
    """Return the 0-1 matrix (sources, targets) between a layer and the next."""
    stage = g.stage_array()
    dense = g.to_scipy().toarray() != 0
    return dense[np.ix_(stage == layer, stage == layer + 1)].astype(int)


def fan_ins(g: CachedLayeredGraph) -> np.ndarray:
    return np.bincount(g.edge_arrays()[1], minlength=len(g))


@pytest.mark.parametrize("make", SIZED)
def test_sizes_are_checked(make: Any) -> None:
    for sizes in ([], [3, 0]):
        with pytest.raises(ShapeError, match="at least one layer, each of at least one node; got"):
            make(sizes)
    with pytest.raises(DtypeError, match="sizes must be ints, one for each layer"):
        make([3, 2.5])
    with pytest.raises(TooLargeError, match="sizes sum to 4,000,000,000 nodes"):
        make([2 * 10**9] * 2)


@pytest.mark.parametrize("make", SIZED)
def test_one_layer_has_no_edges(make: Any) -> None:
    g = make([3])
    assert g.number_of_edges() == 0
    assert g.role_array().tolist() == ["input/output"] * 3


@pytest.mark.parametrize(
    "make",
    [constant_fan_in, lambda sizes, fan_in: bipartite_small_world(sizes, fan_in, 0.1), bipartite_regular, banded],
)
def test_fan_in_is_checked(make: Any) -> None:
    for fan_in in (0, 4):
        with pytest.raises(ArgumentError, match=rf"fan_in must lie in \[1, 3\], the nodes of layer 1 .* got {fan_in}"):
            make([4, 3, 2], [1, fan_in])
    with pytest.raises(ShapeError, match=r"fan_in must be one int, or one for each of the 2 layers .* got \(3,\)"):
        make([4, 3, 2], [1, 2, 3])
    with pytest.raises(DtypeError, match=r"fan_in must be an int.* got 1.5"):
        make([4, 3, 2], 1.5)
    with pytest.raises(ArgumentError, match="fan_in must lie in"):
        make([4], 0)


# -- constant fan-in ------------------------------------------------------------------------------------------------


@given(layer_sizes, st.data(), st.integers(0, 3))
def test_fan_in_is_constant(sizes: list[int], data: st.DataObject, skip: int) -> None:
    fan_in = [data.draw(st.integers(1, size)) for size in sizes[:-1]]
    g = constant_fan_in(sizes, fan_in, seed=0, skip=skip)
    assert fan_ins(g).tolist() == np.repeat([0, *fan_in], sizes).tolist()
    src, dst = g.edge_arrays()
    assert ((g.stage_array()[dst] - g.stage_array()[src]) <= 1 + skip).all()


def test_constant_fan_in_is_uniform() -> None:
    counts = sum(matrix(constant_fan_in([5, 4], 2, seed=seed)) for seed in range(500))
    assert stats.chisquare(np.ravel(counts)).pvalue > 0.001


def test_constant_fan_in_refuses_a_negative_skip() -> None:
    with pytest.raises(ArgumentError, match=r"skip must be at least 0.* got -1"):
        constant_fan_in([2, 2], 1, skip=-1)


# -- bipartite small worlds -----------------------------------------------------------------------------------------


@given(layer_sizes, st.data(), st.floats(0, 1), st.integers(0, 99))
def test_small_world_pairs_keep_the_fan_in(sizes: list[int], data: st.DataObject, p: float, seed: int) -> None:
    fan_in = [data.draw(st.integers(1, size)) for size in sizes[:-1]]
    g = bipartite_small_world(sizes, fan_in, p, seed=seed)
    assert fan_ins(g).tolist() == np.repeat([0, *fan_in], sizes).tolist()


def test_small_world_pairs_start_from_the_closed_band() -> None:
    for sizes in ([30, 20, 40], [7, 7], [5, 50]):
        assert bipartite_small_world(sizes, 3, 0.0, seed=0).digest() == banded(sizes, 3, wrap=True).digest()


def test_small_world_pairs_move_the_share_p() -> None:
    band = set(banded([400, 400], 10, wrap=True).edges)
    kept = [len(band & set(bipartite_small_world([400, 400], 10, 0.3, seed=seed).edges)) / 4000 for seed in range(5)]
    # A moved edge comes back to the band with a small probability.
    assert abs(np.mean(kept) - (0.7 + 0.3 * 3 / 390)) < 0.015


def test_small_world_pairs_end_at_random_sources() -> None:
    counts = sum(matrix(bipartite_small_world([6, 4], 2, 1.0, seed=seed)) for seed in range(500))
    assert stats.chisquare(np.ravel(counts)).pvalue > 0.001


def test_what_moves_is_uniform_over_the_free_sources() -> None:
    # One target that keeps sources 1 and 2 of 6: the two that moved are uniform over the other four.
    from deepgraph.priors.bipartite import _filled

    counts = np.zeros(6)
    for seed in range(600):
        row, column = _filled(
            np.array([0, 0]), np.array([2, 1]), np.array([2]), np.array([6]), np.random.default_rng(seed)
        )
        assert row.tolist() == [0] * 4
        assert len(set(column.tolist())) == 4
        counts += np.bincount(column, minlength=6)
    assert counts[[1, 2]].tolist() == [600, 600]
    assert stats.chisquare(counts[[0, 3, 4, 5]]).pvalue > 0.001


def test_small_world_pairs_refuse() -> None:
    with pytest.raises(ArgumentError, match=r"p must lie in \[0, 1\], a probability; got 1.1"):
        bipartite_small_world([4, 4], 2, 1.1)


# -- bipartite scale-free graphs ------------------------------------------------------------------------------------


def test_scale_free_degrees_follow_the_exponent() -> None:
    g = bipartite_scale_free([3000, 3000, 100], [0.002, 0.01], 2.5, seed=0)
    stage, (src, _) = g.stage_array(), g.edge_arrays()
    assert np.bincount(stage[src]).tolist() == [18_000, 3000]
    fan_in = np.sort(fan_ins(g)[stage == 1])[::-1]
    # Zipf's law of the static model: the degree of rank i falls as i^(-1 / (exponent - 1)).
    rank = np.arange(5, 300)
    slope = np.polyfit(np.log(rank), np.log(fan_in[rank]), 1)[0]
    assert abs(slope + 1 / 1.5) < 0.1


def test_scale_free_hubs_are_the_same_on_both_sides_and_inputs_are_even() -> None:
    g = bipartite_scale_free([500, 500, 500], 0.02, seed=0)
    stage, (src, dst) = g.stage_array(), g.edge_arrays()
    fan_in, fan_out = np.bincount(dst, minlength=1500), np.bincount(src, minlength=1500)
    hidden = stage == 1
    assert stats.pearsonr(fan_in[hidden], fan_out[hidden]).statistic > 0.6
    assert fan_out[stage == 0].max() < 30 < 60 < fan_out[hidden].max()
    uneven = bipartite_scale_free([500, 500], 0.02, seed=0, even_inputs=False)
    assert np.bincount(uneven.edge_arrays()[0]).max() > 60


def test_both_ways_to_draw_weighted_pairs_have_one_law() -> None:
    from deepgraph.priors.bipartite import _weighted_cells

    rows, columns = np.array([4.0, 2.0, 1.0, 1.0]), np.array([3.0, 1.0, 1.0, 1.0, 1.0])
    rng = np.random.default_rng(0)
    dense, thin = np.zeros((4, 5)), np.zeros((4, 5))
    for _ in range(2000):
        np.add.at(dense, _weighted_cells(rows, columns, 3, rng), 1)
        # Columns of weight 0 make the same problem look thin.
        np.add.at(thin, _weighted_cells(rows, np.concatenate([columns, np.zeros(5)]), 3, rng), 1)
    assert dense.sum() == thin.sum() == 6000
    assert stats.chi2_contingency(np.stack([dense.ravel(), thin.ravel()])).pvalue > 0.001


def test_an_infinite_exponent_makes_all_alike() -> None:
    counts = sum(matrix(bipartite_scale_free([5, 4], 0.3, math.inf, seed=seed)) for seed in range(500))
    assert stats.chisquare(np.ravel(counts)).pvalue > 0.001


def test_scale_free_pairs_can_be_full() -> None:
    assert bipartite_scale_free([6, 7, 3], 1.0, seed=0).number_of_edges() == 63


def test_scale_free_pairs_refuse() -> None:
    for exponent in (2, float("nan")):
        with pytest.raises(ArgumentError, match="exponent must be above 2, or degrees have no mean; got"):
            bipartite_scale_free([4, 4], 0.5, exponent)
    with pytest.raises(ArgumentError, match=r"density must lie in \(0, 1\]"):
        bipartite_scale_free([4, 4], 0.0)


# -- regular graphs -------------------------------------------------------------------------------------------------


@given(layer_sizes, st.data(), st.integers(0, 99))
def test_regular_pairs_have_two_constant_degrees(sizes: list[int], data: st.DataObject, seed: int) -> None:
    fan_in = [data.draw(st.integers(1, size)) for size in sizes[:-1]]
    g = bipartite_regular(sizes, fan_in, seed=seed, balanced=True)
    assert fan_ins(g).tolist() == np.repeat([0, *fan_in], sizes).tolist()
    for layer in range(len(sizes) - 1):
        fan_out = matrix(g, layer).sum(axis=1)
        assert np.ptp(fan_out) <= 1
        assert np.ptp(fan_out) == 0 or sizes[layer + 1] * fan_in[layer] % sizes[layer]


def test_regular_pairs_are_uniform() -> None:
    # The six 4 x 4 classes aside: each cell of a 2-regular 4 x 4 matrix is on with probability 1/2.
    counts = sum(matrix(bipartite_regular([4, 4], 2, seed=seed)) for seed in range(600))
    assert np.abs(counts / 600 - 0.5).max() < 0.1
    seen = {matrix(bipartite_regular([4, 4], 2, seed=seed)).tobytes() for seed in range(1200)}
    assert len(seen) == 90  # all 2-regular 0-1 matrices of size 4


@pytest.mark.parametrize(("low", "high", "degree"), [(400, 400, 4), (600, 300, 6), (300, 600, 3)])
def test_regular_pairs_expand(low: int, high: int, degree: int) -> None:
    values = np.linalg.svd(matrix(bipartite_regular([low, high], degree, seed=0)), compute_uv=False)
    fan_out = degree * high // low
    assert abs(values[0] - math.sqrt(degree * fan_out)) < 1e-9
    assert values[1] < 1.04 * (math.sqrt(degree - 1) + math.sqrt(fan_out - 1))


def test_regular_pairs_refuse() -> None:
    with pytest.raises(ArgumentError, match=r"300 nodes with fan_in 10 cannot share 784 .* multiple of 196 as fan_in"):
        bipartite_regular([784, 300], 10)


# -- patterns -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("depth", "radix"), [(1, 2), (3, 2), (4, 2), (2, 3), (2, 4)])
def test_butterfly_has_one_path_from_every_input_to_every_output(depth: int, radix: int) -> None:
    g = butterfly(depth, radix)
    product = np.linalg.multi_dot([matrix(g, layer) for layer in range(depth)]) if depth > 1 else matrix(g)
    assert (product == 1).all()
    degrees = {degree for _, degree in g.in_degree} | {degree for _, degree in g.out_degree}
    assert degrees == {0, radix}


def test_butterfly_refuses() -> None:
    for depth, radix in ((0, 2), (2, 1)):
        with pytest.raises(ArgumentError, match=f"depth >= 1 and radix >= 2; got depth={depth}, radix={radix}"):
            butterfly(depth, radix)
    for depth, radix in ((27, 2), (10**9, 2), (2, 10**5)):
        with pytest.raises(TooLargeError, match=f"depth={depth}, radix={radix} has more than"):
            butterfly(depth, radix)


@given(st.lists(st.integers(3, 12), min_size=2, max_size=4), st.integers(1, 3))
def test_blocks_are_full_and_apart(sizes: list[int], blocks: int) -> None:
    g = block_diagonal(sizes, blocks)
    assert nx.number_weakly_connected_components(g) == blocks
    for layer, size in enumerate(sizes[:-1]):
        parts = [np.array_split(np.arange(width), blocks) for width in (size, sizes[layer + 1])]
        expected = np.zeros((size, sizes[layer + 1]), dtype=int)
        for rows, columns in zip(*parts, strict=True):
            expected[np.ix_(rows, columns)] = 1
        assert (matrix(g, layer) == expected).all()


def test_shuffled_blocks_join_and_keep_their_ranks() -> None:
    g = block_diagonal([32, 32, 32, 32], 4, seed=0, shuffle=True)
    assert nx.number_weakly_connected_components(g) == 1
    assert np.linalg.matrix_rank(matrix(g, 1)) == 4
    assert set(fan_ins(g).tolist()) == {0, 8}


def test_full_blocks_do_not_read_the_seed() -> None:
    assert block_diagonal([8, 8], 2, seed=0).digest() == block_diagonal([8, 8], 2, seed=1).digest()


def test_blocks_refuse() -> None:
    for blocks in (0, 4):
        with pytest.raises(ArgumentError, match=rf"blocks must lie in \[1, 3\], .* got {blocks}"):
            block_diagonal([5, 3], blocks)
    with pytest.raises(ArgumentError, match=r"density must lie in \(0, 1\]"):
        block_diagonal([4, 4], 2, 0.0)


def test_band_of_equal_layers_is_a_banded_matrix() -> None:
    i = np.arange(9)
    assert (matrix(banded([9, 9], 5)) == (np.abs(i[:, None] - i) <= 2)).all()
    distance = np.abs(i[:, None] - i)
    assert (matrix(banded([9, 9], 5, wrap=True)) == (np.minimum(distance, 9 - distance) <= 2)).all()


@given(layer_sizes, st.data())
def test_band_reads_the_nearest_and_at_the_ends_half(sizes: list[int], data: st.DataObject) -> None:
    fan_in = [data.draw(st.integers(1, size)) for size in sizes[:-1]]
    g = banded(sizes, fan_in)
    for layer, degree in enumerate(fan_in):
        band = matrix(g, layer)
        assert ((band.sum(axis=0) <= degree) & (2 * band.sum(axis=0) >= degree)).all()
        centre = (np.arange(sizes[layer + 1]) + 0.5) / sizes[layer + 1] * sizes[layer]
        far = np.abs(np.arange(sizes[layer])[:, None] + 0.5 - centre)
        assert (far[band == 1] <= degree / 2 + 1e-9).all()
        assert (far[band == 0] >= degree / 2 - 1e-9).all()


def test_n_of_m_in_every_group() -> None:
    g = n_of_m([12, 8, 3], 2, 4, seed=0)
    for layer in range(2):
        block = matrix(g, layer)
        assert (block.reshape(-1, 4, block.shape[1]).sum(axis=1) == 2).all()


def test_n_of_m_is_uniform() -> None:
    counts = sum(matrix(n_of_m([8, 3], 1, 4, seed=seed)) for seed in range(400))
    assert stats.chisquare(np.ravel(counts)).pvalue > 0.001


def test_n_of_m_refuses() -> None:
    for n, m in ((0, 4), (5, 4)):
        with pytest.raises(ArgumentError, match=f"1 <= n <= m; got n={n}, m={m}"):
            n_of_m([8, 8], n, m)
    with pytest.raises(ShapeError, match=r"layer 1 must be a multiple of m=4, .* got 6 nodes: take 8"):
        n_of_m([8, 6, 3], 2, 4)

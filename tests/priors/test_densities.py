"""Densities: exact budgets, published figures, capped layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgraph.analysis import effective_edges
from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.priors import random_layered
from deepgraph.priors.densities import edge_budget, edge_counts, er, erk, igq, uniform

LENET = [(300, 784), (100, 300), (10, 100)]
shapes_strategy = st.lists(st.lists(st.integers(1, 3000), min_size=2, max_size=4), min_size=1, max_size=8)
distributions = st.sampled_from(["uniform", "er", "erk", "igq"])


@given(shapes_strategy, st.floats(1e-6, 1), distributions)
def test_counts_meet_the_budget_and_fit(shapes: list[list[int]], density: float, distribution: Any) -> None:
    size = [math.prod(shape) for shape in shapes]
    counts = edge_counts(shapes, density, distribution)
    assert counts.sum() == edge_budget(sum(size), density)
    assert ((counts >= 0) & (counts <= size)).all()


@given(shapes_strategy, st.floats(1e-3, 0.999), st.sampled_from(["er", "erk"]))
def test_layers_that_are_not_full_share_one_scale(shapes: list[list[int]], density: float, distribution: Any) -> None:
    size = np.array([math.prod(shape) for shape in shapes], dtype=float)
    if distribution == "erk":
        share = np.array([sum(shape) for shape in shapes], dtype=float)
    else:
        share = np.array([(shape[0] + shape[1]) * math.prod(shape[2:]) for shape in shapes], dtype=float)
    counts = edge_counts(shapes, density, distribution)
    free = counts < size - 1
    if free.any():
        scale = counts[free].sum() / share[free].sum()
        slack = (len(shapes) + 1) * (1 + share[free] / share[free].sum())
        assert (np.abs(counts[free] - scale * share[free]) <= slack).all()
        # A full layer is one whose share would have been more than full.
        assert (scale * share[~free] >= size[~free] - len(shapes) - 2).all()


@given(shapes_strategy, st.floats(1e-4, 0.999))
def test_ideal_gas_densities_have_one_force(shapes: list[list[int]], density: float) -> None:
    size = np.array([math.prod(shape) for shape in shapes], dtype=float)
    counts = edge_counts(shapes, density, "igq")
    # 1 / density = F n + 1: bounds of F by the rounding of each count must have a common value.
    with np.errstate(divide="ignore"):
        low = (size / (counts + 1) - 1) / size
        high = (size / np.maximum(counts - 1, 0) - 1) / size
    assert low.max() <= high.min() * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(("distribution", "expected"), [("uniform", 1140), ("erk", 116), ("igq", 102)])
def test_effective_compression_of_lenet_at_direct_compression_100(distribution: Any, expected: float) -> None:
    # Vysogorets & Kempe 2023: random pruning, edges that lie on a path from an input to an output.
    graphs = [random_layered([784, 300, 100, 10], 0.01, seed=seed, distribution=distribution) for seed in range(30)]
    compression = np.mean([266200 / effective_edges(g) for g in graphs])
    assert abs(compression / expected - 1) < 0.1


def test_every_density_of_one_keeps_everything() -> None:
    for distribution in ("uniform", "er", "erk", "igq"):
        assert edge_counts(LENET, 1.0, distribution).tolist() == [235200, 30000, 1000]  # type: ignore[arg-type]


def test_er_of_linear_layers_is_erk() -> None:
    assert edge_counts(LENET, 0.02, "er").tolist() == edge_counts(LENET, 0.02, "erk").tolist()
    kernels = [(64, 3, 3, 3), (128, 64, 3, 3), (128, 128, 1, 1)]
    assert edge_counts(kernels, 0.1, "er").tolist() != edge_counts(kernels, 0.1, "erk").tolist()


def test_sets_epsilon_gives_the_same_densities() -> None:
    # SET on Fashion-MNIST: density eps * (n_in + n_out) / (n_in * n_out) with eps = 13 on every layer.
    shapes = [(1000, 784), (1000, 1000), (1000, 1000), (10, 1000)]
    wanted = [13 * (out + inner) for out, inner in shapes]
    wanted[-1] = 10_000
    size = sum(out * inner for out, inner in shapes)
    assert np.abs(edge_counts(shapes, sum(wanted) / size, "er") - wanted).max() <= 1


def test_one_full_layer_makes_the_others_share_the_rest() -> None:
    counts = edge_counts([(1, 10), (100, 100)], 0.3, "er")
    assert counts.tolist() == [10, 2993]


def test_order_of_the_two_sizes_does_not_matter() -> None:
    swapped = [(inner, out) for out, inner in LENET]
    for distribution in ("uniform", "er", "erk", "igq"):
        assert edge_counts(swapped, 0.05, distribution).tolist() == edge_counts(LENET, 0.05, distribution).tolist()  # type: ignore[arg-type]


def test_densities_are_counts_over_sizes() -> None:
    for function, name in ((uniform, "uniform"), (er, "er"), (erk, "erk"), (igq, "igq")):
        counts = edge_counts(LENET, 0.05, name)  # type: ignore[arg-type]
        assert function(LENET, 0.05).tolist() == (counts / [235200, 30000, 1000]).tolist()


def test_ties_go_to_the_earlier_layer() -> None:
    assert edge_counts([(1, 2)] * 3, 2 / 3, "uniform").tolist() == [2, 1, 1]


@pytest.mark.parametrize("density", [0, -0.1, 1.01, float("nan")])
def test_density_outside_its_range(density: float) -> None:
    with pytest.raises(ArgumentError, match=r"density must lie in \(0, 1\].*got"):
        edge_counts(LENET, density)


def test_bad_shapes_and_names() -> None:
    with pytest.raises(ShapeError, match=r"layer 1 must have a shape .* got \(0, 4\)"):
        edge_counts([(2, 2), (0, 4)], 0.5)
    with pytest.raises(ShapeError, match=r"layer 0 must have a shape .* got \(4,\)"):
        edge_counts([(4,)], 0.5)
    with pytest.raises(ShapeError, match="at least one layer"):
        edge_counts([], 0.5)
    with pytest.raises(ArgumentError, match=r"distribution must be one of .*got 'other'"):
        edge_counts(LENET, 0.5, "other")  # type: ignore[arg-type]
    with pytest.raises(DtypeError, match=r"shapes must be sequences of ints.*got \[\(2.5, 4\)\]"):
        edge_counts([(2.5, 4)], 0.5)  # type: ignore[list-item]

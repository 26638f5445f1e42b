"""Themes that become networks of any size."""

from __future__ import annotations

import math

import networkx as nx
import numpy as np
import pytest
import torch

import deepgraph as dg
from deepgraph.graph import uniform_proportions
from deepgraph.scalable import ScalableDAN, ScalableDeepFFN


@pytest.mark.parametrize("scale", [3, 10, 101, 5000])
def test_widths_sum_to_the_scale_and_keep_proportions(scale: int) -> None:
    theme = ScalableDeepFFN([2.0, 1.0, 1.0])
    widths = theme.draw(scale)
    assert sum(widths) == scale
    assert min(widths) >= 1
    assert scale < 10 or np.allclose(np.array(widths) / scale, theme.proportions, atol=1 / scale)
    assert theme.build((2, 3), 4, scale)(torch.zeros(5, 2, 3)).shape == (5, 4)


def test_divergence_of_themes() -> None:
    a, b = ScalableDeepFFN([0.5, 0.5]), ScalableDeepFFN([0.9, 0.1])
    assert a.entropy_similarity(a) == 0
    assert a.entropy_similarity(b) == pytest.approx(b.entropy_similarity(a))
    m = [0.7, 0.3]
    expected = sum(p * math.log(p / q) for p, q in zip([0.5, 0.5, 0.9, 0.1], m * 2, strict=True)) / 2
    assert a.entropy_similarity(b) == pytest.approx(expected)
    # Kullback-Leibler, as deepstruct has it, is infinite where one theme has more layers.
    assert 0 < a.entropy_similarity(ScalableDeepFFN([0.4, 0.4, 0.2])) < math.log(2)
    with pytest.raises(ValueError, match="expected a ScalableDeepFFN, got list"):
        a.entropy_similarity([0.5, 0.5])  # type: ignore[arg-type]
    assert repr(a) == "ScalableDeepFFN([0.5, 0.5])"


@pytest.mark.parametrize("bad", [[], [0.5, -0.5], [0.5, float("nan")], [[0.5]]])
def test_proportions_are_checked(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="proportions: expected finite numbers > 0"):
        ScalableDeepFFN(bad)
    with pytest.raises(ValueError, match="scale: expected an integer from 1, got 0"):
        ScalableDeepFFN([1]).draw(0)
    with pytest.raises(ValueError, match="too few"):
        ScalableDeepFFN([1, 1]).draw(1)


def theme() -> dg.CachedLayeredGraph:
    g = dg.CachedLayeredGraph()
    g.add_nodes_from([1, 2, 3, 4, 5])
    g.add_edges_from([(1, 3), (2, 4), (3, 4), (4, 5)])
    return g


def test_grown_structures_have_the_size_asked_for() -> None:
    family = ScalableDAN(theme(), uniform_proportions(theme()))
    g = family.grow(50)
    assert len(g) == 50
    assert g.number_of_edges() == 4 * 100
    assert g.stage_array()[g.node_column("group") == 4].tolist() == [3] * 10
    assert ScalableDAN(theme(), density=0.5, seed=0).grow(50).number_of_edges() == 200


def test_groups_are_scaled_one_by_one() -> None:
    family = ScalableDAN(theme())
    assert len(family.scale(3, 4)) == 8
    assert len(family.scale(3, 1)) == 9
    with pytest.raises(KeyError, match="expected a node of the structure, got 'x'"):
        family.scale("x", 1)
    with pytest.raises(ValueError, match="size: expected an integer from 1"):
        family.scale(3, 0)


def test_built_models_are_saved_and_made_again() -> None:
    family = ScalableDAN(theme(), seed=0)
    with pytest.warns(UserWarning, match="bottleneck"):
        family.build(20, 11, 50)
    model, structure = family.build(20, 2, 50, return_graph=True)
    again = ScalableDAN.model(20, 2, structure)
    again.load_state_dict(model.state_dict())
    x = torch.randn(8, 20)
    assert torch.equal(again(x), model(x))
    again(x).sum().backward()


def test_themes_are_checked() -> None:
    with pytest.raises(ValueError, match="got an empty graph"):
        ScalableDAN(nx.DiGraph())
    with pytest.raises(KeyError, match="expected nodes of the structure, got 9"):
        ScalableDAN(theme(), {1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 9: 1})
    with pytest.raises(ValueError, match="a number for each of 5 nodes, got 1"):
        ScalableDAN(theme(), {1: 1})
    with pytest.raises(ValueError, match="got 0 for 2"):
        ScalableDAN(theme(), {1: 1, 2: 0, 3: 1, 4: 1, 5: 1})

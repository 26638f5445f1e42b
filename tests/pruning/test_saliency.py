"""Pruning by a saliency that is kept with the edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.pruning import (
    PruningStrategy,
    prune,
    prune_layer_by_saliency,
    prune_network_by_saliency,
    set_distributed_saliency,
    set_random_saliency,
)
from deepgraph.sparse import MaskedLinearLayer, edge_values


def network() -> dg.MaskedDeepFFN:
    return dg.MaskedDeepFFN(20, 5, [10, 8], seed=0)


@pytest.mark.parametrize(
    ("strategy", "value", "left"),
    [
        (PruningStrategy.PERCENTAGE, 50, 160),
        (PruningStrategy.PERCENTAGE, 0.3125, 319),
        (PruningStrategy.ABSOLUTE, 100, 220),
    ],
)
def test_values_mean_what_the_strategy_says(strategy: PruningStrategy, value: float, left: int) -> None:
    model = set_random_saliency(network(), seed=0)
    assert prune_network_by_saliency(model, value, strategy=strategy) is model
    assert model.num_edges == left


def test_bucket_drops_while_the_sum_allows() -> None:
    model = set_random_saliency(network(), seed=0)
    scores = np.sort(np.concatenate([v.edge_set.column("saliency") for v in edge_values(model)]))
    gone = int((np.cumsum(scores) <= 20).sum())
    prune_network_by_saliency(model, 20, strategy=PruningStrategy.BUCKET)
    assert model.num_edges == 320 - gone


def test_blind_and_uniform() -> None:
    blind, uniform = (set_random_saliency(network(), seed=0) for _ in "ab")
    first = blind.edge_sets[0]
    first.columns.put("saliency", first.column("saliency") + 1)
    prune_network_by_saliency(blind, 25)
    assert blind.edge_sets[0].num_edges == 200
    prune_layer_by_saliency(uniform, 25)
    assert [edges.num_edges for edges in uniform.edge_sets] == [150, 60, 30]


def test_without_a_saliency_magnitudes_count() -> None:
    a, b = network(), network()
    prune_network_by_saliency(a, 30)
    assert a.graph.digest() == prune(b, 0.3).graph.digest()


def test_saliency_follows_edits_and_grown_edges_count_by_magnitude() -> None:
    model = set_random_saliency(network(), seed=0)
    before = dict(zip(model.graph.edges, model.graph.column("saliency"), strict=True))
    prune_network_by_saliency(model, 50)
    after = dict(zip(model.graph.edges, model.graph.column("saliency"), strict=True))
    assert all(before[edge] == value for edge, value in after.items())
    assert max(set(before.values()) - set(after.values())) <= min(after.values())
    model.edge_sets[0].undo()
    assert model.edge_sets[0].num_edges == 200


def test_distributed_saliency_is_relative_to_the_layer() -> None:
    model = network()
    with torch.no_grad():
        edge_values(model)[0].parameter.mul_(100)
    set_distributed_saliency(model)
    spread = [v.edge_set.column("saliency").std() for v in edge_values(model)]
    assert max(spread) < 3 * min(spread)


def test_saliency_of_a_layer_is_used() -> None:
    layer = MaskedLinearLayer(4, 2)
    layer.saliency = torch.arange(8.0).view(2, 4)
    prune_network_by_saliency(layer, 50)
    assert layer.mask.tolist() == [[False] * 4, [True] * 4]


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"value: expected a percentage in \[0, 100\], got 101"):
        prune_network_by_saliency(network(), 101)
    with pytest.raises(ValueError, match="expected a model with edge sets, got Linear"):
        set_random_saliency(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="expected a model with edge sets, got Linear"):
        set_distributed_saliency(nn.Linear(2, 2))

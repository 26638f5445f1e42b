"""PHEW: walks take edges by their weights, what stays is paths, and other networks are refused."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.pruning import PHEW, Sample
from deepgraph.sparse import edge_values


def ffn(seed: int = 0) -> dg.MaskedDeepFFN:
    return dg.MaskedDeepFFN(6, 4, [9, 8], density=0.8, seed=seed)


def linears() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Sequential(nn.Linear(9, 8), nn.ReLU()), nn.Linear(8, 4))
    return dg.sparsify(model, 0.8, seed=0)


def pairs(model: nn.Module) -> list[set[tuple[int, int]]]:
    return [set(zip(*(s.tolist() for s in one.edge_set.pairs()), strict=True)) for one in edge_values(model)]


@pytest.mark.parametrize("make", [ffn, linears])
@pytest.mark.parametrize("count", [12, 30, 60])
def test_what_stays_is_paths_between_inputs_and_outputs(make: Any, count: int) -> None:
    model = make()
    dg.prune(model, sum(map(len, pairs(model))) - count, criterion="phew", seed=1)
    layers = pairs(model)
    assert sum(map(len, layers)) == count
    loose = 0
    for before, after in itertools.pairwise(layers):
        loose += len({v for _, v in before} ^ {u for u, _ in after})
    # Only the walk that was cut may end within the network.
    assert loose <= 1


def test_the_first_walk_goes_by_the_weights() -> None:
    model = dg.MaskedDeepFFN(1, 2, [3], seed=0)
    model.layers[0].edges.set_values(torch.tensor([1.0, -2.0, 5.0]))
    model.layers[1].edges.set_values(torch.tensor([1.0, 3.0, -1.0, 1.0, 2.0, 2.0]))
    hidden, output = np.zeros(3), np.zeros((3, 2))
    for seed in range(600):
        scores = PHEW(walks=1).scores(model, edge_values(model), Sample(np.random.default_rng(seed)))
        (at,) = np.flatnonzero(scores[0] > 0)
        (to,) = np.flatnonzero(scores[1] > 0)
        assert to // 2 == at
        hidden[at] += 1
        output[at, to % 2] += 1
    assert np.abs(hidden / 600 - np.array([1, 2, 5]) / 8).max() < 0.06
    assert np.abs(output[2] / hidden[2] - 0.5).max() < 0.1
    assert abs(output[0, 1] / hidden[0] - 0.75) < 0.15


def test_every_other_walk_goes_back_from_an_output() -> None:
    model = dg.MaskedDeepFFN(2, 1, [2], seed=0)
    # Forward, hidden neuron 0 is hardly ever met; back from the output it nearly always is.
    model.layers[0].edges.set_values(torch.tensor([1e-6, 1.0, 1e-6, 1.0]))
    model.layers[1].edges.set_values(torch.tensor([1.0, 1e-6]))
    found = [PHEW(walks=walks).scores(model, edge_values(model), Sample(np.random.default_rng(0))) for walks in (1, 2)]
    assert [(score[1] > 0).tolist() for score in found] == [[False, True], [True, True]]


@pytest.mark.parametrize("kind", ["graph", "dan"])
def test_graphs_are_walked_through(kind: str) -> None:
    g = dg.priors.random_layered([5, 8, 7, 4], 0.7, seed=0, skip=1)
    model = dg.MaskedDeepDAN.from_graph(g, seed=0) if kind == "graph" else dg.MaskedDeepDAN(5, 3, g, seed=0)
    count = model.num_edges // 4
    dg.prune(model, model.num_edges - count, criterion="phew", seed=0)
    assert model.num_edges == count
    graph = model.graph if kind == "graph" else model.generate_structure(True, True)
    inputs, outputs = set(graph.input_positions().tolist()), set(graph.output_positions().tolist())
    src, dst = (set(side.tolist()) for side in graph.edge_arrays())
    assert len((dst - src - outputs) | (src - dst - inputs)) <= 1


def test_all_edges_are_found_in_the_end_and_seeds_decide() -> None:
    model = ffn()
    one, two = (PHEW().scores(model, edge_values(model), Sample(np.random.default_rng(0))) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert np.mean(np.concatenate(one) > 0) > 0.9
    few = np.concatenate(PHEW(walks=2).scores(model, edge_values(model), Sample(np.random.default_rng(0))))
    size = np.concatenate([one.values().abs().numpy() for one in edge_values(model)])
    unseen = few < 0
    assert unseen.sum() >= len(few) - 6
    assert (np.argsort(few[unseen], kind="stable") == np.argsort(size[unseen], kind="stable")).all()


def test_dead_ends_and_empty_networks() -> None:
    model = dg.MaskedDeepFFN(2, 2, [2], seed=0)
    first, second = model.edge_sets
    second.edit(drop=second.pairs())
    scores = PHEW(walks=5000).scores(model, edge_values(model), Sample(np.random.default_rng(0)))
    assert (scores[0] > 0).all()
    assert len(scores[1]) == 0
    first.edit(drop=first.pairs())
    assert [len(s) for s in PHEW().scores(model, edge_values(model), Sample(np.random.default_rng(0)))] == [0, 0]


def test_what_it_refuses() -> None:
    with pytest.raises(ArgumentError, match="walks: expected an integer >= 1, got 0"):
        PHEW(0)
    apart = dg.sparsify(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), 0.5, seed=0)
    with pytest.raises(UnsupportedOperationError, match="expected edge sets that make up one network for 'phew'"):
        dg.prune(apart, 0.5, criterion="phew", seed=0)

"""Pruning of models and graphs: the counts are exact, what goes is what scores lowest, and references agree."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, ShapeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.pruning import Magnitude, PruningStrategy, prune
from deepgraph.pruning.prune import cheapest
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, edge_values
from deepgraph.transform import extract


def ffn(density: float = 1.0, seed: int = 0) -> MaskedDeepFFN:
    return MaskedDeepFFN(6, 3, [8, 5], density=density, storage="masked", seed=seed, dtype=torch.float64)


def sizes_of(model: nn.Module) -> list[np.ndarray]:
    return [np.abs(one.values().numpy()) for one in edge_values(model)]


def data(batches: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batches, 12, 6, generator=generator, dtype=torch.float64)
    return [(part, torch.arange(12) % 3) for part in x]


# -- how many ----------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(share=st.floats(0, 1), whole=st.booleans(), layers=st.booleans(), rounds=st.integers(1, 4))
def test_amounts_are_exact(share: float, whole: bool, layers: bool, rounds: int) -> None:
    model = ffn(0.7)
    before = [edges.num_edges for edges in model.edge_sets]
    amount: Any = int(share * min(before)) if whole else share
    prune(model, amount, scope="layer" if layers else "global", rounds=rounds)
    after = [edges.num_edges for edges in model.edge_sets]
    if layers:
        assert after == [n - (amount if whole else round(share * n)) for n in before]
    else:
        assert sum(after) == sum(before) - (amount if whole else round(share * sum(before)))


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_density_counts_all_pairs(scope: Any) -> None:
    model = prune(ffn(0.6), density=0.2, scope=scope)
    pairs = [edges.num_admissible for edges in model.edge_sets]
    if scope == "layer":
        assert [edges.num_edges for edges in model.edge_sets] == [round(0.2 * n) for n in pairs]
    assert model.num_edges == pytest.approx(0.2 * sum(pairs), abs=1.5)
    assert prune(model, density=0.9).density == model.density


def test_buckets_fill_to_their_sum() -> None:
    model = ffn()
    sizes = np.sort(np.concatenate(sizes_of(model)))
    prune(model, 2.0, strategy=PruningStrategy.BUCKET)
    gone = len(sizes) - model.num_edges
    assert sizes[:gone].sum() <= 2.0 < sizes[: gone + 1].sum()


@given(
    cost=st.lists(st.integers(1, 5), min_size=1, max_size=12), part=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_fewest_cheapest_units_go(cost: list[int], part: float, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 5, len(cost)).astype(float)
    left = int(part * sum(cost))
    rows = cheapest(scores, np.array(cost), left)
    order = sorted(range(len(cost)), key=lambda i: (scores[i], i))
    assert rows.tolist() == order[: len(rows)]
    rest = sum(cost) - sum(cost[i] for i in rows)
    assert rest <= left
    assert not len(rows) or rest + cost[rows[-1]] > left


# -- what goes ---------------------------------------------------------------------------------------------------------


def test_magnitude_class_blind_uniform_and_distributed() -> None:
    model = ffn()
    sizes = sizes_of(model)
    blind, uniform, distributed = (copy.deepcopy(model) for _ in range(3))
    prune(blind, 0.5)
    everything = np.sort(np.concatenate(sizes))
    assert np.sort(np.concatenate(sizes_of(blind))) == pytest.approx(everything[-blind.num_edges :])
    prune(uniform, 0.5, scope="layer")
    for left, all_ in zip(sizes_of(uniform), sizes, strict=True):
        assert np.sort(left) == pytest.approx(np.sort(all_)[-len(left) :])
    prune(distributed, 0.5, criterion="distributed")
    deviations = [one.values().numpy().std() for one in edge_values(model)]
    relative = np.sort(np.concatenate([a / d for a, d in zip(sizes, deviations, strict=True)]))
    found = np.concatenate([a / d for a, d in zip(sizes_of(distributed), deviations, strict=True)])
    assert np.sort(found) == pytest.approx(relative[-len(found) :])
    counts = {tuple(e.num_edges for e in m.edge_sets) for m in (blind, uniform, distributed)}
    assert len(counts) == 3


def test_random_and_seeds() -> None:
    def drawn(seed: Any) -> list[str]:
        return [e.digest() for e in prune(ffn(), 0.5, criterion="random", seed=seed).edge_sets]

    assert drawn(1) == drawn(1) != drawn(2)
    torch.manual_seed(3)
    first = drawn(None)
    torch.manual_seed(3)
    assert first == drawn(None)


@pytest.mark.usefixtures("global_rng_untouched")
@pytest.mark.parametrize("criterion", ["random", "snip", "taylor", "synflow"])
def test_a_seed_leaves_the_model_and_global_state_alone(criterion: str) -> None:
    """Also with dropout and batch norm, whose state and draws belong to the model."""
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 3)).double()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    buffers = copy.deepcopy(dict(model.named_buffers()))
    prune(model, 0.5, criterion=criterion, data=data()[0], seed=0, rounds=3)
    assert all(torch.equal(buffers[name], buffer) for name, buffer in model.named_buffers())
    assert model.training
    assert set(model[0].weight.grad.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("criterion", ["snip", "taylor"])
def test_sensitivity_against_a_dense_twin(criterion: str) -> None:
    model = ffn()
    layers = [layer.weight.detach().clone().requires_grad_() for layer in model.layers]
    products = []
    for x, y in data(3):
        a = x
        for k, (weight, layer) in enumerate(zip(layers, model.layers, strict=True)):
            a = nn.functional.linear(a, weight, layer.bias.detach())
            a = torch.relu(a) if k < 2 else a
        gradients = torch.autograd.grad(nn.functional.cross_entropy(a, y), layers)
        products.append([(g * w).detach().numpy() for g, w in zip(gradients, layers, strict=True)])
    each = [np.stack(one) for one in zip(*products, strict=True)]
    score = [np.abs(s.sum(0)) if criterion == "snip" else (s**2).sum(0) for s in each]
    threshold = np.sort(np.concatenate([s.ravel() for s in score]))[int(0.6 * model.num_edges) - 1]
    expected = [set(zip(*np.nonzero(s > threshold), strict=True)) for s in score]
    prune(model, int(0.6 * model.num_edges), criterion=criterion, data=data(3))
    for edges, wanted in zip(model.edge_sets, expected, strict=True):
        src, dst = edges.pairs()
        assert set(zip(dst.tolist(), src.tolist(), strict=True)) == wanted


def test_synflow_against_products_of_matrices() -> None:
    """R = 1^T |W3| |W2| |W1| 1; over 100 rounds no layer is emptied, where one round empties one."""
    model = ffn()
    W = [np.abs(layer.weight.detach().numpy()) for layer in model.layers]
    expected = []
    for k in range(3):
        before, behind = np.ones(6), np.ones(3)
        for w in W[:k]:
            before = w @ before
        for w in reversed(W[k + 1 :]):
            behind = w.T @ behind
        expected.append(W[k] * behind[:, None] * before[None, :])
    from deepgraph.pruning import Sample, SynFlow

    sample = Sample(np.random.default_rng(0), data()[0])
    for found, wanted, edges in zip(
        SynFlow().scores(model, edge_values(model), sample), expected, model.edge_sets, strict=True
    ):
        src, dst = edges.pairs()
        np.testing.assert_allclose(found, wanted[dst, src], rtol=1e-12)
    deep = MaskedDeepFFN(20, 3, [40] * 6, seed=0, storage="masked")
    x = torch.zeros(1, 20), None
    flow, once = prune(copy.deepcopy(deep), density=0.02, criterion="synflow", data=x), copy.deepcopy(deep)
    prune(once, density=0.02, criterion="snip", data=(torch.ones(1, 20), torch.zeros(1, dtype=torch.long)))
    assert min(edges.num_edges for edges in flow.edge_sets) > 0
    assert flow.num_edges == once.num_edges


def test_functions_are_criteria() -> None:
    model = ffn()
    prune(model, 0.5, criterion=lambda values: values.edge_set.pairs()[0], scope="layer")
    assert [int(edges.pairs()[0].min()) for edges in model.edge_sets] == [3, 4, 2]


def test_rounds_and_retraining() -> None:
    model, counts = ffn(), []
    start = model.num_edges
    prune(model, density=0.1, rounds=4, retrain=lambda m: counts.append(m.num_edges))
    end = model.num_edges
    assert counts == [round(start * (end / start) ** (k / 4)) for k in (1, 2, 3)]
    assert len({edit.transaction for edges in model.edge_sets for edit in edges.history}) == 4


def test_any_module_is_pruned_in_place() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    weight, sizes = model[0].weight, [p.detach().abs().flatten() for p in (model[0].weight, model[3].weight)]
    assert prune(model, 0.75) is model
    assert model[0].weight is weight
    left = torch.cat([weight.detach().flatten(), model[3].weight.detach().flatten()])
    assert int((left != 0).sum()) == 84 - 63
    assert left[left != 0].abs().sort().values.tolist() == torch.cat(sizes).sort().values[63:].tolist()
    model(torch.ones(2, 1, 4, 4)).sum().backward()
    assert int((model[3].weight.grad != 0).sum()) <= int((model[3].weight != 0).sum())


# -- graphs ------------------------------------------------------------------------------------------------------------


def test_a_live_graph_prunes_its_module() -> None:
    model = MaskedDeepDAN.from_graph(ffn().graph, seed=0)
    sizes = np.sort(np.abs(model.graph.column("weight")))
    prune(model.graph, 0.4)
    assert np.sort(np.abs(edge_values(model)[0].values().numpy())) == pytest.approx(sizes[round(0.4 * len(sizes)) :])
    model.graph.undo()
    assert model.graph.number_of_edges() == len(sizes)


def test_edges_of_one_entry_count_as_one() -> None:
    """A convolution's kernel entry is many edges of its graph: they go together, as the entry does in the model."""
    model = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), nn.Flatten(), nn.Linear(8, 2, bias=False)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randperm(parameter.numel()).view(parameter.shape) + 1.0)
        model[2].weight.add_(0.5)
    x = torch.randn(5, 1, 3, 3, dtype=torch.float64)
    graph = extract(model, x[:1])
    assert graph.number_of_edges() == 8 * 4 + 16
    prune(graph, 10)
    prune(model, 10)
    other = extract(model, x[:1])
    assert graph.edge_arrays()[0].tolist() == other.edge_arrays()[0].tolist()
    assert graph.column("weight").tolist() == other.column("weight").tolist()
    compiled = MaskedDeepDAN.from_graph(graph, dtype=torch.float64)
    torch.testing.assert_close(compiled(x.flatten(1)), model(x))


def test_graphs_by_density_stage_and_function() -> None:
    graph = ffn().graph.copy()
    prune(graph, density=0.25)
    stage, roles = graph.stage_array(), graph.role_array()
    pairs = sum(int((stage < stage[v]).sum()) for v in np.flatnonzero(roles != "input"))
    assert graph.number_of_edges() == pytest.approx(0.25 * pairs, abs=1)
    graph = ffn().graph.copy()
    into = np.bincount(stage[graph.edge_arrays()[1]])
    prune(graph, 0.5, scope="layer", criterion="random", seed=0)
    assert np.bincount(stage[graph.edge_arrays()[1]]).tolist() == (into - np.round(into * 0.5)).tolist()
    prune(graph, 3, criterion=lambda g: -g.edge_arrays()[0])
    assert graph.history[-1].num_dropped == 3


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected either amount or density, got amount=None and density=None"),
        ({"amount": 1, "density": 0.5}, "expected either amount or density, got amount=1 and density=0.5"),
        ({"amount": 1.5}, r"amount: expected a share of the edges in \[0, 1\], got 1\.5"),
        ({"amount": 1000}, r"amount: expected a number of edges from 0 to \d+, got 1000"),
        ({"amount": True}, r"amount: expected a number of edges from 0 to \d+, got True"),
        ({"amount": -1.0, "strategy": PruningStrategy.BUCKET}, r"amount: expected a sum of saliency >= 0, got -1\.0"),
        ({"amount": 1.0, "strategy": PruningStrategy.BUCKET, "rounds": 2}, "rounds: expected 1 with"),
        ({"density": 0.0}, r"density: expected a number in \(0, 1\]"),
        ({"amount": 0.5, "scope": "all"}, r"scope: expected one of \('global', 'layer'\), got 'all'"),
        ({"amount": 0.5, "rounds": 0}, "rounds: expected an integer >= 1, got 0"),
        ({"amount": 0.5, "criterion": "size"}, r"criterion: expected one of .*, a Criterion or a function, got 'size'"),
        ({"amount": 0.5, "criterion": Magnitude}, r"a Criterion or a function, got <class"),
        ({"amount": 0.5, "criterion": "snip"}, r"data: expected a batch \(x, y\) or batches, which criterion 'snip'"),
        ({"amount": 0.5, "criterion": "snip", "data": []}, r"data: expected at least one batch \(x, y\) for"),
        (
            {"amount": 0.5, "criterion": "synflow", "data": (torch.ones(1, 6, dtype=torch.long), None)},
            "data: expected x of floating dtype for criterion 'synflow'",
        ),
        ({"amount": 0.5, "criterion": lambda v: v.values() * np.nan}, "expected scores that are numbers, got NaN"),
    ],
)  # fmt: skip
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        prune(ffn(), **options)


def test_more_mistakes() -> None:
    with pytest.raises(
        ShapeError, match=r"criterion: expected one score for each of 48 edges of layer 0, got shape \(1,\)"
    ):
        prune(ffn(), 0.5, criterion=lambda values: [1.0])
    with pytest.raises(DtypeError, match="or a CachedLayeredGraph, got list"):
        prune([], 0.5)  # type: ignore[type-var]
    with pytest.raises(ArgumentError, match="expected one that knows weights alone for a graph, got SNIP"):
        prune(ffn().graph, 0.5, criterion="snip")
    with pytest.raises(MissingColumnError):
        prune(CachedLayeredGraph.from_arrays([0], [1]), 0.5)

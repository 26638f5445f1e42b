"""GraSP, LAMP and Wanda against plain computations of their definitions, in our modules and in PyTorch's."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import deepgraph as dg
from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.pruning import LAMP, GraSP, Sample
from deepgraph.sparse import edge_values


def sample(data: Any, loss: Any = nn.functional.cross_entropy) -> Sample:
    return Sample(np.random.default_rng(0), data, loss)


def data(rows: int = 20, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator), torch.randint(3, (rows,), generator=generator)


def theirs(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Softplus(), nn.Linear(6, 3))
    return dg.sparsify(model, 0.6, seed=0)


def ours(storage: str = "csr") -> dg.MaskedDeepFFN:
    return dg.MaskedDeepFFN(5, 3, [8, 6], density=0.6, activation="tanh", storage=storage, seed=0)


def dense_twin(model: nn.Module) -> tuple[nn.Sequential, list[nn.Parameter]]:
    """Return a model of torch's modules with the weights of an FFN of ours, in float64, and its weights."""
    layers: list[nn.Module] = []
    for layer in model.layers:
        edges = layer.edge_set
        linear = nn.Linear(edges.num_sources, edges.num_targets).double()
        src, dst = (torch.from_numpy(np.array(side)).long() for side in edges.pairs())
        linear.weight.data.zero_()[dst, src] = layer.edges.values().double()
        linear.bias.data.copy_(layer.bias)
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1]), [linear.weight for linear in layers[::2]]


def hessian_scores(
    model: nn.Module, weights: list[nn.Parameter], masks: list[Tensor], batches: list[Any], temperature: float
) -> list[Tensor]:
    """Return w (H g) of the edges as matrices, by differentiating twice."""
    total = sum(nn.functional.cross_entropy(model(x.double()) / temperature, y) for x, y in batches)
    gradients = torch.autograd.grad(total, weights, create_graph=True)
    flow = sum((g * (g * mask).detach()).sum() for g, mask in zip(gradients, masks, strict=True))
    return [w.detach() * h for w, h in zip(weights, torch.autograd.grad(flow, weights), strict=True)]


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize("batches", [[data()], [data(), data(9, 1)]])
def test_grasp_is_the_signed_product_of_weight_and_hessian_times_gradient(storage: str, batches: Any) -> None:
    model = ours(storage)
    twin, weights = dense_twin(model)
    masks = []
    for layer in model.layers:
        mask = torch.zeros(layer.edge_set.num_targets, layer.edge_set.num_sources)
        src, dst = (torch.from_numpy(np.array(side)).long() for side in layer.edge_set.pairs())
        mask[dst, src] = 1
        masks.append(mask)
    for temperature in (1.0, 200.0):
        expected = hessian_scores(twin, weights, masks, batches, temperature)
        found = GraSP(temperature).scores(model, edge_values(model), sample(batches))
        negative = 0
        for layer, score, wanted in zip(model.layers, found, expected, strict=True):
            src, dst = (torch.from_numpy(np.array(side)).long() for side in layer.edge_set.pairs())
            reference = wanted[dst, src].numpy()
            assert np.linalg.norm(score - reference) < 1e-5 * np.linalg.norm(reference)
            negative += int((score < 0).sum())
        # Without the sign most of the edges that should go would stay.
        assert negative > 5


def test_grasp_on_pytorchs_modules_prunes_the_lowest_and_leaves_the_rest_alone() -> None:
    model = theirs()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    scores = GraSP().scores(model, edge_values(model), sample(data()))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    twin = copy.deepcopy(model).double()
    masks = [one.mask().double() for one in edge_values(twin)]
    plain = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Softplus(), nn.Linear(6, 3)).double()
    weights = []
    for index, one in zip((0, 2, 4), edge_values(twin), strict=True):
        plain[index].weight.data.copy_(one.parameter.detach() * one.mask())
        plain[index].bias.data.copy_(twin[index].bias)
        weights.append(plain[index].weight)
    expected = hessian_scores(plain, weights, masks, [data()], 200.0)
    joined = np.concatenate(scores)
    wanted = np.concatenate(
        [e.reshape(-1)[one.index()].numpy() for e, one in zip(expected, edge_values(twin), strict=True)]
    )
    assert np.linalg.norm(joined - wanted) < 1e-5 * np.linalg.norm(wanted)
    count = len(joined) // 2
    before = [set(zip(*(s.tolist() for s in one.edge_set.pairs()), strict=True)) for one in edge_values(model)]
    gone = np.argsort(joined, kind="stable")[:count]
    dg.prune(model, count, criterion="grasp", data=data())
    ends = np.cumsum([0, *(len(score) for score in scores)])
    for number, (one, old) in enumerate(zip(edge_values(model), before, strict=True)):
        mine = gone[(gone >= ends[number]) & (gone < ends[number + 1])] - ends[number]
        lost = {pair for row, pair in enumerate(sorted(old)) if row in set(mine.tolist())}
        assert set(zip(*(s.tolist() for s in one.edge_set.pairs()), strict=True)) == old - lost


def test_grasp_draws_the_same_dropout_for_both_sides_of_the_difference() -> None:
    model = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    dg.sparsify(model, 0.9, seed=0)
    state = torch.random.get_rng_state()
    one, two = (GraSP().scores(model, edge_values(model), sample(data())) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert max(np.abs(score).max() for score in one) < 1


def test_grasp_refuses() -> None:
    model = ours()
    with pytest.raises(ArgumentError, match=r"data: expected a batch .* which criterion 'grasp' needs"):
        dg.prune(model, 0.5, criterion="grasp")
    with pytest.raises(ArgumentError, match=r"data: expected at least one batch .* for criterion 'grasp', got none"):
        dg.prune(model, 0.5, criterion="grasp", data=[])
    with pytest.raises(ArgumentError, match="temperature: expected a number > 0, got 0"):
        GraSP(0)
    with pytest.raises(ArgumentError, match="step: expected a number > 0, got inf"):
        GraSP(step=float("inf"))
    silent = GraSP().scores(model, edge_values(model), sample(data(), lambda out, _: out.sum() * 0))
    assert not np.concatenate(silent).any()


@pytest.mark.parametrize("make", [ours, theirs])
def test_lamp_by_plain_loops(make: Any) -> None:
    model = make()
    values = edge_values(model)
    for one, score in zip(values, LAMP().scores(model, values, sample(None)), strict=True):
        w = one.values().double().tolist()
        for i, own in enumerate(w):
            larger = sum(x * x for j, x in enumerate(w) if x * x > own * own or (x * x == own * own and j >= i))
            assert score[i] == pytest.approx(own * own / larger, rel=1e-9)
    dg.prune(model, density=3 / sum(one.edge_set.num_admissible for one in values), criterion="lamp")
    assert [one.edge_set.num_edges for one in values] == [1, 1, 1]


def test_lamp_of_zeros_and_of_nothing() -> None:
    model = dg.SparseLinear(2, 2, bias=False, seed=0)
    model.layer.edges.set_values(torch.zeros(4))
    assert LAMP().scores(model, edge_values(model), sample(None))[0].tolist() == [0.0] * 4
    model.layer.edge_set.edit(drop=model.layer.edge_set.pairs())
    assert LAMP().scores(model, edge_values(model), sample(None))[0].tolist() == []


@pytest.mark.parametrize("make", [ours, theirs])
def test_wanda_prunes_each_neuron_by_weight_times_norm_of_the_input(make: Any) -> None:
    model = make()
    batches = [data(), data(7, 1)]
    x = torch.cat([x for x, _ in batches])
    acts, values = [], edge_values(model)
    layers = [*model.layers] if make is ours else [model[0], model[2], model[4]]
    bends = [torch.tanh, torch.tanh if make is ours else nn.functional.softplus, lambda z: z]
    with torch.no_grad():
        for layer, one, bend in zip(layers, values, bends, strict=True):
            acts.append(x.double().norm(dim=0))
            W = torch.zeros(one.edge_set.num_targets, one.edge_set.num_sources)
            src, dst = (torch.from_numpy(np.array(side)).long() for side in one.edge_set.pairs())
            W[dst, src] = one.values()
            x = bend(x @ W.T + layer.bias)
    before = [dict(zip(pairs(one), one.values().tolist(), strict=True)) for one in values]
    dg.prune(model, 0.5, criterion="wanda", scope="layer", data=batches)
    for one, old, norm in zip(values, before, acts, strict=True):
        kept = set(pairs(one))
        assert abs(len(kept) - len(old) / 2) <= 1
        for v in range(one.edge_set.num_targets):
            mine = sorted(
                (p for p in old if p[1] == v), key=lambda p, old=old, norm=norm: abs(old[p]) * float(norm[p[0]])
            )
            stays = [p for p in mine if p in kept]
            assert stays == mine[len(mine) - len(stays) :]
            assert abs(len(stays) - len(mine) / 2) <= 1


def pairs(one: Any) -> list[tuple[int, int]]:
    return list(zip(*(side.tolist() for side in one.edge_set.pairs()), strict=True))


def test_wanda_refuses_what_has_no_inputs_by_column() -> None:
    model = dg.sparsify(nn.Conv1d(2, 2, 3), 0.5, seed=0)
    with pytest.raises(UnsupportedOperationError, match=r"expected a weight of a Linear .* for criterion 'wanda'"):
        dg.prune(model, 0.5, criterion="wanda", data=(torch.ones(1, 2, 5), None))
    with pytest.raises(ArgumentError, match="which criterion 'wanda' needs"):
        dg.prune(ours(), 0.5, criterion="wanda")
    g = dg.priors.random_layered([3, 4, 2], 0.9, seed=0)
    g.set_column("weight", np.ones(g.number_of_edges()))
    for name in ("grasp", "lamp", "wanda"):
        with pytest.raises(ArgumentError, match="expected one that knows weights alone for a graph"):
            dg.prune(g, 0.5, criterion=name)

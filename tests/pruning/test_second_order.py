"""OBD against an exact Hessian, OBS against the least squares problem that it solves, and random masks."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, UnsupportedOperationError
from deepgraph.priors import random_layered
from deepgraph.pruning import OBD, OBS, Sample, prune, set_random_masks
from deepgraph.pruning.brain_damage import hessian_diagonals
from deepgraph.pruning.surgeon import layer_inputs
from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, SparseLinear, edge_values, sparsify


def data(seed: int = 0, classes: int = 3, rows: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator, dtype=torch.float64), torch.randint(
        classes, (rows,), generator=generator
    )


def ours(storage: str = "csr") -> nn.Module:
    return MaskedDeepFFN(5, 3, [6], density=0.6, activation="tanh", storage=storage, seed=1, dtype=torch.float64)


def theirs() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    return sparsify(model, 0.6, seed=1)


MODELS: dict[str, Any] = {"csr": ours, "masked": lambda: ours("masked"), "pytorch": theirs}


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> nn.Module:
    found: nn.Module = MODELS[request.param]()
    return found


def exact_diagonals(model: Any, x: Tensor, y: Tensor) -> list[np.ndarray]:
    """Return the Hessian's diagonal for the edges of a two-layer tanh network, by torch on dense matrices."""
    layers = list(model.layers) if hasattr(model, "layers") else [model[0], model[2]]
    shapes, places, flat = [], [], []
    for one in edge_values(model):
        shapes.append((one.edge_set.num_sources, one.edge_set.num_targets))
        places.append(tuple(torch.from_numpy(side.astype(np.int64)) for side in one.edge_set.pairs()))
        flat.append(one.values())

    def loss(joined: Tensor) -> Tensor:
        a = x
        for index, part in enumerate(torch.split(joined, [len(w) for w in flat])):
            W = torch.zeros(shapes[index], dtype=torch.float64).index_put(places[index], part)
            a = a @ W + layers[index].bias.detach()
            a = torch.tanh(a) if index == 0 else a
        return nn.functional.cross_entropy(a, y)

    hessian = torch.autograd.functional.hessian(loss, torch.cat(flat))
    return [part.numpy() for part in torch.split(hessian.diagonal(), [len(w) for w in flat])]


def test_obd_is_the_exact_diagonal(model: nn.Module) -> None:
    x, y = data()
    found = OBD().scores(model, edge_values(model), Sample(np.random.default_rng(0), (x, y)))
    for score, h, one in zip(found, exact_diagonals(model, x, y), edge_values(model), strict=True):
        np.testing.assert_allclose(score, h * one.values().numpy() ** 2 / 2, rtol=1e-5, atol=1e-9)


def test_random_vectors_estimate_the_diagonal() -> None:
    model, (x, y) = ours(), data()
    exact = np.concatenate(exact_diagonals(model, x, y))
    errors = []
    for probes in (20, 2000):
        estimate = hessian_diagonals(model, Sample(np.random.default_rng(0), (x, y)), probes)
        errors.append(float(np.abs(np.concatenate(estimate) - exact).max()))
    # The deviation falls with the root of the number: a tenth of it with a hundred times as many.
    assert errors[1] < errors[0] / 4
    assert errors[1] < 0.1 * np.abs(exact).max()


def test_batches_count_by_their_mean() -> None:
    model, (x, y) = ours(), data()
    whole = hessian_diagonals(model, Sample(np.random.default_rng(0), (x, y)))
    parts = hessian_diagonals(model, Sample(np.random.default_rng(0), [(x[:6], y[:6]), (x[6:], y[6:])]))
    np.testing.assert_allclose(np.concatenate(whole), np.concatenate(parts), atol=1e-8)


def test_prune_by_obd(model: nn.Module) -> None:
    x, y = data()
    exact = zip(exact_diagonals(model, x, y), edge_values(model), strict=True)
    scores = np.concatenate([h * one.values().numpy() ** 2 / 2 for h, one in exact])
    weights = np.concatenate([one.values().numpy() for one in edge_values(model)])
    prune(model, 9, criterion="obd", data=(x, y))
    left = np.concatenate([one.values().numpy() for one in edge_values(model)])
    assert np.array_equal(left, weights[np.sort(np.argsort(scores)[9:])])


# -- OBS ---------------------------------------------------------------------------------------------------------------


def inputs_of(model: Any, x: Tensor) -> list[Tensor]:
    """Return what goes into each of two layers, (R, B)."""
    if hasattr(model, "layers"):
        one = edge_values(model)[0]
        W = torch.zeros(5, 6, dtype=torch.float64)
        W[tuple(side.astype(np.int64) for side in one.edge_set.pairs())] = one.values()
        return [x.T, torch.tanh(x @ W + model.layers[0].bias.detach()).T]
    return [x.T, torch.tanh(model[0](x)).detach().T]


def test_layer_inputs(model: nn.Module) -> None:
    x, y = data()
    found = layer_inputs(model, Sample(np.random.default_rng(0), [(x[:5], y), (x[5:], y)]))
    for mine, expected in zip(found, inputs_of(model, x), strict=True):
        torch.testing.assert_close(mine, expected)


def test_obs_scores_are_what_the_best_repair_leaves(model: nn.Module) -> None:
    """Dropping one edge and solving for the others by least squares changes the sum by twice the score."""
    x, _ = data(rows=40)
    inputs = inputs_of(model, x)
    found = OBS(1e-10).scores(model, edge_values(model), Sample(np.random.default_rng(0), (x, None)))
    for score, one, a in zip(found, edge_values(model), inputs, strict=True):
        src, dst = one.edge_set.pairs()
        for row in range(len(src)):
            mine = np.flatnonzero(dst == dst[row])
            target = a[src[mine]].T @ one.values()[mine]
            others = a[src[mine[mine != row]]].T
            left = target
            if others.shape[1]:
                left = target - others @ torch.linalg.lstsq(others, target[:, None]).solution[:, 0]
            assert score[row] == pytest.approx(float(left.square().mean()) / 2, rel=1e-5)


def test_the_weights_that_stay_are_the_least_squares_solution(model: nn.Module) -> None:
    x, y = data(rows=40)
    inputs = inputs_of(model, x)
    before = [(one.edge_set.pairs(), one.values()) for one in edge_values(model)]
    prune(model, 14, criterion=OBS(1e-10), data=(x, y))
    gone = 0
    for (pairs, weight), one, a in zip(before, edge_values(model), inputs, strict=True):
        src, dst = one.edge_set.pairs()
        gone += len(weight) - len(src)
        for v in range(one.edge_set.num_targets):
            was, now = pairs[1] == v, dst == v
            target = a[pairs[0][was]].T @ weight[torch.from_numpy(was)]
            if now.any():
                solution = torch.linalg.lstsq(a[src[now]].T, target[:, None]).solution[:, 0]
                torch.testing.assert_close(one.values()[torch.from_numpy(now)], solution, rtol=1e-5, atol=1e-7)
    assert gone == 14


def test_obs_keeps_more_of_the_function_than_magnitude() -> None:
    """In a layer whose inputs depend on each other."""
    x, y = data(rows=60)
    x = x @ torch.randn(5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for seed in range(4):
        model = SparseLinear(8, 3, seed=seed, dtype=torch.float64)
        expected, errors = model(x).detach(), {}
        for criterion in ("obs", "magnitude"):
            pruned = prune(copy.deepcopy(model), 8, criterion=criterion, data=(x, y), rounds=8)
            errors[criterion] = float((pruned(x).detach() - expected).square().mean())
        assert errors["obs"] < errors["magnitude"] / 2


def test_obs_on_a_graph() -> None:
    graph = random_layered([5, 6, 4, 3], 0.6, seed=0)
    model = MaskedDeepDAN.from_graph(graph, activation="tanh", seed=0, dtype=torch.float64)
    edges = model.num_edges
    prune(model, 0.3, criterion="obs", data=data(), rounds=3)
    assert model.num_edges == edges - round(0.3 * edges)


def test_mistakes() -> None:
    model = ours()
    for name in ("obd", "obs"):
        with pytest.raises(ArgumentError, match=f"data: expected a batch .* which criterion '{name}' needs"):
            prune(model, 0.5, criterion=name)
        with pytest.raises(ArgumentError, match=f"data: expected at least one batch .* for criterion '{name}'"):
            prune(model, 0.5, criterion=name, data=[])
    with pytest.raises(ArgumentError, match="probes: expected an integer >= 1 or None, got 0"):
        OBD(0)
    with pytest.raises(ArgumentError, match=r"damping: expected a number > 0, got 0\.0"):
        OBS(0.0)
    conv = sparsify(nn.Sequential(nn.Conv1d(1, 2, 3)), 0.5, seed=0)
    with pytest.raises(UnsupportedOperationError, match="expected a weight of a Linear or of a module of deepgraph"):
        prune(conv, 0.5, criterion="obs", data=(torch.randn(2, 1, 5), None))


def test_the_model_is_only_looked_at() -> None:
    model = ours()
    state = {name: entry.clone() for name, entry in model.state_dict().items()}
    for criterion in (OBD(), OBS()):
        criterion.scores(model, edge_values(model), Sample(np.random.default_rng(0), data()))
    assert all(torch.equal(entry, state[name]) for name, entry in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# -- random masks ------------------------------------------------------------------------------------------------------


def test_random_masks_have_the_density_and_keep_weights(model: nn.Module) -> None:
    def by_pair() -> list[dict[tuple[int, int], float]]:
        return [
            dict(zip(zip(*(s.tolist() for s in one.edge_set.pairs()), strict=True), one.values().tolist(), strict=True))
            for one in edge_values(model)
        ]

    before = by_pair()
    assert set_random_masks(model, 0.4, seed=3) is model
    for old, new, one in zip(before, by_pair(), edge_values(model), strict=True):
        assert len(new) == round(0.4 * one.edge_set.num_admissible)
        assert all(weight == old.get(pair, 0.0) for pair, weight in new.items())
    first = by_pair()
    set_random_masks(model, 0.4, seed=3)
    assert [list(part) for part in by_pair()] == [list(part) for part in first]
    with pytest.raises(ArgumentError, match="density"):
        set_random_masks(model, 0.0)

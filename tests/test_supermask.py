"""Learned masks: strategies, their options, deterministic evaluation, gradients."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.errors import ArgumentError
from deepgraph.supermask import (
    ASLPMask,
    BernoulliMask,
    EdgePopupMask,
    add_masks,
    learned_masks,
    mask_density,
    mask_optimizer,
    mean_over_masks,
    prune_masked,
    sampled_masks,
    signed_constant_,
)

STRATEGIES = ["ASLP", "supermask", "edge-popup"]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Sequential(nn.Linear(64, 16), nn.ReLU()), nn.Linear(16, 3)
    )


IMAGES = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("strategy", "rescale", "constant"), list(itertools.product(STRATEGIES, [0, 1], [0, 1])))
def test_every_combination_trains_scores_only_and_prunes(strategy: str, rescale: int, constant: int) -> None:
    # ASLP's edge-popup with signed constant crashes.
    model = add_masks(network(), strategy, weight_rescale=rescale, signed_constant=constant, seed=0)  # type: ignore[arg-type]
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    optimizer = mask_optimizer(model, lr=5.0)
    scores = [mask.scores.detach().clone() for mask in learned_masks(model)]
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(IMAGES), torch.arange(8) % 3).backward()
        optimizer.step()
    assert all(not torch.equal(a, mask.scores) for a, mask in zip(scores, learned_masks(model), strict=True))
    assert all(torch.equal(dict(model.named_parameters())[name], p) for name, p in frozen.items())
    expected = model.eval()(IMAGES)
    density = mask_density(model)
    assert prune_masked(model) is model
    torch.testing.assert_close(model.train()(IMAGES), expected)
    assert list(model.state_dict()) == list(network().state_dict())
    weights = [p for name, p in model.named_parameters() if name.endswith("weight")]
    assert sum(int((w != 0).sum()) for w in weights) / sum(w.numel() for w in weights) == pytest.approx(density)
    assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluation_is_deterministic_and_draws_nothing(strategy: str) -> None:
    # In ASLP masks are drawn in eval mode too.
    model = add_masks(network(), strategy, seed=0)  # type: ignore[arg-type]
    state = torch.random.get_rng_state()
    first, second = model.eval()(IMAGES), model(IMAGES)
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)
    if strategy != "edge-popup":
        assert not torch.equal(model.train()(IMAGES), model(IMAGES))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv1d(2, 3, 3), nn.Conv2d(2, 3, 3), nn.Conv3d(2, 3, 2)])
def test_signed_constants_on_every_layer(strategy: str, layer: nn.Module) -> None:
    # In ASLP they have no effect on Linear.
    layer = copy.deepcopy(layer)
    signs = layer.weight.sign()
    add_masks(layer, strategy, signed_constant=True, seed=0)  # type: ignore[arg-type]
    original = layer.parametrizations.weight.original
    assert original.abs().unique().numel() == 1
    if strategy != "edge-popup":
        assert torch.equal(original.sign(), signs)


def test_signed_constant_is_the_standard_deviation() -> None:
    w = torch.randn(50, 20)
    std = w.std()
    assert torch.allclose(signed_constant_(w).abs(), std)
    assert signed_constant_(torch.tensor([0.0, 1.0])).gt(0).all()
    with pytest.raises(ValueError, match="at least two entries"):
        signed_constant_(torch.ones(1))


def test_masks_are_drawn_with_the_probability_of_their_scores() -> None:
    torch.manual_seed(0)
    scores = torch.tensor([-2.0, 0.0, 1.0]).repeat(20_000, 1)
    for mask in (BernoulliMask(scores), ASLPMask(scores)):
        drawn = mask(torch.ones_like(scores))
        assert set(drawn.detach().round(decimals=4).unique().tolist()) == {0.0, 1.0}
        torch.testing.assert_close(drawn.mean(0), torch.sigmoid(scores[0]), atol=0.015, rtol=0)


def test_gradients_are_those_of_the_relaxations() -> None:
    torch.manual_seed(0)
    weight = torch.tensor([2.0, -3.0])
    bernoulli = BernoulliMask(torch.tensor([0.3, -0.7]))
    bernoulli(weight).sum().backward()
    p = torch.sigmoid(bernoulli.scores.detach())
    torch.testing.assert_close(bernoulli.scores.grad, weight * p * (1 - p))
    popup = EdgePopupMask(torch.tensor([0.3, -0.7]), sparsity=0.5)
    popup(weight).sum().backward()
    torch.testing.assert_close(popup.scores.grad, weight * torch.tensor([1.0, -1.0]))
    # Against torch's Gumbel-softmax on average over the noise.
    scores = torch.full((100_000,), 0.4)
    ours = ASLPMask(scores, temperature=0.7)
    ours(torch.ones(100_000)).sum().backward()
    pair = torch.stack([scores, torch.zeros_like(scores)]).requires_grad_()
    nn.functional.gumbel_softmax(pair, tau=0.7, hard=True, dim=0)[0].sum().backward()
    assert ours.scores.grad.mean().item() == pytest.approx(pair.grad[0].mean().item(), abs=0.01)


def test_weight_rescale_of_each_strategy() -> None:
    weight = torch.ones(4)
    scores = torch.tensor([1.0, -1.0, -1.0, -1.0])
    assert BernoulliMask(scores, weight_rescale=True).eval()(weight).tolist() == [4, 0, 0, 0]
    assert BernoulliMask(-scores.abs(), weight_rescale=True).eval()(weight).tolist() == [0, 0, 0, 0]
    popup = EdgePopupMask(torch.arange(4.0), weight_rescale=True, sparsity=0.75)
    assert popup(weight).tolist() == [0, 0, 0, 2]
    aslp = ASLPMask(scores, weight_rescale=True)
    assert aslp.scale is not None
    with torch.no_grad():
        aslp.scale.fill_(1.5)
    assert aslp.eval()(weight).tolist() == [1.5, 0, 0, 0]
    aslp(weight).sum().backward()
    assert aslp.scale.grad == 1


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.999])
def test_edge_popup_keeps_its_number_exactly(sparsity: float) -> None:
    model = add_masks(nn.Linear(10, 10), "edge-popup", sparsity=sparsity, seed=0)
    assert int((model.weight != 0).sum()) == max(1, round((1 - sparsity) * 100))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes(strategy: str, dtype: torch.dtype) -> None:
    model = add_masks(nn.Linear(6, 4, dtype=dtype), strategy, weight_rescale=True, signed_constant=True, seed=0)  # type: ignore[arg-type]
    y = model(torch.ones(2, 6, dtype=dtype))
    assert y.dtype == dtype
    y.sum().backward()
    assert learned_masks(model)[0].scores.grad.isfinite().all()


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_copies_and_state_dicts(strategy: str) -> None:
    model = add_masks(network(), strategy, weight_rescale=True, seed=0).eval()  # type: ignore[arg-type]
    fresh = add_masks(network(), strategy, weight_rescale=True, seed=1).eval()  # type: ignore[arg-type]
    fresh.load_state_dict(model.state_dict())
    for twin in (copy.deepcopy(model), fresh):
        assert torch.equal(twin(IMAGES), model(IMAGES))


def test_a_seed_leaves_global_state_alone(global_rng_untouched: None) -> None:
    layers = [nn.utils.skip_init(nn.Linear, 5, 5) for _ in range(2)]
    a, b = (add_masks(layer, "edge-popup", seed=4) for layer in layers)
    assert torch.equal(a.weight, b.weight)


def test_the_mask_is_seen_by_extraction() -> None:
    model = add_masks(nn.Linear(6, 4), "edge-popup", sparsity=0.75, seed=0)
    assert dg.extract(model, torch.ones(1, 6)).number_of_edges() == 6


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_masks_alone_learn(strategy: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 2))
    add_masks(model, strategy, signed_constant=True, seed=0)  # type: ignore[arg-type]
    optimizer = mask_optimizer(model, lr=1.0 if strategy == "edge-popup" else 100.0)
    x = torch.randn(256, 10)
    y = (x[:, 0] > 0).long()
    before = (model.eval()(x).argmax(1) == y).float().mean()
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model.train()(x), y).backward()
        optimizer.step()
    assert (model.eval()(x).argmax(1) == y).float().mean() > max(0.85, before)


def test_wrong_arguments_change_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="strategy: expected one of"):
        add_masks(model, "aslp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"sparsity: expected a number in \[0, 1\)"):
        add_masks(model, "edge-popup", sparsity=1.0)
    with pytest.raises(ValueError, match="temperature: expected a finite number > 0, got 0"):
        add_masks(model, temperature=0)
    with pytest.raises(ValueError, match="init_value: expected a finite number, got nan"):
        add_masks(model, init_value=float("nan"))
    with pytest.raises(ValueError, match="init_value: expected a finite number, got 'zero'"):
        add_masks(model, init_value="zero")  # type: ignore[arg-type]
    assert all(p.requires_grad for p in model.parameters())
    assert list(model.state_dict()) == ["0.weight", "0.bias"]
    with pytest.raises(ValueError, match="expected Linear or convolutional modules, got ReLU"):
        add_masks(nn.ReLU())
    with pytest.raises(TypeError, match=r"expected an nn\.Module, got int"):
        add_masks(3)  # type: ignore[arg-type]
    for ask in (mask_density, mask_optimizer, prune_masked):
        with pytest.raises(ValueError, match="expected learned masks in it"):
            ask(model)
    add_masks(model)
    with pytest.raises(ValueError, match="whose weight is computed"):
        add_masks(model)


def test_means_over_drawn_masks() -> None:
    """One linear output over masks of known probability: the mean is the probability, and a seed fixes it."""
    model = nn.Linear(400, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1 / 400)
    add_masks(model, "supermask", init_value=0.8).eval()
    x = torch.ones(1, 400)
    chance = 1 / (1 + np.exp(-0.8))
    found = mean_over_masks(model, x, samples=200, seed=1)
    assert found.item() == pytest.approx(chance, abs=4 * np.sqrt(chance * (1 - chance) / 400 / 200))
    assert torch.equal(found, mean_over_masks(model, x, samples=200, seed=1))
    assert not torch.equal(found, mean_over_masks(model, x, samples=200, seed=2))
    assert model(x).item() == pytest.approx(1.0)
    with pytest.raises(ArgumentError, match="samples: expected an integer >= 1, got 0"):
        mean_over_masks(model, x, samples=0)
    with pytest.raises(ArgumentError, match="expected learned masks in it"), sampled_masks(nn.Linear(2, 2)):
        pass


def test_drawing_in_eval_mode_ends_with_the_block() -> None:
    model = add_masks(nn.Linear(60, 2), "ASLP", seed=0).eval()
    x, state = torch.ones(1, 60), torch.get_rng_state()
    before = model(x)

    def fails() -> None:
        with sampled_masks(model, seed=0):
            assert not torch.equal(model(x), before)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fails()
    assert torch.equal(model(x), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_frozen_mask_becomes_a_graph(strategy: str) -> None:
    """What is on in eval mode are the edges of the extracted graph, and the graph computes the same."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2))
        add_masks(model, strategy, seed=0)
        for mask in learned_masks(model):
            nn.init.normal_(mask.scores)
    model.eval()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    expected, kept = model(x).detach(), sum(int(mask.kept().sum()) for mask in learned_masks(model))
    graph = dg.extract(prune_masked(model), x[:1])
    assert graph.number_of_edges() == kept
    torch.testing.assert_close(dg.MaskedDeepDAN.from_graph(graph)(x), expected)


def test_a_net_whose_scores_were_not_touched_keeps_all_weights() -> None:
    """Scores start at exactly 0, which counts as on."""
    for strategy in ("ASLP", "supermask"):
        model = nn.Sequential(nn.Linear(3, 2))
        before = model[0].weight.detach().clone()
        add_masks(model, strategy).eval()  # type: ignore[arg-type]
        assert torch.equal(model[0].weight, before)

"""fastsparse's names: distributions, scores, presets, sparse models, initialisation, counts of operations."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.compat import fastsparse as fs
from deepgraph.priors.densities import edge_counts

SHAPES = [(64, 3, 3, 3), (128, 64, 3, 3), (256, 1152), (10, 256)]
WEIGHTS = [torch.ones(shape) for shape in SHAPES]


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_erdos_renyi_meets_the_models_sparsity(sparsity: float, kernel: bool, power: float) -> None:
    found = fs.erdos_renyi_sparsity(WEIGHTS, sparsity, kernel, power)
    sizes = [w.numel() for w in WEIGHTS]
    assert all(0 <= s <= 1 for s in found)
    assert sum(s * n for s, n in zip(found, sizes, strict=True)) == pytest.approx(sparsity * sum(sizes))
    if power == 0:
        assert found == pytest.approx([sparsity] * 4)


def test_erdos_renyi_agrees_with_the_exact_counts() -> None:
    counts = edge_counts(SHAPES, 0.1, "erk")
    for s, n, w in zip(fs.erdos_renyi_sparsity(WEIGHTS, 0.9), counts, WEIGHTS, strict=True):
        assert (1 - s) * w.numel() == pytest.approx(n, abs=1)


def test_first_layer_dense_means_sparsity_zero() -> None:
    # The README's own example returns 1 for the first layer, which leaves nothing of it.
    assert fs.first_layer_dense_uniform(WEIGHTS, 0.9) == [0.0, 0.9, 0.9, 0.9]
    assert fs.first_layer_dense_uniform([], 0.9) == []
    assert fs.uniform_sparsity(WEIGHTS, 0.9) == [0.9] * 4


def test_distributions_check_their_numbers() -> None:
    for f in (fs.uniform_sparsity, fs.erdos_renyi_sparsity):
        for bad in (1.0, -0.1, float("nan")):
            with pytest.raises(ValueError, match=r"model_sparsity: expected a number in \[0, 1\)"):
                f(WEIGHTS, bad)
    with pytest.raises(ValueError, match="erk_power_scale: expected a finite number >= 0, got -1"):
        fs.erdos_renyi_sparsity(WEIGHTS, 0.5, True, -1)
    with pytest.raises(ValueError, match="expected weights of at least two dimensions"):
        fs.erdos_renyi_sparsity([torch.ones(3)], 0.5)


# -- scores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.Adam(p, lr=0.1)]
)
def test_scores(make) -> None:  # type: ignore[no-untyped-def]
    a, b = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([3.0]))
    opt = make([a, b])
    with pytest.raises(ValueError, match="expected a weight with a gradient, got none"):
        fs.gradient_magnitude(a)
    with pytest.raises(ValueError, match="expected an optimizer with momentum"):
        fs.gradient_momentum(a, opt)
    (a * torch.tensor([4.0, -1.0])).sum().add(b.sum()).backward()
    assert fs.gradient_magnitude(a).tolist() == [4, 1]
    opt.step()
    momentum = fs.gradient_momentum(a, opt=opt)
    assert (momentum > 0).all()
    assert fs.weight_magnitude(b, opt=opt).item() == b.abs().item()
    assert 0 <= fs.random_score(a, opt=opt).min() < 1
    shares = fs.momentum_redistribution([a, b], [torch.tensor([True, False]), torch.tensor([True])], opt)
    assert sum(shares) == pytest.approx(1)
    if isinstance(opt, torch.optim.SGD):
        assert shares == pytest.approx([0.8, 0.2])
        assert fs.momentum_redistribution([a, b], [torch.zeros(2), torch.zeros(1)], opt) == [0.5, 0.5]


def test_presets_name_the_methods_of_the_papers() -> None:
    assert fs.RigL_kwargs is fs.RigL_presets
    assert fs.SET_presets["grow_score_f"] is fs.random_score
    assert fs.RigL_presets["grow_score_f"] is fs.gradient_magnitude
    assert fs.SNFS_presets["redistribute_f"] is fs.momentum_redistribution
    assert all(p["keep_score_f"] is fs.weight_magnitude for p in (fs.SET_presets, fs.RigL_presets, fs.SNFS_presets))


# -- models -----------------------------------------------------------------------------------------------------------


class Everything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(2, 8, 3), nn.Conv2d(2, 8, 3), nn.Conv3d(2, 8, 3))
        self.turned = nn.Sequential(nn.ConvTranspose1d(2, 8, 3), nn.ConvTranspose2d(2, 8, 3, groups=2))
        self.attention = nn.MultiheadAttention(8, 2)
        self.recurrent = nn.ModuleList([nn.RNN(6, 8), nn.GRU(6, 8), nn.LSTM(6, 8, num_layers=2), nn.LSTMCell(6, 8)])


@pytest.mark.parametrize("mode", [None, "fan_in", "fan_out"])
def test_every_kind_of_module_becomes_sparse(mode) -> None:  # type: ignore[no-untyped-def]
    # In fastsparse LSTMs crash, and the in_proj of attention stays dense.
    model = Everything()
    hooks = fs.sparsify_model(model, 0.75, sparse_init_mode=mode, seed=0)
    assert len(hooks) == 3 + 2 + 2 + 4
    for name, p in model.named_parameters():
        if p.dim() > 1:
            assert int((p != 0).sum()) == pytest.approx(p.numel() / 4, abs=2), name
    model.recurrent[2](torch.randn(4, 3, 6))[0].sum().backward()
    for hook in hooks:
        hook.remove()
        hook.remove()
    assert not any(p._backward_hooks for p in model.parameters())


def step(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(torch.randn(8, 20)).square().sum().backward()
    optimizer.step()


def test_masks_are_enforced_until_the_hooks_are_removed() -> None:
    model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 5))
    plain = list(copy.deepcopy(model).state_dict())
    hooks = fs.sparsify_model(model, sparsity=0.9, sparse_init_f=fs.erdos_renyi, enforce_masks=True, seed=0)
    zeros = [p == 0 for p in model.parameters() if p.dim() > 1]
    step(model)
    assert all((p[zero] == 0).all() for p, zero in zip((model[0].weight, model[2].weight), zeros, strict=True))
    for hook in hooks:
        hook.remove()
    step(model)
    assert (model[0].weight[zeros[0]] != 0).any()
    assert list(model.state_dict()) == plain
    pickle.loads(pickle.dumps(model))
    assert fs.sparsify_model(model, 0.5, seed=1)


def test_masks_are_not_enforced_where_that_is_not_asked_for() -> None:
    model = nn.Sequential(nn.Linear(20, 10))
    assert fs.sparsify_model(model, 0.9, enforce_mask=False, seed=0) == []
    assert int((model[0].weight != 0).sum()) == 20
    step(model)
    assert int((model[0].weight != 0).sum()) > 20


def test_rewirers_train_what_sparsify_model_made() -> None:
    model = nn.Sequential(nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 5))
    fs.sparsify_model(model, 0.8, seed=0)
    optimizer = dg.RigL(model, torch.optim.Adam(model.parameters()), every=2, until=6, seed=0)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(8, 20)).square().sum().backward()
        optimizer.step()
    assert len(optimizer.history) > 0
    assert int((model[0].weight != 0).sum()) <= 40


def test_sparsify_model_checks_its_arguments() -> None:
    model = nn.Sequential(nn.Linear(20, 10))
    with pytest.raises(ValueError, match="expected one of model_sparsity and sparsity, got both"):
        fs.sparsify_model(model, 0.5, sparsity=0.5)
    with pytest.raises(ValueError, match=r"expected a number in \[0, 1\), got None"):
        fs.sparsify_model(model)
    with pytest.raises(ValueError, match="expected a sparsity for each of 1 weights, got 2"):
        fs.sparsify_model(model, 0.5, lambda params, s: [s, s])
    with pytest.raises(ValueError, match="sparse_init_mode: expected 'fan_in', 'fan_out' or None"):
        fs.sparsify_model(model, 0.5, sparse_init_mode="fan")  # type: ignore[arg-type]
    assert fs.sparsify_model(model, 0.0) == []


@pytest.mark.parametrize("shape", [(400, 300), (60, 40, 5, 5)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_initialisation_keeps_the_scale_of_signals(shape: tuple[int, ...], mode: str) -> None:
    # That of fastsparse leaves the kernel out of the fan, and is 9 times too large for 3 x 3 kernels.
    rng = torch.Generator().manual_seed(0)
    mask = torch.rand(shape, generator=rng) < 0.1
    w = fs.init_kaiming_normal_sparse_(torch.ones(shape), mask, mode=mode, nonlinearity="relu", generator=rng)  # type: ignore[arg-type]
    assert (w[~mask] == 0).all()
    total = w.square().flatten(1).sum(1) if mode == "fan_in" else w.square().transpose(0, 1).flatten(1).sum(1)
    assert total.mean().item() == pytest.approx(2, rel=0.1)
    dense = fs.init_kaiming_normal_sparse_(torch.ones(shape), generator=rng)
    fan = math.prod(shape[1:])
    assert dense.std().item() == pytest.approx(math.sqrt(2 / fan), rel=0.05)


def test_initialisation_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="mode: expected 'fan_in' or 'fan_out', got 'fan_avg'"):
        fs.init_kaiming_normal_sparse_(torch.ones(3, 2), mode="fan_avg")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected at least two dimensions"):
        fs.init_kaiming_normal_sparse_(torch.ones(3))
    with pytest.raises(ValueError, match=r"mask: expected shape \(3, 2\)"):
        fs.init_kaiming_normal_sparse_(torch.ones(3, 2), torch.ones(2, 3))


# -- operations -------------------------------------------------------------------------------------------------------

CASES = [
    (nn.Linear(5, 3), (2, 7, 5)),
    (nn.Conv1d(4, 6, 3, groups=2), (2, 4, 9)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1), (2, 4, 9, 9)),
    (nn.Conv3d(2, 3, 2), (2, 2, 4, 4, 4)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 5)),
]


@pytest.mark.parametrize(("module", "shape"), CASES)
def test_dense_counts_are_torchs_own(module: nn.Module, shape: tuple[int, ...]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.randn(shape)
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        module(x)
    assert fs.count_flops(module, x) == theirs.get_total_flops()


def test_counts_follow_the_edges() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    x = torch.zeros(3, 1, 6, 6)
    dense = fs.count_flops(model, x)
    fs.sparsify_model(model, 0.75, seed=0)
    assert fs.count_flops(model, x, sparse=False) == dense
    assert fs.count_flops(model, x) == 2 * 3 * (9 * 16 + 160)
    model.train()
    with fs.FlopsCounter(model) as counter:
        model(x)
        model(x)
    assert counter.sparse == 2 * 2 * 3 * (9 * 16 + 160)
    assert set(counter.by_module) == {"0", "3"}
    assert model.training
    assert not model[0]._forward_hooks
    with pytest.raises(ValueError, match="expected what the model is called with"):
        fs.count_flops(model)


def test_counts_of_attention_and_recurrent_layers() -> None:
    x = torch.zeros(7, 2, 8)
    assert fs.count_flops(nn.LSTM(8, 6), x) == 2 * 14 * (24 * 8 + 24 * 6)
    attention = nn.MultiheadAttention(8, 2)
    projections = 4 * 14 * 64
    assert fs.count_flops(attention, x, x, x) == 2 * (projections + 2 * 14 * 7 * 8)
    other = nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)
    k = torch.zeros(2, 5, 4)
    q = torch.zeros(2, 7, 8)
    assert fs.count_flops(other, q, k, k) == 2 * (2 * 14 * 64 + 2 * 10 * 32 + 2 * 14 * 5 * 8)

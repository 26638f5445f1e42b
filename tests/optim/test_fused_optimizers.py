"""The fused optimizers give torch's numbers, keep torch's state, and go where torch's go."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.kernels.plan import has_numba
from deepgraph.optim import SGD, Adam, AdamW, fused
from deepgraph.sparse import edge_values

CASES = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.2}),
    (SGD, {"lr": 0.1, "momentum": 0.9}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.5, "maximize": True, "weight_decay": 0.1}),
    (Adam, {"lr": 0.1}),
    (Adam, {"lr": 0.1, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-4}),
    (Adam, {"lr": 0.1, "amsgrad": True}),
    (Adam, {"lr": 0.1, "maximize": True, "weight_decay": 0.1}),
    (AdamW, {"lr": 0.1}),
    (AdamW, {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True}),
]
TORCH = {SGD: torch.optim.SGD, Adam: torch.optim.Adam, AdamW: torch.optim.AdamW}
case = pytest.mark.parametrize(("kind", "options"), CASES)


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [(7,), (3, 5), (1,), (0,), (1000,)]
    return [nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in shapes]


def drive(optimizer, params, steps=range(8)):
    """Take steps with gradients that depend on the step only."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for number, p in enumerate(params):
            grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
            p.grad = None if number == 2 and step % 3 == 1 else grad
        optimizer.step()


def same(a, b, dtype=torch.float32):
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-13}
    for p, q in zip(a, b, strict=True):
        torch.testing.assert_close(p, q, **tolerance)


def states(optimizer):
    return [value for state in optimizer.state_dict()["state"].values() for value in state.values()]


@case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gives_torchs_numbers_and_state(kind, options, dtype):
    mine, theirs = parameters(dtype), parameters(dtype)
    optimizer, reference = kind(mine, **options), TORCH[kind](theirs, **options)
    drive(optimizer, mine)
    drive(reference, theirs)
    same(mine, theirs, dtype)
    same(states(optimizer), states(reference), dtype)
    a, b = optimizer.state_dict(), reference.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert [list(state) for state in a["state"].values()] == [list(state) for state in b["state"].values()]
    assert isinstance(optimizer, TORCH[kind])


@case
def test_states_are_exchanged_with_torchs(kind, options):
    straight = parameters()
    drive(kind(straight, **options), straight)
    for first, second in ((kind, TORCH[kind]), (TORCH[kind], kind), (kind, kind)):
        params = parameters()
        before = first(params, **options)
        drive(before, params, range(4))
        after = second(params, **options)
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        drive(after, params, range(4, 8))
        same(params, straight)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_groups_and_schedulers(kind):
    results = []
    for use in (kind, TORCH[kind]):
        params = parameters()
        optimizer = use([{"params": params[:2], "lr": 0.2}, {"params": params[2:], "weight_decay": 0.1}], lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        for step in range(6):
            drive(optimizer, params, [step])
            scheduler.step()
        results.append(params)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.025)
    same(*results)


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
@pytest.mark.parametrize("why", ["numba", "dtype", "strides", "tensor rate"])
def test_torchs_own_step_runs_where_the_loop_cannot(kind, why, monkeypatch):
    if why == "numba":
        monkeypatch.setattr(fused, "has_numba", lambda: False)
    results, calls = [], []
    for use in (kind, TORCH[kind]):
        params = parameters(torch.bfloat16 if why == "dtype" else torch.float32)
        if why == "strides":
            params[1] = nn.Parameter(params[1].detach().t())
        rate = torch.tensor(0.1) if why == "tensor rate" and use is not SGD else 0.1
        optimizer = use(params, lr=rate)
        optimizer.register_step_post_hook(lambda *_: calls.append(1))
        drive(optimizer, params)
        results.append(params)
    assert len(calls) == 16
    for p, q in zip(*results, strict=True):
        torch.testing.assert_close(p, q, rtol=2e-5, atol=2e-6)


def test_torchs_step_runs_hooks_once_after_torchs_own_class_was_used(monkeypatch):
    torch.optim.SGD(parameters(), lr=0.1)
    monkeypatch.setattr(fused, "has_numba", lambda: False)
    params, calls = parameters(), []
    optimizer = SGD(params, lr=0.1)
    optimizer.register_step_pre_hook(lambda *_: calls.append(1))
    drive(optimizer, params, [0])
    assert calls == [1]


def test_a_closure_is_called_with_gradients_on():
    p = nn.Parameter(torch.tensor([2.0]))
    optimizer = SGD([p], lr=0.25)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert p.item() == 1.0


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_wrong_options_are_torchs_errors(kind):
    with pytest.raises(ValueError, match="Invalid learning rate: -1"):
        kind(parameters(), lr=-1.0)


@pytest.mark.skipif(not has_numba(), reason="numba is not installed")
@pytest.mark.parametrize("kind", [SGD, Adam])
def test_threads_do_not_change_a_byte(kind, monkeypatch):
    monkeypatch.setattr(fused, "_THREAD_ELEMENTS", 0)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        params = parameters()
        drive(kind(params, lr=0.1), params)
        results.append(params)
    assert all(torch.equal(p, q) for other in results[1:] for p, q in zip(results[0], other, strict=True))


@pytest.mark.parametrize("storage", ["csr", "masked"])
@pytest.mark.parametrize(("kind", "options"), [(SGD, {"lr": 0.1, "momentum": 0.9}), (Adam, {"lr": 0.01})])
def test_state_follows_edits_as_torchs_does(kind, options, storage):
    results = []
    for use in (kind, TORCH[kind]):
        model = dg.MaskedDeepFFN(6, 3, [8, 7], density=0.4, storage=storage, seed=0)
        optimizer = use(model.parameters(), **options)
        dg.follow(model, optimizer)
        rng = np.random.default_rng(0)
        for step in range(6):
            optimizer.zero_grad()
            x = torch.randn(5, 6, generator=torch.Generator().manual_seed(step))
            model(x).square().mean().backward()
            optimizer.step()
            edges = edge_values(model)[1].edge_set
            src, dst = edges.pairs()
            gone = rng.random(len(src)) < 0.3
            u, v = (part.ravel() for part in np.meshgrid(range(8), range(7), indexing="ij"))
            absent = np.flatnonzero(edges.find(u, v) < 0)[: 3 + 2 * step]
            edges.edit(drop=(src[gone], dst[gone]), grow=(u[absent], v[absent]))
        results.append(list(model.state_dict().values()))
    same(*results)


def test_a_rewirer_wraps_them():
    model = dg.MaskedDeepFFN(6, 3, [8, 7], density=0.4, seed=0)
    optimizer = dg.RigL(model, Adam(model.parameters(), lr=0.01), every=2, until=20, seed=0)
    for _ in range(6):
        optimizer.zero_grad()
        model(torch.randn(5, 6)).square().mean().backward()
        optimizer.step()
    assert len(model.graph.history)


def test_copies_go_on_alike():
    params = parameters()
    optimizer = Adam(params, lr=0.1)
    drive(optimizer, params, range(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both, twin = copy.deepcopy((params, optimizer))
    drive(optimizer, params, range(3, 6))
    drive(twin, both, range(3, 6))
    same(params, both)

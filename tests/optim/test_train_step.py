"""A training step without autograd leaves the model where the ordinary loop leaves it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.optim import SGD, Adam, train_step
from deepgraph.sparse import edge_values


def graph():
    g = dg.priors.random_layered([6, 9, 7, 3], 0.6, seed=0, skip=1)
    g.set_node_column("activation", np.array([""] * 6 + ["tanh"] * 9 + ["gelu"] * 7 + ["identity"] * 3))
    return g


MODELS = {
    "ffn": lambda **k: dg.MaskedDeepFFN(6, 3, [8, 7], density=0.4, storage="csr", seed=0, **k),
    "ffn masked": lambda **k: dg.MaskedDeepFFN(6, 3, [8, 7], density=0.4, storage="masked", seed=0, **k),
    "ffn of both": lambda **k: dg.MaskedDeepFFN(6, 3, [8, 7], density=[0.2, 1.0, 0.2], seed=0, **k),
    "ffn without bias": lambda **k: dg.MaskedDeepFFN(6, 3, [8, 7], density=0.4, bias=False, seed=0, **k),
    "graph": lambda **k: dg.MaskedDeepDAN.from_graph(graph(), storage="csr", seed=0, **k),
    "graph masked": lambda **k: dg.MaskedDeepDAN.from_graph(graph(), storage="masked", seed=0, **k),
    "stem and head": lambda **k: dg.MaskedDeepDAN(6, 3, graph(), stem_density=0.5, seed=0, **k),
    "linear": lambda **k: dg.SparseLinear(6, 3, 0.5, seed=0, **k),
    "prelu": lambda **k: dg.MaskedDeepFFN(6, 3, [8, 7], density=0.4, activation="prelu", storage="csr", seed=0, **k),
    "ffn with norm": lambda **k: dg.MaskedDeepFFN(6, 3, [8, 7], True, density=0.4, seed=0, **k),
    "graph with norm": lambda **k: dg.MaskedDeepDAN(6, 3, graph(), True, seed=0, **k),
    "convolutions": lambda **k: convolutions(**k),
    "cells": lambda **k: cells(**k),
}
BY_AUTOGRAD = ("ffn with norm", "graph with norm", "convolutions", "cells")


def convolutions(**options):
    return nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        dg.SparseConv1d(2, 4, 3, 0.5, padding=1, seed=0, **options),
        nn.PReLU(4),
        nn.Flatten(),
        dg.SparseLinear(12, 3, 0.5, seed=1, **options),
    )


def cells(**options):
    g = dg.priors.random_layered([3, 5, 3], 0.7, seed=0)
    return nn.Sequential(
        dg.MaskedDeepDAN.from_graph(g, cell=dg.cells.Linear(2), seed=0, **options), dg.SparseLinear(6, 3, seed=1)
    )


LOSS = {"cross_entropy": nn.functional.cross_entropy, "mse": nn.functional.mse_loss}
every_model = pytest.mark.parametrize("kind", MODELS)
every_loss = pytest.mark.parametrize("loss", LOSS)


def batch(loss, step=0, dtype=torch.float32, rows=20):
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(rows, 6, generator=generator, dtype=torch.float64).to(dtype)
    y = torch.randn(rows, 3, generator=generator, dtype=torch.float64).to(dtype)
    return x, y.argmax(1) if loss == "cross_entropy" else y


def ordinary(model, loss, optimizer):
    def step(x, y):
        optimizer.zero_grad()
        value = LOSS[loss](model(x), y)
        value.backward()
        optimizer.step()
        return value.detach()

    return step


def compare(make, loss, optimizer, steps=6, dtype=torch.float32, between=lambda model, step: None):
    results = []
    for kind in (train_step, ordinary):
        model = make()
        step = kind(model, loss, optimizer(model))
        losses = []
        for number in range(steps):
            losses.append(step(*batch(loss, number, dtype)))
            between(model, number)
        results.append([*losses, *model.state_dict().values(), *(p.grad for p in model.parameters())])
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)


@every_model
@every_loss
def test_equals_the_ordinary_loop(kind, loss):
    compare(MODELS[kind], loss, lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9))


@every_loss
@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_with_fused_optimizers_and_in_double_precision(loss, optimizer):
    compare(
        lambda: MODELS["ffn"](dtype=torch.float64), loss, lambda m: optimizer(m.parameters(), lr=0.01),
        dtype=torch.float64,
    )  # fmt: skip


@every_model
def test_edits_between_steps_are_followed(kind):
    def edit(model, step):
        values = edge_values(model)[0]
        src, dst = values.edge_set.pairs()
        values.edge_set.edit(drop=(src[step : step + 2], dst[step : step + 2]))

    def optimizer(model):
        made = Adam(model.parameters(), lr=0.01)
        dg.follow(model, made)
        return made

    compare(MODELS[kind], "mse", optimizer, between=edit)


@pytest.mark.parametrize("kind", ["ffn", "graph", "stem and head"])
def test_rigl_edits_alike(kind):
    compare(
        MODELS[kind], "cross_entropy",
        lambda m: dg.RigL(m, SGD(m.parameters(), lr=0.1, momentum=0.9), every=2, until=20, drop_fraction=0.3, seed=0),
        steps=9,
    )  # fmt: skip


@pytest.mark.parametrize("loss", LOSS)
def test_an_input_of_another_shape_is_flattened(loss):
    model = dg.MaskedDeepFFN((2, 3), 3, [5], density=0.5, seed=0)
    other = copy.deepcopy(model)
    x, y = batch(loss)
    a = train_step(model, loss, SGD(model.parameters(), lr=0.1))(x.reshape(20, 2, 3), y)
    b = ordinary(other, loss, SGD(other.parameters(), lr=0.1))(x, y)
    torch.testing.assert_close(a, b)


def test_samples_may_be_left_out_and_nothing_is_left_pending():
    model = MODELS["ffn"]()
    other = copy.deepcopy(model)
    x, y = batch("cross_entropy")
    y[::2] = -100
    train_step(model, "cross_entropy", SGD(model.parameters(), lr=0.1))(x, y)
    ordinary(other, "cross_entropy", SGD(other.parameters(), lr=0.1))(x, y)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert not any(values.pending() for values in edge_values(model))


def test_frozen_parameters_stay():
    model = MODELS["ffn"]()
    frozen = [model.layers[0].weight.requires_grad_(False), model.layers[1].bias.requires_grad_(False)]
    before = [p.detach().clone() for p in frozen]
    train_step(model, "mse", SGD(model.parameters(), lr=0.1))(*batch("mse"))
    assert all(torch.equal(p, q) for p, q in zip(frozen, before, strict=True))
    assert all(p.grad is None for p in frozen)


@every_model
def test_it_tells_whether_it_takes_autograd(kind):
    model = MODELS[kind]()
    step = train_step(model, "mse", SGD(model.parameters(), lr=0.1))
    assert step.uses_autograd == (kind in BY_AUTOGRAD)
    edge_values(model)[0].arm()
    assert step.uses_autograd


def test_what_it_refuses():
    model = MODELS["ffn"]()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match="loss: expected one of cross_entropy, mse, got 'hinge'"):
        train_step(model, "hinge", optimizer)
    with pytest.raises(DtypeError, match="expected a module, got function; pass the model"):
        train_step(batch, "mse", optimizer)
    step = train_step(model, "cross_entropy", optimizer)
    x, y = batch("mse")
    with pytest.raises(ArgumentError, match=r"expected classes \(20,\) of int64, got \(20, 3\) of torch.float32"):
        step(x, y)
    with pytest.raises(ShapeError, match=r"x: expected shape \(batch, 6\)"):
        step(x[:, :5], y)
    with pytest.raises(DtypeError, match=r"x: expected dtype torch\.float32"):
        step(x.double(), y)
    with pytest.raises(ArgumentError, match=r"mse: expected a target of shape \(20, 3\) and dtype torch.float32"):
        train_step(model, "mse", optimizer)(x, y[:, :2])
    assert repr(step) == "TrainStep(MaskedDeepFFN, 'cross_entropy', SGD)"

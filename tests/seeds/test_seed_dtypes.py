"""Modules that users of earlier systems know, in every floating dtype: a step moves no weight that is masked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import networkx as nx
import pytest
import torch
from torch import nn

import deepgraph as dg
from deepgraph.compat.deeprewire import SoftDEEPR, convert, reconvert
from deepgraph.converter import convert_model
from deepgraph.integrations.fastai import sparsify_model
from deepgraph.recurrent import MaskedDeepRNN, MaskedGRULayer, MaskedLSTMLayer, MaskedRecurrentLayer
from deepgraph.scalable import ScalableDAN, ScalableDeepFFN
from deepgraph.sparse import DeepCellDAN, MaskedLinearLayer, SparseLayer, edge_values
from deepgraph.supermask import add_masks, learned_masks

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None, reason="inductor needs a C++ compiler"
)

THEME = nx.DiGraph([("a", "c"), ("b", "c"), ("a", "d"), ("c", "d")])
FLOATS = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def recurrent(cell: Callable[..., nn.Module]) -> nn.Module:
    model = MaskedDeepRNN(6, dg.priors.random_layered([4, 5, 3], 0.5, seed=0), build_recurrent_layer=cell)
    model.layers[0].set_h2h_mask(torch.eye(4))  # type: ignore[operator]
    return nn.Sequential(nn.Unflatten(0, (3, 4)), model)


def masked_linear() -> nn.Module:
    layer = MaskedLinearLayer(6, 3)
    layer.mask = torch.tensor([[1, 0, 0, 1, 0, 1], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    return layer


def sparsified() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    sparsify_model(model, 0.6, seed=0)
    return model


def cells() -> nn.Module:
    def cell(is_input: bool, in_degree: int, **where: Any) -> nn.Module:
        return nn.Conv2d(1 if is_input else in_degree, 1, 3, padding=1)

    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), DeepCellDAN(3, 1, cell, THEME))


# By the storage, where it can be chosen: numba knows no float16, which is for masked ones.
MAKERS: dict[str, Callable[[str], nn.Module]] = {
    "MaskedLinearLayer": lambda storage: masked_linear(),
    "MaskedDeepFFN": lambda storage: dg.MaskedDeepFFN(6, 3, [8], density=0.4, storage=storage, seed=0),
    "MaskedDeepDAN": lambda storage: dg.MaskedDeepDAN(6, 3, nx.DiGraph([(0, 3), (1, 3), (2, 4), (0, 5), (1, 4)]),
                                                      storage=storage, seed=0),
    "ScalableDeepFFN": lambda storage: ScalableDeepFFN([2, 1]).build(6, 3, 12, density=0.5, storage=storage, seed=0),
    "ScalableDAN": lambda storage: ScalableDAN(THEME, seed=0).build(6, 3, 24, storage=storage),
    "MaskedRecurrentLayer": lambda storage: recurrent(MaskedRecurrentLayer),
    "MaskedGRULayer": lambda storage: recurrent(MaskedGRULayer),
    "MaskedLSTMLayer": lambda storage: recurrent(MaskedLSTMLayer),
    "DeepCellDAN": lambda storage: cells(),
    "sparsify_model": lambda storage: sparsified(),
}  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", list(MAKERS))
def test_every_module_trains_in_every_dtype(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = MAKERS[name]("masked").to(dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, eps=1e-3)
    off = [(one.parameter, ~one.mask()) for one in edge_values(model)]
    x = torch.randn(12, 6, dtype=dtype)
    before = [p.detach().clone() for p in model.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        y = model(x)
        assert y.dtype == dtype
        y.square().mean().backward()
        optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.isfinite().all() for p in model.parameters())
    for parameter, mask in off:
        assert (parameter[mask] == 0).all()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("target", ["coo", "csr"])
def test_sparse_layers_train_in_every_dtype(target: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).to(dtype)
    model = convert_model(dense, nn.Linear, target)
    assert isinstance(model[0], SparseLayer)
    model[0].prune_smallest_values(0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(4, 6, dtype=dtype)).square().sum().backward()
    optimizer.step()
    assert model[0].weight.dtype == dtype
    assert model[0].num_edges == 15


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_rewireable_models_train_and_come_back_in_every_dtype(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Unflatten(1, (2, 3, 1)), nn.Conv2d(2, 4, (2, 1), groups=2), nn.Flatten(), nn.Linear(8, 3))
    model.to(dtype)
    rewireable, _ = convert(model, seed=0)
    optimizer = SoftDEEPR(rewireable, lr=0.1, seed=0)
    x = torch.randn(4, 6, dtype=dtype)
    model(x).square().sum().backward()
    optimizer.step()
    y = model(x)
    assert torch.equal(reconvert(model)(x), y)
    assert y.dtype == dtype


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("strategy", ["ASLP", "supermask", "edge-popup"])
def test_learned_masks_train_in_every_dtype(strategy: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = add_masks(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).to(dtype), strategy, seed=0)
    model(torch.randn(4, 6, dtype=dtype)).square().sum().backward()
    assert all(mask.scores.grad is not None and mask.scores.grad.dtype == dtype for mask in learned_masks(model))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=[pytest.mark.slow, needs_compiler])])
@pytest.mark.parametrize("biases", ["ignore", "as_connections", "second_bias"])
def test_a_compiled_rewireable_model_trains_as_it_does_alone(biases: Any, backend: str) -> None:
    def steps(compiled: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
        rewireable, _ = convert(model, biases, seed=0)
        run = torch.compile(model, backend=backend, fullgraph=True) if compiled else model
        optimizer = SoftDEEPR(rewireable, lr=0.1, temp=0.0)
        for seed in range(3):
            x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            run(x).square().sum().backward()
            optimizer.step()
        return [p.detach() for p in reconvert(model).parameters()]

    for one, other in zip(steps(True), steps(False), strict=True):
        torch.testing.assert_close(one, other)

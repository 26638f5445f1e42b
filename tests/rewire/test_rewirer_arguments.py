"""Bad arguments: each a clear error that says what was expected."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from rewire_models import OPTIMIZERS, make_model, train
from torch import nn

from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.rewire import DEEPR, MEST, SET, Rewirer, RigL, SoftDEEPR, drop_share
from deepgraph.rewire.theta import ThetaDEEPR, ThetaSoftDEEPR


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, r"every: expected a number of steps, an integer >= 1, got 0"),
        ({"every": 2.5}, r"every: expected .* got 2\.5"),
        ({"until": 0}, r"until: expected a number of steps, an integer >= 1, got 0"),
        ({"drop_fraction": 0.0}, r"drop_fraction: expected a share in \(0, 1\], .*got 0\.0"),
        ({"drop_fraction": 1.5}, r"drop_fraction: expected a share in \(0, 1\], .*got 1\.5"),
        ({"drop_fraction": float("nan")}, r"drop_fraction: expected a share in \(0, 1\], .*got nan"),
        ({"drop_fraction": "0.3"}, r"drop_fraction: expected a share in \(0, 1\], .*got '0\.3'"),
        ({"decay": "sine"}, r"decay: expected one of \('cosine', 'linear', 'constant'\), got 'sine'"),
        ({"group": "layer"}, r"group: expected one of \('auto', 'set', 'target', 'graph'\), got 'layer'"),
        ({"seed": -1}, r"seed: expected"),
    ],
)
def test_ranges(options: dict[str, Any], message: str) -> None:
    model = make_model("ffn", "csr")
    with pytest.raises(ArgumentError, match=message):
        RigL(model, OPTIMIZERS["sgd"](model), **options)


def test_average() -> None:
    model = make_model("ffn", "csr")
    with pytest.raises(ArgumentError, match=r"average: expected a number of steps, an integer >= 1, got 0"):
        RigL(model, OPTIMIZERS["sgd"](model), average=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": "size"}, "by: expected 'sign' or 'magnitude', got 'size'"),
        ({"grown_std": -1.0}, r"grown_std: expected a finite number >= 0, got -1\.0"),
    ],
)
def test_set(options: dict[str, Any], message: str) -> None:
    model = make_model("ffn", "csr")
    with pytest.raises(ArgumentError, match=message):
        SET(model, OPTIMIZERS["sgd"](model), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -0.1}, r"lr: expected a finite number >= 0, got -0\.1"),
        ({"l1": float("nan")}, r"l1: expected a finite number >= 0, got nan"),
        ({"temperature": -1.0}, r"temperature: expected a finite number >= 0, got -1\.0"),
        ({"group": "target"}, "group: expected 'set' or 'graph', got 'target'"),
    ],
)
def test_deepr(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        DEEPR(make_model("ffn", "csr"), **options)


def test_a_model_without_edge_sets() -> None:
    dense = nn.Linear(2, 2)
    with pytest.raises(ArgumentError, match="expected a model with edge sets, got a Linear without any"):
        RigL(dense, torch.optim.SGD(dense.parameters(), lr=0.1))
    with pytest.raises(ArgumentError, match="expected a model with edge sets, got a Linear without any"):
        DEEPR(dense)
    with pytest.raises(ArgumentError, match="expected a model with edge sets, got a Identity without any"):
        DEEPR(nn.Identity())
    with pytest.raises(DtypeError, match=r"model: expected an nn\.Module with edge sets, got list"):
        RigL([], torch.optim.SGD(dense.parameters(), lr=0.1))  # type: ignore[arg-type]


def test_parameters_instead_of_a_model_give_the_optimizer_of_parameters() -> None:
    dense = nn.Linear(2, 2)
    assert type(DEEPR(list(dense.parameters()), 3)) is ThetaDEEPR  # type: ignore[arg-type]
    assert type(SoftDEEPR(dense.parameters())) is ThetaSoftDEEPR  # type: ignore[arg-type]
    model = make_model("ffn", "csr")
    assert type(copy.deepcopy((model, SoftDEEPR(model)))[1]) is SoftDEEPR


def test_an_optimizer_that_does_not_hold_the_weights() -> None:
    model = make_model("ffn", "csr")
    some = torch.optim.SGD(model.layers[0].parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match=r"optimizer: expected one that holds .* without those of layer 1, layer 2"):
        RigL(model, some)


def test_an_optimizer_that_is_none() -> None:
    model = make_model("ffn", "csr")
    with pytest.raises(DtypeError, match=r"optimizer: expected a torch.optim.Optimizer .*, got generator"):
        RigL(model, model.parameters())  # type: ignore[arg-type]
    with pytest.raises(DtypeError, match=r"optimizer: expected .*, got RigL"):
        SET(model, RigL(model, OPTIMIZERS["sgd"](model)))


def test_scores_of_the_wrong_shape_or_not_finite() -> None:
    class Short(RigL):
        def drop_scores(self, values: Any) -> Any:
            return values.values()[1:]

    class Endless(RigL):
        def grow_scores(self, values: Any, u: Any, v: Any) -> Any:
            return np.full(len(u), np.inf)

    for algorithm, error, message in (
        (Short, ShapeError, r"Short\.drop_scores: expected one number for each of \d+, got shape"),
        (Endless, ArgumentError, r"Endless\.grow_scores: expected finite numbers, got NaN or infinity"),
    ):
        model = make_model("ffn", "csr")
        rewirer: Rewirer = algorithm(model, OPTIMIZERS["sgd"](model), every=1)
        before = [edges.digest() for edges in model.edge_sets]
        with pytest.raises(error, match=message):
            train(model, rewirer, 1)
        assert [edges.digest() for edges in model.edge_sets] == before


def test_a_schedule_outside_its_range() -> None:
    with pytest.raises(ArgumentError, match=r"expected the function to return a share in \[0, 1\], got 2\.0 at 5"):
        drop_share(5, lambda step: 2.0)


def test_mest() -> None:
    model = make_model("ffn", "csr")
    with pytest.raises(ArgumentError, match=r"gradient_weight: expected a finite number >= 0, got -1\.0"):
        MEST(model, OPTIMIZERS["sgd"](model), gradient_weight=-1.0)

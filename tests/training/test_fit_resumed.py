"""Trainings that go on after a checkpoint, and what `fit` and `table` refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from deepgraph.checkpoint import load, rng_state, save
from deepgraph.errors import ArgumentError, DtypeError, ShapeError, UnsupportedOperationError
from deepgraph.rewire import DEEPR, SNFS, RigL
from deepgraph.sparse import MaskedDeepFFN, edge_values
from deepgraph.training import Callback, EarlyStopping, History, Run, fit, table

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 4, generator=GENERATOR)
Y = (X[:, 0] * X[:, 1] > 0).long()


class KilledError(Exception):
    """Ends a run where a signal would."""


class Saving(Callback):
    """Saves after every epoch, and dies in the middle of one."""

    def __init__(self, path: Path, parts: dict[str, Any], at_step: int | None) -> None:
        self.path, self.parts, self.at_step = path, parts, at_step

    def on_step(self, run: Run) -> None:
        if run.step == self.at_step:
            raise KilledError

    def on_epoch(self, run: Run) -> None:
        save({**self.parts, "history": run.history, "rng": rng_state()}, self.path)


def parts(name: str) -> dict[str, Any]:
    model = MaskedDeepFFN(4, 2, [8], density=0.5, seed=0)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    made = {
        "rigl": lambda: RigL(model, adam, every=3, until=40, seed=0),
        "snfs": lambda: SNFS(model, adam, every=3, until=40, seed=0),
        "deepr": lambda: DEEPR(model, lr=0.1, l1=1e-2, seed=0),
    }[name]()
    return {"model": model, "optimizer": made, "schedule": torch.optim.lr_scheduler.ExponentialLR(made, 0.9)}


def trained(path: Path, made: dict[str, Any], at_step: int | None = None, **options: Any) -> History:
    return fit(
        made["model"], (X, Y), optimizer=made["optimizer"], scheduler=made["schedule"], epochs=6, batch_size=16,
        callbacks=[Saving(path, made, at_step)], progress=False, seed=3, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["rigl", "snfs", "deepr"])
def test_a_training_that_was_killed_goes_on_as_if_it_was_not(name: str, tmp_path: Path) -> None:
    whole, killed, resumed = parts(name), parts(name), parts(name)
    torch.manual_seed(0)
    expected = trained(tmp_path / "whole.dg", whole)
    torch.manual_seed(0)
    with pytest.raises(KilledError):
        trained(tmp_path / "run.dg", killed, at_step=14)
    torch.manual_seed(99)
    history = History()
    load(tmp_path / "run.dg", into={**resumed, "history": history, "rng": rng_state()})
    assert (len(history), history.ended) == (3, "running")
    found = trained(tmp_path / "run.dg", resumed, history=history)
    assert found is history
    assert [{**row, "seconds": 0} for row in found.rows] == [{**row, "seconds": 0} for row in expected.rows]
    assert found.ended == "finished"
    for mine, theirs in zip(resumed["model"].state_dict().values(), whole["model"].state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
    # A history that is complete trains no further.
    assert len(fit(resumed["model"], (X, Y), epochs=6, history=history, progress=False)) == 6


def test_a_history_is_saved_and_loaded_with_the_rest(tmp_path: Path) -> None:
    history = History([{"epoch": 1, "loss": np.float32(0.5), "edges": 7}], "stopped")
    save({"history": history}, tmp_path / "run.dg")
    again = History()
    load(tmp_path / "run.dg", into={"history": again})
    assert (again.rows, again.ended) == ([{"epoch": 1, "loss": 0.5, "edges": 7}], "stopped")


def test_a_plateau_is_one_of_the_validation() -> None:
    model = MaskedDeepFFN(4, 2, [8], density=0.5, seed=0)
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    for validation in (None, (X, Y)):
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(sgd, patience=1)
        history = fit(
            model, (X, Y), optimizer=sgd, scheduler=plateau, validation=validation, epochs=4, progress=False, seed=0
        )
        assert plateau.best == pytest.approx(history["loss" if validation is None else "val_loss"].min())
        assert plateau.last_epoch == 4


def test_training_goes_on_after_the_best_epoch_was_restored() -> None:
    """Edges of the best epoch, with an optimizer that knew later ones: its state follows or it cannot go on."""
    model = MaskedDeepFFN(4, 2, [8], density=0.5, seed=0)
    rewirer = RigL(model, torch.optim.Adam(model.parameters(), lr=0.1), every=2, seed=0)
    stop = EarlyStopping(patience=1, restore=True)
    options: dict[str, Any] = {"optimizer": rewirer, "batch_size": 16, "progress": False, "seed": 0}
    first = fit(model, (X, Y), epochs=20, validation=(X[:20], Y[:20]), callbacks=[stop], **options)
    assert first.ended == "stopped"
    fit(model, (X, Y), epochs=2, **options)
    for one in edge_values(model):
        state = rewirer.state[one.parameter]
        assert state["exp_avg"].shape == one.parameter.shape
        assert not state["exp_avg"][one.edge_set.num_edges :].any()


def test_progress_smaller_than_min_delta_is_none() -> None:
    stop, now = EarlyStopping("loss", patience=1, min_delta=0.1), Run(nn.Linear(1, 1), torch.optim.SGD([X], lr=0.1))
    for epoch, (loss, stops) in enumerate([(1.0, False), (0.95, False), (0.85, False), (0.8, False), (0.76, True)], 1):
        now.epoch = epoch
        now.history.append({"loss": loss})
        stop.on_epoch(now)
        assert now.stop == stops
    assert stop.best_epoch == 3


def test_validation_is_in_eval_mode_and_training_is_not() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.9), nn.BatchNorm1d(16), nn.Linear(16, 2))
        modes: list[bool] = []
        model[1].register_forward_hook(lambda module, *_: modes.append(module.training))
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        history = fit(model, (X, Y), optimizer=sgd, validation=(X, Y), epochs=2, batch_size=60, progress=False, seed=0)
        assert modes == [True, False] * 2
        assert model.training
        with torch.no_grad():
            loss = nn.functional.cross_entropy(model.eval()(X), Y)
    assert history.last["val_loss"] == pytest.approx(loss.item())


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"loss": "mse"}, DtypeError, r"loss: expected a function of \(outputs, y\), got 'mse'"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, ShapeError, r"loss: expected a scalar .* got shape \(16,\)"),
        ({"loss": lambda output, y: 1.0}, ShapeError, "loss: expected a scalar tensor, .* got float"),
        ({"metrics": ["accuracy"]}, DtypeError, r"metrics: expected functions .* by name, got \['accuracy'\]"),
        ({"metrics": {"a": 3}}, DtypeError, "metrics: expected functions"),
        ({"callbacks": EarlyStopping()}, DtypeError, "callbacks: expected a list of Callbacks or of functions"),
        ({"callbacks": [3]}, DtypeError, r"callbacks: expected a list of .*, got \[3\]"),
        ({"scheduler": 3}, DtypeError, r"scheduler: expected a learning rate scheduler with step\(\), got 3"),
        ({"history": [1]}, DtypeError, r"history: expected a History of deepgraph\.training, got list"),
        ({"validation": X}, DtypeError, r"data: expected a pair of tensors \(x, y\), or batches .* got Tensor"),
        ({"validation": [(X, Y, Y)]}, ShapeError, r"data: expected batches \(x, y\), got a tuple of 3"),
        (
            {"validation": (X.numpy(), Y.numpy())},
            ShapeError,
            r"got a ndarray; arrays become tensors by torch",
        ),
        ({"optimizer": torch.optim.LBFGS}, UnsupportedOperationError, r"got LBFGS, .* write the loop, with .*closure"),
    ],
)
def test_what_fit_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    model = MaskedDeepFFN(4, 2, [8], density=0.5, seed=0)
    with pytest.raises(error, match=message):
        fit(model, (X, Y), **{"epochs": 1, "batch_size": 16, "progress": False, "seed": 0, **options})


def test_an_optimizer_of_another_model_is_told_so() -> None:
    model, other = (MaskedDeepFFN(4, 2, [8], density=0.5, seed=0) for _ in range(2))
    sgd = torch.optim.SGD(other.parameters(), lr=0.1)
    for optimizer in (sgd, RigL(other, sgd, every=1)):
        with pytest.raises(ArgumentError, match="optimizer: expected one that holds parameters of the model, got one"):
            fit(model, (X, Y), optimizer=optimizer, progress=False)


@pytest.mark.parametrize("data", [None, X, "data", 3])
def test_data_of_another_kind(data: Any) -> None:
    with pytest.raises(DtypeError, match=r"data: expected a pair of tensors \(x, y\), or batches such as a DataLoader"):
        fit(MaskedDeepFFN(4, 2, [8], seed=0), data, progress=False)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({"a": History()}, "runs: expected a list of runs by method, .* got {'a': 'History'}"),
        ({"a": 1.0}, "got {'a': 'float'}"),
        ("abc", "got 'abc'"),
        ({"a": ["x"]}, "runs: expected histories or numbers of 'a', got str"),
    ],
)
def test_what_a_table_refuses(runs: Any, message: str) -> None:
    with pytest.raises(DtypeError, match=message):
        table(runs)


def test_a_table_takes_arrays() -> None:
    assert table({"a": np.array([1.0, 2.0])}, "error").rows[0]["mean"] == 1.5
    assert math.isnan(table({"a": [np.float32(1)]}, "error").rows[0]["sd"])

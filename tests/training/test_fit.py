"""`fit`, `History` and `table`."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from deepgraph.errors import (
    ArgumentError,
    DtypeError,
    FileFormatError,
    MissingColumnError,
    MissingDependencyError,
    ShapeError,
)
from deepgraph.rewire import RigL
from deepgraph.sparse import MaskedDeepFFN
from deepgraph.sparse.randomness import torch_stream
from deepgraph.training import Callback, EarlyStopping, History, Run, fit, table

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(60, 4, generator=GENERATOR)
Y = (X[:, 0] * X[:, 1] > 0).long()


def make(seed: int = 0) -> MaskedDeepFFN:
    return MaskedDeepFFN(4, 2, [8], density=0.5, storage="masked", seed=seed)


def run(model: nn.Module, **options: Any) -> History:
    return fit(model, (X, Y), **{"epochs": 3, "batch_size": 16, "progress": False, "seed": 0, **options})


def test_it_is_the_loop_that_one_would_write() -> None:
    model, other = make(), make()
    history = run(model, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1), validation=(X, Y))
    generator, optimizer = torch_stream(0), torch.optim.SGD(other.parameters(), lr=0.1)
    losses, hits = [], []
    for _ in range(3):
        order, total, right = torch.randperm(60, generator=generator), 0.0, 0
        for start in range(0, 60, 16):
            rows = order[start : start + 16]
            optimizer.zero_grad()
            output = other(X[rows])
            value = nn.functional.cross_entropy(output, Y[rows])
            value.backward()
            optimizer.step()
            total += float(value.detach()) * len(rows)
            right += int((output.argmax(1) == Y[rows]).sum())
        losses.append(total / 60)
        hits.append(right / 60)
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), other.parameters(), strict=True))
    assert history["loss"].tolist() == pytest.approx(losses)
    assert history["accuracy"].tolist() == pytest.approx(hits)
    with torch.no_grad():
        assert history.last["val_loss"] == pytest.approx(float(nn.functional.cross_entropy(other(X), Y)))
    assert history.columns == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "edges", "seconds"]
    assert history.ended == "finished"


@pytest.mark.usefixtures("global_rng_untouched")
def test_seeds_and_modes() -> None:
    first, second = (run(make(), validation=(X, Y))["val_loss"].tolist() for _ in range(2))
    assert first == second
    model = make().eval()
    run(model)
    assert not model.training


def test_loaders_metrics_schedulers_and_other_targets() -> None:
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, X[:, :2]), batch_size=20)
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    history = fit(
        model, loader, optimizer=optimizer, loss=nn.functional.mse_loss, epochs=3, scheduler=scheduler, progress=False,
        metrics={"worst": lambda output, y: (output - y).abs().max()},
    )  # fmt: skip
    assert history["lr"].tolist() == [0.1, 0.05, 0.025]
    assert history["worst"][0] > 0
    assert "accuracy" not in history.columns


def test_a_rewirer_and_callbacks() -> None:
    class Recorder(Callback):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def on_start(self, run: Run) -> None:
            self.calls.append("start")

        def on_step(self, run: Run) -> None:
            self.calls.append(f"step {run.step}")

        def on_epoch(self, run: Run) -> None:
            self.calls.append(f"epoch {run.epoch}")

        def on_end(self, run: Run) -> None:
            self.calls.append("end")

    model = make()
    rewirer, recorder = RigL(model, torch.optim.Adam(model.parameters()), every=2, until=50, seed=0), Recorder()
    history = run(model, optimizer=rewirer, callbacks=[recorder, lambda r: r.epoch == 2], batch_size=30, epochs=9)
    assert len(rewirer.log) == 2
    assert history["edges"].tolist() == [24, 24]
    assert history.ended == "stopped"
    assert recorder.calls == ["start", "step 1", "step 2", "epoch 1", "step 3", "step 4", "epoch 2", "end"]


def test_early_stopping_restores_the_best_epoch() -> None:
    model, values = make(), iter([3.0, 1.0, 2.0, 2.5, 0.5])
    states: list[torch.Tensor] = []

    class Scripted(Callback):
        def on_epoch(self, run: Run) -> None:
            run.history.last["score"] = next(values)
            states.append(model.layers[0].weight.detach().clone())

    stopper = EarlyStopping("score", patience=1, restore=True)
    history = run(model, epochs=5, callbacks=[Scripted(), stopper])
    assert (len(history), history.ended, stopper.best_epoch) == (4, "stopped", 2)
    assert torch.equal(model.layers[0].weight, states[1])
    assert EarlyStopping("val_accuracy").mode == "max"


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Hear Ctrl-C as in the foreground, also where these tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_keeps_what_is_there() -> None:
    def press(run: Run) -> None:
        if run.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    model = make()
    handler = signal.getsignal(signal.SIGINT)
    history = run(model, epochs=50, callbacks=[press])
    assert (history.ended, len(history)) == ("interrupted", 2)
    assert signal.getsignal(signal.SIGINT) is handler
    model(X).sum().backward()


@pytest.mark.usefixtures("ctrl_c")
def test_a_job_in_the_background_is_not_ended_by_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    history = run(make(), epochs=2, callbacks=[lambda run: signal.raise_signal(signal.SIGINT)])
    assert (history.ended, len(history)) == ("finished", 2)


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_ctrl_c_ends_at_once() -> None:
    class Slow(Callback):
        def on_step(self, run: Run) -> None:
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            raise AssertionError("not reached")

    assert run(make(), callbacks=[Slow()]).ended == "interrupted"


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    model = make()
    history = run(model, loss=lambda output, y: output.sum() * float("inf"))
    assert (history.ended, len(history)) == ("diverged", 0)
    assert repr(history) == "History(diverged, no epochs)"


def test_a_progress_bar_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run(make(), progress=True)
    assert "3/3" in capsys.readouterr().err


def test_history_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History([{"epoch": 1, "loss": np.float32(0.5)}, {"epoch": 2, "loss": math.nan, "edges": 7}], "stopped")
    history.save(tmp_path / "a.json")
    again = History.load(tmp_path / "a.json")
    assert again.ended == "stopped"
    np.testing.assert_equal(again["loss"], [0.5, math.nan])
    assert again.rows[1]["edges"] == 7
    assert list(history.to_frame().columns) == ["epoch", "loss", "edges"]
    assert "2 epochs, last: epoch 2" in repr(history)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        History().save(tmp_path / "a.json")
    assert History.load(tmp_path / "a.json").ended == "stopped"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    (tmp_path / "b.json").write_text('{"format": "other"}')
    with pytest.raises(FileFormatError, match=r"b\.json: expected a deepgraph training history, got another"):
        History.load(tmp_path / "b.json")
    (tmp_path / "c.json").write_text('{"format": "other", "version": 1, "rows": [], "ended": "x"}')
    with pytest.raises(FileFormatError, match=r"c\.json: expected a deepgraph training history, version 1, got"):
        History.load(tmp_path / "c.json")
    with pytest.raises(MissingColumnError, match=r"history: expected one of \['epoch', 'loss', 'edges'\], got 'x'"):
        history["x"]
    with pytest.raises(ArgumentError, match="expected at least one finished epoch, got none"):
        _ = History().last
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        history.to_frame()
    with pytest.raises(MissingDependencyError, match="pip install pandas"):
        table({"a": [1.0]}).to_frame()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epochs": 0}, ArgumentError, "epochs: expected an integer >= 1, got 0"),
        ({"batch_size": 0}, ArgumentError, "batch_size: expected an integer >= 1, got 0"),
        ({"optimizer": 3}, DtypeError, r"optimizer: expected a torch\.optim\.Optimizer, got int"),
        ({"validation": (X, Y[:3])}, ShapeError, "data: expected x and y of one length, at least 1, got 60 and 3"),
        ({"validation": []}, ArgumentError, "data: expected at least one batch, got none"),
        ({"validation": iter([])}, ArgumentError, "data: expected batches that can be read again"),
        ({"callbacks": [EarlyStopping()]}, ArgumentError, r"monitor: expected one of .*, got 'val_loss'"),
    ],
)
def test_mistakes(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run(make(), **options)


def test_more_mistakes() -> None:
    with pytest.raises(DtypeError, match=r"model: expected an nn\.Module, got int"):
        fit(3, (X, Y))  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="mode: expected 'auto', 'min' or 'max', got 'up'"):
        EarlyStopping(mode="up")
    with pytest.raises(ArgumentError, match="expected patience and min_delta >= 0, got -1 and 0"):
        EarlyStopping(patience=-1)


# -- tables ------------------------------------------------------------------------------------------------------------


def histories(values: list[float]) -> list[History]:
    return [History([{"val_accuracy": 0.0}, {"val_accuracy": v - 1}, {"val_accuracy": v + 1}]) for v in values]


def test_a_table_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(80, 1, 8), rng.normal(81, 1, 8)
    found = table({"a": histories(a.tolist()), "b": histories(b.tolist())}, last=2).to_dict()
    assert (found["b"]["mean"], found["b"]["sd"], found["b"]["n"]) == pytest.approx((b.mean(), b.std(ddof=1), 8))
    interval = stats.ttest_rel(b, a).confidence_interval(0.95)
    assert (found["b"]["low"], found["b"]["high"]) == pytest.approx((interval.low, interval.high))
    assert found["a"]["difference"] is None


def test_nobody_wins_inside_the_interval_or_with_few_seeds() -> None:
    base = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = table(
        {"base": base, "up": [v + 1 + 0.01 * v for v in base], "down": [v - 1 - 0.01 * v for v in base],
         "same": [v + (-1) ** k for k, v in enumerate(base)]}, "accuracy",
    )  # fmt: skip
    assert found.verdicts == {"up": "better", "down": "worse", "same": "open"}
    assert table({"base": base, "up": [v + 1 + 0.01 * v for v in base]}, "loss").verdicts == {"up": "worse"}
    assert table({"a": base[:4], "b": [v + 1 + 0.01 * v for v in base[:4]]}, "accuracy").verdicts == {"b": "open"}
    assert table({"a": [1.0], "b": [2.0]}).rows[1]["high"] == math.inf


def test_latex_and_frame() -> None:
    base = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = table({"set_0": base, "RigL": [v + 1 + 0.01 * v for v in base]}, "acc")
    text = found.to_latex()
    assert text.splitlines()[2] == r"method & acc & $n$ & difference to set\_0 (95\,\%) \\"
    assert r"\textbf{RigL} & $4.03 \pm 1.60$ & 5 & $+1.03 \; [+1.01, +1.05]$ \\" in text
    assert found.to_frame().loc["RigL", "difference"] == pytest.approx(1.03)
    assert str(found).splitlines()[2].endswith("better")


def test_measures_that_are_functions() -> None:
    runs = {"a": histories([1.0, 2.0]), "b": histories([3.0, 5.0])}
    assert table(runs, lambda history: history["val_accuracy"].max()).to_dict()["b"]["difference"] == 2.5


def test_mistakes_of_tables() -> None:
    with pytest.raises(ArgumentError, match="runs: expected at least one method with at least one run each"):
        table({"a": []})
    with pytest.raises(ArgumentError, match=r"baseline: expected one of \['a'\], got 'b'"):
        table({"a": [1.0]}, baseline="b")
    with pytest.raises(ArgumentError, match="expected last >= 1 and confidence"):
        table({"a": [1.0]}, last=0)
    with pytest.raises(ShapeError, match="runs: expected as many runs of every method, for pairs, got"):
        table({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(ArgumentError, match="runs: expected finite values of 'a', got"):
        table({"a": [math.nan]})
    with pytest.raises(
        MissingColumnError, match=r"got 'loss_2', which 'a' did not record; fit\(validation=\) records val_"
    ):
        table({"a": histories([1.0])}, "loss_2")

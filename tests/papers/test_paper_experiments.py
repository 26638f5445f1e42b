"""The commands under examples/papers: how targets are judged, what results files keep, and that the table is theirs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import deepgraph as dg

FOLDER = Path(__file__).parents[2] / "examples" / "papers"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("[a-z][0-9]_*.py"))


def module(name: str) -> ModuleType:
    """Import a script or a module beside the scripts, which lie outside any package."""
    import importlib

    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def experiment() -> ModuleType:
    return module("experiment")


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    module("experiment")
    return module("loop")


def runs_of(**cases: list[float]) -> dict[str, dict[str, dict[str, float]]]:
    return {name: {str(k): {"accuracy": v} for k, v in enumerate(values)} for name, values in cases.items()}


def trial(experiment: ModuleType, **changes: Any) -> Any:
    """An experiment whose run gives its settings back."""

    def run(settings: dict[str, Any], seed: int, data: Any) -> dict[str, Any]:
        return {"accuracy": settings["height"] + seed, "curve": [1.0, 2.0], "digest": f"{seed}"}

    return replace(
        experiment.Experiment(
            "trial", "a trial", "nobody", {"low": {"height": 1}, "high": {"height": 5}}, run,
            lambda folder: SimpleNamespace(name="numbers"), "numbers", 2,
            [experiment.Target("low", "low", "accuracy", 1.4, 0.2)],
            short={"low": {"height": 0}},
            checks=lambda runs, real: [("low is low", runs["low"]["0"]["accuracy"] < 1), ("on the data", real)],
        ),
        **changes,
    )  # fmt: skip


# -- targets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind", "published", "tolerance", "verdict"),
    [
        ([97.0, 97.4], "near", 97.0, 0.25, "met"),
        ([97.0, 97.5], "near", 97.0, 0.2, "missed"),
        ([97.0], "at least", 97.2, 0.0, "missed"),
        ([97.0], "at least", 97.2, 0.2, "met"),
        ([0.3], "at most", 0.33, 0.0, "met"),
        ([0.4], "at most", 0.33, 0.0, "missed"),
        ([97.0], "near", None, 0.0, "reported"),
        ([], "near", 97.0, 0.2, "not run"),
    ],
)
def test_a_target_is_judged_by_its_mean(
    experiment: ModuleType, values: list[float], kind: str, published: float | None, tolerance: float, verdict: str
) -> None:
    target = experiment.Target("t", "a", "accuracy", published, tolerance, kind)
    row = target.judged(runs_of(a=values))
    assert row["verdict"] == verdict
    if values:
        assert row["mean"] == pytest.approx(np.mean(values))
        assert list(row["values"].values()) == values
        assert experiment.describe(row).startswith("t: ")


def test_a_comparison_is_paired_with_an_interval(experiment: ModuleType) -> None:
    target = experiment.Target("a - b", "a", kind="above", minus="b")
    ones = [3.0, 5.0, 9.0, 2.0, 7.0]
    sure = target.judged(runs_of(a=[v + d for v, d in zip(ones, (0.9, 1.0, 1.1, 1.0, 1.0), strict=True)], b=ones))
    # sd 0.0707, t(0.975, 4) = 2.776: half = 2.776 * 0.0707 / sqrt(5) = 0.0878
    assert sure["mean"] == pytest.approx(1.0)
    assert sure["interval"] == pytest.approx([0.9122, 1.0878], abs=1e-4)
    assert sure["verdict"] == "met"
    unsure = target.judged(runs_of(a=[v + d for v, d in zip(ones, (-2, 3, -1, 4, 0), strict=True)], b=ones))
    assert unsure["mean"] > 0 > unsure["interval"][0]
    assert unsure["verdict"] == "missed"
    assert target.judged(runs_of(a=[2.0, 3.0], b=[1.0, 2.1]))["verdict"] == "open"


def test_a_comparison_takes_the_seeds_that_both_have(experiment: ModuleType) -> None:
    target = experiment.Target("a - b", "a", kind="above", minus="b")
    assert target.judged(runs_of(a=[1.0, 2.0, 3.0], b=[0.5]))["values"] == {"0": 0.5}


def test_a_measure_may_be_a_function(experiment: ModuleType) -> None:
    target = experiment.Target("half", "a", lambda run: run["accuracy"] / 2, 1.0, 0.1)
    assert target.judged(runs_of(a=[2.0]))["mean"] == 1.0


# -- results -----------------------------------------------------------------------------------------------------------


def options(tmp_path: Path, **changes: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"seeds": [0, 1], "cases": ["low", "high"], "out": tmp_path, "data": tmp_path} | changes)


def test_a_run_is_kept_as_soon_as_it_is_done_and_not_done_twice(experiment: ModuleType, tmp_path: Path) -> None:
    done = []

    def run(settings: dict[str, Any], seed: int, data: Any) -> dict[str, Any]:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((settings["height"], seed))
        return {"accuracy": 1.0, "digest": ""}

    one = trial(experiment, run=run)
    with pytest.raises(KeyboardInterrupt):
        experiment._full(one, options(tmp_path), None)
    kept = json.loads((tmp_path / "trial.json").read_text())
    assert {case: list(entry["runs"]) for case, entry in kept["cases"].items()} == {"low": ["0", "1"], "high": ["0"]}
    experiment._full(trial(experiment), options(tmp_path), None)
    assert done == [(1, 0), (5, 0), (1, 1)]
    runs = experiment.Results(one, tmp_path).runs()
    assert [runs["high"][seed]["accuracy"] for seed in ("0", "1")] == [1.0, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["trial.json"]


def test_runs_of_other_settings_do_not_count(experiment: ModuleType, tmp_path: Path) -> None:
    experiment._full(trial(experiment), options(tmp_path), None)
    other = trial(experiment, cases={"low": {"height": 2}, "high": {"height": 5}})
    runs = experiment.Results(other, tmp_path).runs()
    assert (len(runs["low"]), len(runs["high"])) == (0, 2)


WRITER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
import experiment
case, out = sys.argv[2], Path(sys.argv[3])
cases = {name: {"of": name} for name in ("0", "1")}
run = lambda settings, seed, data: {"accuracy": float(seed)}
one = experiment.Experiment("shared", "", "", cases, run, lambda folder: None, "", 30, [])
(out / f"{case}.ready").touch()
while len(list(out.glob("*.ready"))) < 2:
    time.sleep(0.001)
experiment._full(one, SimpleNamespace(seeds=range(30), cases=[case], out=out / "results", data=out), None)
"""


def test_processes_that_share_a_results_file_lose_no_run(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(FOLDER), case, str(tmp_path)], stdout=subprocess.DEVNULL)
        for case in ("0", "1")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    content = json.loads((tmp_path / "results" / "shared.json").read_text())
    for case in ("0", "1"):
        runs = content["cases"][case]["runs"]
        assert [runs[str(seed)]["accuracy"] for seed in range(30)] == list(range(30))
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["shared.json"]


def test_a_writer_waits_for_the_lock_and_says_so(
    experiment: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    said = threading.Event()

    def warn(sentence: str) -> None:
        order.append(sentence)
        said.set()

    def second() -> None:
        with experiment.locked(tmp_path, patience=0.0):
            order.append("second")

    monkeypatch.setattr(experiment, "warn", warn)
    with experiment.locked(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        said.wait()
        order.append("first")
    thread.join()
    assert order[0].startswith(f"another process holds the lock of {tmp_path}")
    assert order[1:] == ["first", "second"]


def test_a_folder_that_takes_no_lock_is_named(
    experiment: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(handle: int, operation: int) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    experiment._full(trial(experiment), options(tmp_path), None)
    assert len(experiment.Results(trial(experiment), tmp_path).runs()["high"]) == 2
    assert f"{tmp_path} takes no lock" in capsys.readouterr().err


def test_the_file_has_command_published_number_and_digest(experiment: ModuleType, tmp_path: Path) -> None:
    experiment._full(trial(experiment), options(tmp_path), None)
    content = json.loads((tmp_path / "trial.json").read_text())
    assert content["command"].endswith(f"{Path(__file__).name} --full")
    (target,) = content["targets"]
    assert (target["published"], target["values"], target["verdict"]) == (1.4, {"0": 1, "1": 2}, "met")
    assert content["cases"]["low"]["runs"]["1"]["digest"] == "1"
    assert "torch" in content["versions"]


def test_the_short_form_fails_where_a_check_fails(
    experiment: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, chosen = trial(experiment), options(tmp_path)
    data = one.data(tmp_path)
    assert experiment._short(one, chosen, data, real=True) == 0
    assert experiment._short(one, chosen, data, real=False) == 1
    assert "FAIL  on the data" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


# -- the loop ----------------------------------------------------------------------------------------------------------


def test_missing_data_are_replaced_by_the_sample_in_the_short_form_only(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "p2_snip.py"), "--full", "--data", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER.parents[1])
    assert done.returncode == 1
    assert "expected mnist in" in done.stderr
    assert "train-images-idx3-ubyte" in done.stderr


def test_normalised_images_have_mean_0_and_deviation_1(loop: ModuleType, tmp_path: Path) -> None:
    data = loop.read_images(tmp_path, "mnist", normalised=True)
    assert data.name == "Fashion-MNIST sample"
    assert float(data.x.mean()) == pytest.approx(0, abs=1e-4)
    assert float(data.x.std()) == pytest.approx(1, abs=1e-4)
    plain = loop.read_images(tmp_path, "")
    assert (float(plain.x.min()), float(plain.x.max())) == (0, 1)


def test_training_is_repeatable_and_counts_its_steps(loop: ModuleType) -> None:
    draw = loop.seeded(0)
    x, y = torch.randn(60, 8, generator=draw), torch.randint(0, 3, (60,), generator=draw)
    data, found = loop.Data(x, y, x[:20], y[:20], "random"), []
    for _ in range(2):
        model = dg.MaskedDeepFFN(8, 3, [6], density=0.5, seed=0)
        loop.start_as_dense(model, 0)
        optimizer = loop.sgd(model, decay=0.01, biases=False)
        rates: list[float] = []
        counts: list[int] = []
        curve = loop.train(
            model, dg.train_step(model, "cross_entropy", optimizer), optimizer, data, epochs=5, batch=25, seed=1,
            rate=lambda step, rates=rates: rates.append(step) or 0.1, each=counts.append, tested=2,
        )  # fmt: skip
        assert len(curve) == 3
        assert counts == [step + 1 for step in rates] == list(range(1, 16))
        found.append((curve, loop.digest(model)))
    assert found[0] == found[1]


def test_weight_decay_leaves_biases_alone_where_told(loop: ModuleType) -> None:
    model = dg.MaskedDeepFFN(4, 2, [3], seed=0)
    groups = loop.sgd(model, decay=0.1, biases=False).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in groups] == [(2, 0.1), (2, 0.0)]
    assert len(loop.sgd(model, decay=0.1).param_groups) == 1


def test_rates_step_down(loop: ModuleType) -> None:
    rate = loop.steps_down(0.2, 0.5, 10, 20)
    assert [rate(step) for step in (0, 9, 10, 19, 20)] == [0.2, 0.2, 0.1, 0.1, 0.05]


# -- the scripts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_targets_and_short_forms_speak_of_cases_that_there_are(experiment: ModuleType, name: str) -> None:
    one = module(name).EXPERIMENT
    assert one.name == name[:2]
    assert {target.case for target in one.targets} <= set(one.cases)
    assert {target.minus for target in one.targets} - {""} <= set(one.cases)
    assert set(one.short) <= set(one.cases)
    assert json.loads(json.dumps(one.cases)) == one.cases


def trained_for_700_steps(script: ModuleType, method: str) -> Any:
    """Return the rewirer of a method after 700 steps of a small model."""
    model = dg.MaskedDeepFFN(30, 5, [20, 10], density=[0.2, 0.4, 1.0], storage="csr", seed=0)
    optimizer = script.optimizer_of(method, model, torch.optim.SGD(model.parameters(), lr=0.1), 600, 0)
    step = dg.train_step(model, "cross_entropy", optimizer)
    draw = torch.Generator().manual_seed(0)
    for _ in range(700):
        step(torch.randn(5, 30, generator=draw), torch.randint(0, 5, (5,), generator=draw))
    return optimizer


def test_the_table_is_that_of_the_results_files() -> None:
    command = [sys.executable, str(FOLDER / "table.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=FOLDER.parents[1])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("method", "first", "updates"), [("rigl", 0, 6), ("rigl later", 100, 5)])
def test_rigl_takes_as_many_edges_as_its_schedule_says(method: str, first: int, updates: int) -> None:
    script = module("r1_rigl_lenet")
    optimizer = trained_for_700_steps(script, method)
    assert [row[0] for row in optimizer.churn] == [
        at for at in range(first, 600, 100) for _ in range(2)
    ]  # two layers that are not dense
    assert len(optimizer.churn) == 2 * updates
    assert script.churn_matches(optimizer, 600)
    optimizer.churn[3][2][0] += 1
    assert not script.churn_matches(optimizer, 600)


def test_on_the_clock_of_the_authors_edits_come_before_the_steps_that_they_do_not_count_among() -> None:
    script = module("r1_rigl_lenet")
    rigl, rule = (trained_for_700_steps(script, method) for method in ("rigl", "set"))
    # 100 steps of the optimizer lie between two edits, and an edit takes a call of its own.
    assert [row["step"] for row in rigl.log] == [1, 102, 203, 304, 405, 506]
    assert [rigl.clock(call) for call in (1, 2, 102, 103, 506, 507, 608, 700)] == [0, 0, 100, 100, 500, 500, 601, 693]
    assert [row["step"] for row in rule.log] == [1, 101, 201, 301, 401, 501]


def test_the_training_costs_what_the_paper_says_only_with_its_sparsities() -> None:
    cost = module("r1_rigl_lenet").training_gflops
    assert cost({"edges": [2352, 3270, 1000]}) == pytest.approx(482.0, abs=0.05)
    assert cost({"edges": [2352, 3300, 1000]}) == pytest.approx(484.2, abs=0.05)


def test_live_units_lie_on_paths_from_inputs_to_outputs() -> None:
    script = module("r1_rigl_lenet")
    model = dg.MaskedDeepFFN(3, 2, [3, 2], density=1.0, storage="csr", seed=0)
    # Input 0 reaches hidden 0 only, which leads nowhere; hidden 2 has no input.
    first, second, _ = model.edge_sets
    src, dst = first.pairs()
    gone = (dst == 2) | ((src == 0) & (dst == 1)) | ((src > 0) & (dst == 0))
    first.edit(drop=(src[gone], dst[gone]))
    src, dst = second.pairs()
    second.edit(drop=(src[src == 0], dst[src == 0]))
    found = script.live_network(model.graph)
    assert found["units"] == [2, 1, 2, 2]
    assert found["edges_live"] == 2 + 2 + 4
    assert found["kflops"] == 2 * 8 / 1e3
    # 8 weights and 5 biases of 4 bytes; no layer has gaps
    assert found["kbytes"] == pytest.approx(4 * 13 / 1e3)
    third = model.edge_sets[2]
    src, dst = third.pairs()
    third.edit(drop=(src[:1], dst[:1]))
    # one weight less, and one bit for each of the 4 pairs of the last layer
    assert script.live_network(model.graph)["kbytes"] == pytest.approx((4 * 12 + 4 / 8) / 1e3)

"""One experiment of a paper as a command: cases, seeds, results that are kept run by run, and published numbers beside.

`python examples/papers/r1_rigl_lenet.py --full` trains every case with every seed and keeps each run as soon as it is
done in `examples/papers/results`; called again, it goes on where it stopped. `--short` takes a minute or so, keeps
nothing, and ends with status 1 where one of its checks fails.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loop import FOLDER, IDX
from scipy import stats

Run = dict[str, Any]
Runs = Mapping[str, Mapping[str, Run]]
"""Case -> seed -> what the run gave."""

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Target:
    """One number of a paper, or one claim, and where it is found in the runs.

    Parameters
    ----------
    name : str
        What is measured.
    case : str
    measure : str or callable
        Entry of a run, or a function of it.
    published : float or None
        None: reported only.
    tolerance : float
        The mean over seeds may be off by so much; for "at least" below only, for "at most" above only.
    kind : {"near", "at least", "at most", "above"}
        "above": the mean difference to the case `minus`, seed by seed, is at least `published` (default: above 0) and
        its 95 % interval lies above 0; open with fewer than 5 seeds.
    minus : str
    why : str
        Why it is missed, where it is.
    headline : str
        Name under which the README shows it; "" for not.
    """

    name: str
    case: str
    measure: str | Callable[[Run], float] = "accuracy"
    published: float | None = None
    tolerance: float = 0.0
    kind: str = "near"
    minus: str = ""
    why: str = ""
    headline: str = ""

    def values(self, runs: Runs) -> dict[str, float]:
        """Return the number of each seed."""
        found = {seed: self._of(run) for seed, run in runs.get(self.case, {}).items()}
        if self.minus:
            other = {seed: self._of(run) for seed, run in runs.get(self.minus, {}).items()}
            return {seed: value - other[seed] for seed, value in found.items() if seed in other}
        return found

    def _of(self, run: Run) -> float:
        return float(run[self.measure] if isinstance(self.measure, str) else self.measure(run))

    def judged(self, runs: Runs) -> dict[str, Any]:
        """Return the row of the table: values, mean, deviation, difference and verdict."""
        values = self.values(runs)
        numbers = np.array(list(values.values()))
        row: dict[str, Any] = {"name": self.name, "case": self.case, "kind": self.kind, "published": self.published}
        row |= {"tolerance": self.tolerance, "values": values, "why": self.why, "headline": self.headline}
        if not len(numbers):
            return row | {"verdict": "not run"}
        mean, n = float(numbers.mean()), len(numbers)
        sd = float(numbers.std(ddof=1)) if n > 1 else None
        row |= {"mean": mean, "sd": sd, "difference": None if self.published is None else mean - self.published}
        if self.kind == "above":
            half = stats.t.ppf(0.975, n - 1) * numbers.std(ddof=1) / math.sqrt(n) if n > 1 else math.inf
            row["interval"] = [mean - half, mean + half]
            met = mean >= (self.published or 0.0) and mean - half > 0
            if n < 5:
                return row | {"verdict": "open"}
        elif self.published is None:
            return row | {"verdict": "reported"}
        elif self.kind == "at least":
            met = mean >= self.published - self.tolerance
        elif self.kind == "at most":
            met = mean <= self.published + self.tolerance
        else:
            met = abs(mean - self.published) <= self.tolerance
        return row | {"verdict": "met" if met else "missed"}


Check = tuple[str, bool]


@dataclass(frozen=True)
class Experiment:
    """What a script runs.

    Parameters
    ----------
    name, title, source : str
        Name of the results file, a line on what is trained, and the paper.
    cases : dict
        Settings of each case: JSON values.
    run : callable
        (settings, seed, data) -> what it gave: JSON values, "accuracy" in percent and "digest" among them.
    data : callable
        Folder -> what `run` gets; its `name` says what was found.
    needs : str
        Data set that the published numbers are of; "" for the sample that comes with the package.
    seeds : int
        Of the full form.
    targets : sequence of Target
    short : dict
        Settings of each case in the short form; those that are missing are left out.
    checks : callable
        (runs, real) -> list of (sentence, whether it holds) for the short form; `real`: on the data that it needs.
    """

    name: str
    title: str
    source: str
    cases: dict[str, dict[str, Any]]
    run: Callable[[dict[str, Any], int, Any], Run]
    data: Callable[[Path], Any]
    needs: str
    seeds: int
    targets: Sequence[Target]
    short: dict[str, dict[str, Any]] = field(default_factory=dict)
    checks: Callable[[Runs, bool], list[Check]] = lambda runs, real: []


class Results:
    """The results file of an experiment, written anew after each run so that none is lost; processes may share it."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self.experiment, self.path = experiment, folder / f"{experiment.name}.json"

    def load(self) -> dict[str, Any]:
        """Return {"cases": {case: {"settings": ..., "runs": {seed: run}}}}, empty where there is no file."""
        return json.loads(self.path.read_text()) if self.path.is_file() else {"cases": {}}

    def runs(self) -> dict[str, dict[str, Run]]:
        """Return the runs of the present settings by case and seed; those of other settings do not count."""
        kept, found = self.load()["cases"], {}
        for case, settings in self.experiment.cases.items():
            entry = kept.get(case, {})
            found[case] = dict(entry["runs"]) if entry.get("settings") == settings else {}
        return found

    def add(self, case: str, seed: int, run: Run) -> None:
        """Keep one more run beside those that other processes kept meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.parent):
            runs = self.runs()
            runs[case][str(seed)] = run
            self._write(runs)

    def judge(self) -> None:
        """Write what there is again, with the present targets judged."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.parent):
            self._write(self.runs())

    def _write(self, runs: Runs) -> None:
        one = self.experiment
        cases = {
            case: {"settings": settings, "runs": dict(sorted(runs[case].items(), key=lambda item: int(item[0])))}
            for case, settings in one.cases.items()
        }
        content = {
            "name": one.name, "title": one.title, "source": one.source,
            "command": f"python examples/papers/{Path(one.run.__code__.co_filename).name} --full",
            "versions": versions(),
            "targets": [target.judged(runs) for target in one.targets],
            "cases": cases,
        }  # fmt: skip
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(to_json(content) + "\n")
        partial.replace(self.path)


@contextmanager
def locked(folder: Path, patience: float = 10.0) -> Iterator[None]:
    """Keep other processes out of this block for the same folder; the system lets go of the lock if this one dies.

    Waits for as long as it takes, so that no run is lost, and says so after `patience` seconds. Where the system has no
    such lock (Windows, some network disks) it says that two processes should not write at once, and goes on.
    """
    if sys.platform == "win32":
        warn("no locks of folders on Windows: two processes that keep a run at the same moment may lose one")
        yield
        return
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        begin = time.monotonic()
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
            except OSError as error:
                warn(f"{folder} takes no lock ({error}): two processes that keep a run at the same moment may lose one")
                break
            if time.monotonic() - begin > patience:
                warn(f"another process holds the lock of {folder}, perhaps a stopped one; waiting for it")
                patience = math.inf
        yield
    finally:
        os.close(handle)


def warn(sentence: str) -> None:
    """Write a sentence to the error stream."""
    print(sentence, file=sys.stderr, flush=True)


def versions() -> dict[str, str | None]:
    """Return the versions of what computes; None for a package that is missing."""

    def of(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {"python": platform.python_version()} | {name: of(name) for name in ("torch", "numpy", "numba")}


def to_json(content: Any) -> str:
    """Return indented JSON in which lists of numbers stay on one line, with 6 decimals."""

    def lines(value: Any, indent: str) -> str:
        inner = indent + " "
        if isinstance(value, dict) and value:
            rows = (f"{inner}{json.dumps(key)}: {lines(entry, inner)}" for key, entry in value.items())
            return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
        if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            return "[\n" + ",\n".join(inner + lines(entry, inner) for entry in value) + f"\n{indent}]"
        return json.dumps(rounded(value))

    def rounded(value: Any) -> Any:
        if isinstance(value, list):
            return [rounded(entry) for entry in value]
        return round(value, 6) if isinstance(value, float) else value

    return lines(json.loads(json.dumps(content, default=float)), "")


def main(experiment: Experiment) -> None:
    """Run the command line of an experiment, and exit."""
    torch.set_num_threads(1)
    options = _options(experiment)
    data = experiment.data(options.data)
    real = not experiment.needs or data.name == experiment.needs
    if options.full and not real:
        files = "cifar10.npz (x_train, y_train, x_test, y_test)" if experiment.needs == "cifar10" else IDX
        sys.exit(
            f"{experiment.title}: expected {experiment.needs} in {options.data / experiment.needs}, found no such "
            f"folder; put {files} there, or name another folder with --data"
        )
    status = _full(experiment, options, data) if options.full else _short(experiment, options, data, real)
    sys.exit(status)


def _options(experiment: Experiment) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"{experiment.title} ({experiment.source})")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="a minute or so, with checks (the default)")
    form.add_argument("--full", action="store_true", help="all epochs and seeds; results are kept run by run")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(experiment.seeds)), help="of the full form")
    parser.add_argument("--cases", nargs="+", default=list(experiment.cases), choices=list(experiment.cases))
    parser.add_argument("--data", type=Path, default=FOLDER, help="folder of the data sets (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: %(default)s)")
    return parser.parse_args()


def _full(experiment: Experiment, options: argparse.Namespace, data: Any) -> int:
    results = Results(experiment, options.out)
    for seed in options.seeds:
        for case in options.cases:
            if str(seed) not in results.runs()[case]:
                run = _timed(experiment, experiment.cases[case], seed, data)
                results.add(case, seed, run)
                print(f"{experiment.name} {case}, seed {seed}: {summary(run)}", flush=True)
    results.judge()
    rows = [target.judged(results.runs()) for target in experiment.targets]
    print("\n".join(f"{row['verdict']:8} {describe(row)}" for row in rows))
    return 0


def _short(experiment: Experiment, options: argparse.Namespace, data: Any, real: bool) -> int:
    if not real:
        print(f"no {experiment.needs} in {options.data}: on the {data.name}, without what only the real data can show")
    runs: dict[str, dict[str, Run]] = {}
    for case, settings in experiment.short.items():
        run = _timed(experiment, settings, 0, data)
        runs[case] = {"0": run}
        print(f"{experiment.name} {case}: {summary(run)}", flush=True)
    checks = experiment.checks(runs, real)
    print("\n".join(f"{'pass' if holds else 'FAIL'}  {sentence}" for sentence, holds in checks))
    return 0 if all(holds for _, holds in checks) else 1


def _timed(experiment: Experiment, settings: dict[str, Any], seed: int, data: Any) -> Run:
    begin = time.perf_counter()
    run = experiment.run(settings, seed, data)
    return run | {"seconds": round(time.perf_counter() - begin, 1)}


def summary(run: Run) -> str:
    """Return the single numbers of a run as text."""
    kept = {key: entry for key, entry in run.items() if not isinstance(entry, (list, dict))}
    return ", ".join(
        f"{key} {entry:.4g}" if isinstance(entry, float) else f"{key} {entry}" for key, entry in kept.items()
    )


def describe(row: dict[str, Any]) -> str:
    """Return a judged target as a line of text."""
    if "mean" not in row:
        return row["name"]
    text = f"{row['name']}: {row['mean']:.3f}" + (f" +- {row['sd']:.3f}" if row["sd"] is not None else "")
    if "interval" in row:
        text += f", 95 % interval [{row['interval'][0]:+.3f}, {row['interval'][1]:+.3f}]"
    if row["published"] is not None:
        text += f" (wanted {row['published']:g} +- {row['tolerance']:g})"
    return text

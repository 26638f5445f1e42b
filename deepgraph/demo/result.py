"""The result of a demo, filled part by part, so that what is done is never lost."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import deepgraph
from deepgraph.analysis import Report
from deepgraph.dataset import Split
from deepgraph.demo.checks import Extraction
from deepgraph.demo.settings import Settings
from deepgraph.demo.timing import Timings
from deepgraph.demo.training import Run

__all__ = ["Result", "machine", "write_json"]


def machine() -> dict[str, Any]:
    """Return what the numbers were measured on: versions, system and cores.

    Examples
    --------
    >>> sorted(machine()["versions"])
    ['deepgraph', 'networkx', 'numba', 'numpy', 'python', 'torch']
    """
    versions = {"python": platform.python_version(), "deepgraph": deepgraph.__version__}
    for name in ("torch", "numpy", "networkx", "numba"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "versions": versions,
        "system": platform.platform(),
        "cores": os.cpu_count(),
    }


def write_json(path: Path, content: Any) -> None:
    """Write plain data to a JSON file that appears whole or not at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_json(Path(folder) / "a.json", {"x": 1})
    ...     json.loads((Path(folder) / "a.json").read_text())
    {'x': 1}
    """
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    part.replace(path)


@dataclass
class Result:
    """Everything that a demo measured.

    Parameters
    ----------
    settings : Settings
    seed : int
    split : Split
        What is trained and tested on.
    threads : int
        Of torch and of the kernels while the demo runs.
    baseline : str
        Key of the method that times are compared with.
    doing : str
        The part that runs now.
    prior : dict
        Size of the small world before training.
    runs : dict from key to Run
        In the order of the table.
    timings : Timings or None
        Steps by key, and the baseline once more under its key with " again".
    extractions : dict from key to Extraction
    report : Report or None
        Of the DAN after RigL.
    pictures : dict from name to Path
    seconds : float or None
        Of the whole demo; None until it is complete.
    """

    settings: Settings
    seed: int
    split: Split
    threads: int = 1
    baseline: str = "dense"
    doing: str = "starting"
    prior: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    timings: Timings | None = None
    extractions: dict[str, Extraction] = field(default_factory=dict)
    report: Report | None = None
    pictures: dict[str, Path] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def passed(self) -> bool:
        """Whether the demo came to its end and every extracted graph is the right one."""
        return self.seconds is not None and all(extraction.passed for extraction in self.extractions.values())

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as plain data; `complete` says whether the demo came to its end."""
        return {
            "complete": self.seconds is not None,
            "doing": self.doing,
            "seed": self.seed,
            "data": {"name": self.split.name, "train": len(self.split.train), "test": len(self.split.test)},
            "settings": self.settings.to_dict(),
            "machine": machine(),
            "threads": self.threads,
            "prior": self.prior,
            "methods": {key: run.to_dict() | self.time_of(key) for key, run in self.runs.items() if run.steps},
            "timing": None if self.timings is None else self.timings.to_dict(),
            "extraction": {key: extraction.to_dict() for key, extraction in self.extractions.items()},
            "report": None if self.report is None else self.report.to_dict(),
            "pictures": {name: str(path) for name, path in self.pictures.items()},
            "seconds": self.seconds,
        }

    def save(self, folder: Path) -> None:
        """Write `demo.json` into an existing folder."""
        write_json(folder / "demo.json", self.to_dict())

    def time_of(self, key: str) -> dict[str, Any]:
        """Return ms per step of a method and how many times faster than the baseline it is; None if not measured."""
        if self.timings is None:
            return {"step_ms": None, "times_faster": None}
        ratio = self.timings.ratio(self.baseline, key)
        return {
            "step_ms": self.timings.milliseconds(key),
            "times_faster": {"median": ratio.value, "lower_quartile": ratio.low, "upper_quartile": ratio.high},
        }

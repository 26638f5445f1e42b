"""Which files are collected for doctests: no conftest, and no compiled kernels where there is no numba; figures."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

KERNELS = Path(__file__).parent / "deepgraph" / "kernels"
IMPORTS = re.compile(r"^(?:from|import) ([\w.]+)", re.MULTILINE)


def files_that_need_numba() -> set[Path]:
    """Return the kernels that import numba when they are imported themselves, directly or through another kernel."""
    imports = {path: set(IMPORTS.findall(path.read_text())) for path in KERNELS.glob("*.py")}
    found: set[Path] = set()
    wanted = {"numba", "llvmlite"}
    while True:
        more = {path for path, names in imports.items() if any({name, name.split(".")[0]} & wanted for name in names)}
        if more == found:
            return found
        found = more
        wanted |= {f"deepgraph.kernels.{path.stem}" for path in found}


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Close what a test or an example of the documentation has drawn: pyplot keeps it otherwise, and warns."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave a file out if it needs numba and there is none, or is a conftest, which pytest loads by itself."""
    if collection_path.name == "conftest.py":
        return True
    there = find_spec("numba") is not None
    needs = collection_path in files_that_need_numba() or collection_path.name.startswith("numba_")
    return True if needs and not there else None

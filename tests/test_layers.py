"""Imports go one way: the layered contract in setup.cfg holds."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


def test_no_module_imports_from_a_layer_above_it() -> None:
    pytest.importorskip("importlinter")
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contract_sees_an_import_that_goes_up(tmp_path: Path) -> None:
    pytest.importorskip("importlinter")
    package = tmp_path / "deepgraph"
    (package / "graph").mkdir(parents=True)
    for folder in (package, package / "graph"):
        (folder / "__init__.py").write_text("")
    (package / "errors.py").write_text("")
    (package / "sparse.py").write_text("")
    (package / "graph" / "edits.py").write_text("def follow():\n    import deepgraph.sparse\n")
    (tmp_path / "setup.cfg").write_text((ROOT / "setup.cfg").read_text())
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "deepgraph.graph is not allowed to import deepgraph.sparse" in done.stdout


def test_every_package_has_its_place_in_the_contract() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    contract = config["importlinter:contract:layers"]
    placed = {line.strip("()") for line in (contract["layers"] + contract["exhaustive_ignores"]).split()}
    here = {path.stem for path in (ROOT / "deepgraph").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert {name for name in here if not name.startswith("__")} <= placed

"""The page on analysis says what the catalogue says, and shows the table that its command prints."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from deepgraph.analysis import MEASURES, PAIR_MEASURES, STAGE_MEASURES, Measure

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "analysis.md").read_text(encoding="utf-8")
SCRIPT = ROOT / "examples" / "papers" / "connectivity.py"


def plain(text: str) -> str:
    """Return the text as Markdown shows it literally."""
    for mark in "|_^":
        text = text.replace(mark, "\\" + mark)
    return text


def row(measure: Measure) -> str:
    """Return the row of the page for one measure."""
    needs = " Needs nulls." if measure.versus else ""
    source = f" ({measure.reference})" if measure.reference else ""
    cells = [f"`{measure.name}`", measure.unit, measure.directed, plain(measure.definition) + needs + source]
    return "| " + " | ".join([*cells, plain(measure.cost)]).replace("|  |", "| |") + " |"


@pytest.mark.parametrize("measure", [*MEASURES.values(), *STAGE_MEASURES.values(), *PAIR_MEASURES.values()])
def test_every_measure_has_its_row(measure):
    assert row(measure).replace("  ", " ") in PAGE.replace("  ", " ")


def test_the_table_of_trained_networks_is_that_of_its_command():
    spec = importlib.util.spec_from_file_location("connectivity", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    found = script.by_method(json.loads(script.RESULTS.read_text()))
    shown = PAGE.split("<!-- table -->")[1].split("<!-- end -->")[0].strip()
    assert shown == script.table(found)
    assert all(met is not False for _, met in script.claims(found))


@pytest.mark.slow
def test_the_experiment_runs_on_the_bundled_sample_and_is_not_repeated(tmp_path):
    command = [sys.executable, str(SCRIPT), "--short", "--seeds", "1", "--runs", str(tmp_path)]
    first = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "| live share of hidden units | " in first.stdout
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert len(written) == 4
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == written
    assert again.stdout.splitlines() == [
        line for line in first.stdout.splitlines() if line[0] in "|s" and "{" not in line
    ]

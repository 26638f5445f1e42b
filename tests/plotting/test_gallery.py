"""The gallery: scripts that are short, open with a title and a conclusion, and leave exactly one figure."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("plot_*.py"))
QUICK = ("degrees", "spy_stages", "structures", "orientation", "extract_residual")

each_script = pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)


def test_there_are_enough():
    assert len(SCRIPTS) >= 12


@pytest.mark.parametrize("folder", ["", "examples/", "/home/plot_me/examples/"])
def test_the_documentation_takes_all_of_them_and_nothing_else(folder):
    conf = (EXAMPLES.parent / "docs" / "conf.py").read_text()
    taken, ignored = (re.search(rf'"{name}_pattern": r"(.*)",', conf)[1] for name in ("filename", "ignore"))
    for name, wanted in [*((path.name, True) for path in SCRIPTS), ("supermask.py", False), ("make_images.py", False)]:
        assert (re.search(ignored, folder + name) is None) == wanted
        assert bool(re.search(taken, folder + name)) or not wanted


@each_script
def test_a_script_is_short_and_says_what_it_shows(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 80
    title, line, empty, *conclusion = ast.get_docstring(ast.parse(text)).splitlines()
    assert re.fullmatch("=+", line)
    assert len(line) == len(title)
    assert not empty
    assert " ".join(conclusion).endswith(".")
    assert "plt.show()" in text


@pytest.mark.parametrize("name", QUICK)
def test_a_quick_script_leaves_one_figure(name):
    runpy.run_path(str(EXAMPLES / f"plot_{name}.py"), run_name="__main__")
    assert len(pyplot.get_fignums()) == 1


def test_images_are_figures_of_the_gallery():
    names = runpy.run_path(str(EXAMPLES / "make_images.py"))["IMAGES"]
    images = EXAMPLES.parent / "images"
    assert {path.stem for path in images.glob("*")} == set(names)
    assert {f"plot_{name}" for name in names} <= {path.stem for path in SCRIPTS}


@pytest.mark.slow
def test_images_are_written(tmp_path):
    command = [sys.executable, str(EXAMPLES / "make_images.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert len(list(tmp_path.glob("*.png"))) == 4

"""networkx's own tests of algorithms, readers and writers, run with `networkx.DiGraph` replaced by our class."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import networkx as nx
import pytest

from deepgraph.graph import CachedLayeredGraph

NETWORKX = Path(nx.__file__).parent
TESTS = Path(__file__).parent.parent

SUITES = {
    "dag": ["algorithms/tests/test_dag.py"],
    "components": ["algorithms/components"],
    "traversal": ["algorithms/traversal"],
    "shortest paths": ["algorithms/shortest_paths"],
    "centrality": ["algorithms/centrality"],
    "link analysis": ["algorithms/link_analysis"],
    "operators": ["algorithms/operators"],
    "flow and minors": [
        "algorithms/flow/tests/test_maxflow.py",
        "algorithms/flow/tests/test_mincost.py",
        "algorithms/minors",
    ],
    "isomorphism and trees": ["algorithms/isomorphism", "algorithms/tree"],
    "readwrite": ["readwrite"],
    "relabel and convert": [
        "tests/test_relabel.py",
        "tests/test_convert.py",
        "tests/test_convert_numpy.py",
        "tests/test_convert_pandas.py",
        "tests/test_convert_scipy.py",
    ],
}

EXCEPTIONS: dict[str, str] = {}
"""Tests of networkx that do not pass, by the end of their id, each with the reason."""


@pytest.mark.slow
@pytest.mark.parametrize("suite", SUITES)
def test_networkx_tests_pass_on_arrays(suite):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "networkx_on_arrays", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, f"--rootdir={NETWORKX}", "--tb=short"]
    command += [f"--deselect={test}" for test in EXCEPTIONS]
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTEST_ADDOPTS": ""}
    environment.pop("PYTEST_XDIST_WORKER", None)
    run = subprocess.run(
        [*command, *SUITES[suite]], cwd=NETWORKX, env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    made = re.search(r"graphs on arrays: (\d+)", run.stdout)
    assert passed
    assert int(passed[1]) >= 30
    assert made
    assert int(made[1]) >= 15


def test_exceptions_are_few_and_have_reasons():
    assert len(EXCEPTIONS) <= 5
    assert all(len(reason) > 20 for reason in EXCEPTIONS.values())


def test_flow_algorithms_may_switch_the_cache_off():
    g = CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3], capacity=[1, 2, 3, 1])
    g.__networkx_cache__ = None
    assert nx.maximum_flow_value(g, 0, 3) == 2
    assert g.__networkx_cache__ is None

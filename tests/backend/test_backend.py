"""The networkx backend: the same results as networkx's own code, and nothing else changed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from strategies import cyclic_graphs, dags

from deepgraph.backend import algorithms
from deepgraph.backend.info import FUNCTIONS
from deepgraph.backend.interface import backend
from deepgraph.graph import CachedLayeredGraph

ROOT = Path(__file__).parents[2]


def plain(g: CachedLayeredGraph) -> nx.DiGraph:
    return nx.DiGraph(g)


def same(g: CachedLayeredGraph) -> None:
    twin = plain(g)
    assert algorithms.is_directed_acyclic_graph(g) == nx.is_directed_acyclic_graph(twin)
    for name in ("in_degree_centrality", "out_degree_centrality"):
        ours, theirs = getattr(algorithms, name)(g), getattr(nx, name)(twin)
        assert list(ours.items()) == list(theirs.items())
    assert list(algorithms.weakly_connected_components(g)) == list(nx.weakly_connected_components(twin))
    assert algorithms.number_weakly_connected_components(g) == nx.number_weakly_connected_components(twin)
    for node in list(g)[:4]:
        assert algorithms.descendants(g, node) == nx.descendants(twin, node)
        assert algorithms.ancestors(g, node) == nx.ancestors(twin, node)
    if len(g):
        assert algorithms.is_weakly_connected(g) == nx.is_weakly_connected(twin)
        ours, theirs = algorithms.pagerank(g, weight=None), nx.pagerank(twin, weight=None)
        assert list(ours) == list(theirs)
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=0, atol=1e-12)
    if nx.is_directed_acyclic_graph(twin):
        assert algorithms.dag_longest_path_length(g, "absent") == nx.dag_longest_path_length(twin, "absent")


@given(dags(weighted=None))
def test_results_on_acyclic_graphs_are_those_of_networkx(g: CachedLayeredGraph) -> None:
    same(g)


@given(cyclic_graphs())
def test_results_on_cyclic_graphs_are_those_of_networkx(g: CachedLayeredGraph) -> None:
    same(g)


def test_results_on_a_wide_graph_with_labels_are_those_of_networkx() -> None:
    rng = np.random.default_rng(0)
    src, dst = np.nonzero(np.triu(rng.random((400, 400)) < 0.02, 1))
    g = CachedLayeredGraph.from_arrays(src, dst, 402, weight=rng.random(len(src)).astype(np.float32))
    same(g)
    same(nx.relabel_nodes(g, {k: f"n{k}" for k in range(402)}))
    np.testing.assert_allclose(
        list(algorithms.pagerank(g).values()), list(nx.pagerank(plain(g)).values()), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda g: algorithms.dag_longest_path_length(g),
        lambda g: algorithms.dag_longest_path_length(g, "absent", 2),
        lambda g: algorithms.descendants(g, "nobody"),
        lambda g: algorithms.pagerank(g, personalization={0: 1.0}),
        lambda g: algorithms.pagerank(g, max_iter=1, tol=1e-30),
        lambda g: algorithms.is_weakly_connected(CachedLayeredGraph()),
    ],
)
def test_what_arrays_do_not_serve_is_left_to_networkx(call) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, 2.0])
    with pytest.raises(NotImplementedError, match="expected arguments that the array version serves, got others"):
        call(g)


def test_only_our_own_graphs_are_taken_and_nothing_is_converted() -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    assert backend.can_run("descendants", (g, 0), {})
    assert backend.can_run("descendants", (), {"G": g})
    others = (nx.DiGraph(g), g.reverse(copy=False), None)
    assert not any(backend.can_run("descendants", (other, 0), {}) for other in others)
    assert not backend.can_run("louvain_communities", (g,), {})
    assert backend.convert_from_nx(g) is g
    assert backend.convert_to_nx(g) is g
    assert sorted(FUNCTIONS) == sorted(algorithms.__all__)


USE = """
import sys
import deepgraph.backend.info
loaded = {"torch", "numba", "networkx", "numpy"} & {name for name, module in sys.modules.items() if module}
assert not loaded, loaded
import networkx as nx
assert "torch" not in sys.modules and "numpy" not in sys.modules, "info imports too much"
import deepgraph as dg
from deepgraph.backend.interface import backend
calls = []
take = backend.descendants
backend.descendants = lambda *args: calls.append(args) or take(*args)
copies = []
copy = backend.relabel_nodes
backend.relabel_nodes = lambda *args, **named: copies.append(args) or copy(*args, **named)
g = dg.CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2])
assert nx.descendants(g, 1) == {2} and not calls
assert list(nx.relabel_nodes(g, {0: "a"})) == ["a", 1, 2] and not copies
assert list(nx.relabel_nodes(g, {0: "a"}, backend="deepgraph")) == ["a", 1, 2] and len(copies) == 1
before = dict(nx.config.backend_priority)
with dg.fast_networkx():
    assert nx.descendants(g, 1) == {2} and len(calls) == 1
    assert nx.descendants(nx.DiGraph(g), 1) == {2} and len(calls) == 1
    assert list(nx.topological_sort(g)) == [0, 1, 2]
    assert list(nx.relabel_nodes(g, {0: "a"})) == ["a", 1, 2] and len(copies) == 2
    assert list(nx.relabel_nodes(g, {0: 1})) == [1, 2] and type(nx.path_graph(3)) is nx.Graph
    assert list(nx.relabel_nodes(nx.DiGraph(g), {0: "a"})) == ["a", 1, 2] and len(copies) == 3
    assert nx.pagerank(g, personalization={0: 1.0})
    assert type(nx.compose(g, nx.DiGraph([(5, 6)]))) is not None
    nx.set_edge_attributes(g, 1.0, "w")
    assert g[0][1]["w"] == 1.0
    try:
        nx.descendants(g, 9)
    except nx.NetworkXError:
        pass
    else:
        raise SystemExit("no error")
assert dict(nx.config.backend_priority) == before
assert nx.descendants(g, 1) == {2} and len(calls) == 2, calls
"""


def run(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([*map(str, folders), str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=100)


def test_networkx_uses_the_backend_when_it_is_installed_and_asked_for(tmp_path: Path) -> None:
    # The entry points of setup.cfg, also where an older installation of the package lacks them.
    package = tmp_path / "deepgraph_nn-0.1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: deepgraph-nn\nVersion: 0.1.0\n")
    (package / "entry_points.txt").write_text(
        "[networkx.backends]\ndeepgraph = deepgraph.backend.interface:backend\n"
        "[networkx.backend_info]\ndeepgraph = deepgraph.backend.info:get_info\n"
    )
    result = run(USE, tmp_path)
    assert result.returncode == 0, result.stderr


def test_without_the_entry_points_the_message_says_what_to_do() -> None:
    code = (
        "import networkx.utils.backends as b; b.backends.pop('deepgraph', None)\n"
        "import deepgraph as dg\n"
        "with dg.fast_networkx(): pass"
    )
    result = run(code)
    assert "expected the networkx backend 'deepgraph', got none; install the package" in result.stderr

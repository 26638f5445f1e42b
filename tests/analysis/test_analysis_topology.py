"""Does topology matter: paired intervals, nulls that keep what they say, scores that are never computed twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import trainings
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import deepgraph as dg
from deepgraph.analysis import does_topology_matter, null_relabel, paired_difference
from deepgraph.analysis.parallel import run_tasks, write_whole
from deepgraph.analysis.topology import _arm_graph, _bare
from deepgraph.errors import ArgumentError, FileFormatError, ShapeError


@pytest.fixture(scope="module")
def graph():
    found = dg.priors.random_layered([8, 10, 6, 3], 0.3, seed=0)
    found.set_column("weight", np.linspace(-1, 1, found.number_of_edges()))
    found.set_node_column("bias", np.ones(len(found)))
    return found


def test_intervals_are_those_of_scipy():
    rng = np.random.default_rng(0)
    one, two = rng.normal(0.1, 1, 7), rng.normal(0, 1, 7)
    ours = paired_difference(one, two, 0.9)
    theirs = stats.ttest_rel(one, two).confidence_interval(0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))
    assert paired_difference([1, 2, np.nan, np.inf], [0, 1.5, 1, 1]).n == 2
    lone = paired_difference([1], [0])
    assert (lone.mean, lone.low, lone.sign) == (1.0, -np.inf, 0)
    with pytest.raises(ShapeError, match=r"arrays of one length, got \(1,\) and \(2,\)"):
        paired_difference([1], [1, 2])
    with pytest.raises(ArgumentError, match="level must be in"):
        paired_difference([1], [1], 1.0)


def test_relabelling_keeps_the_pattern_and_moves_it(graph):
    null = null_relabel(graph, seed=0)
    assert nx.is_isomorphic(nx.DiGraph(graph), nx.DiGraph(null))
    assert null.stage_array().tolist() == graph.stage_array().tolist()
    assert null.role_array().tolist() == graph.role_array().tolist()
    assert sorted(null.column("weight")) == sorted(graph.column("weight"))
    assert null.digest() != graph.digest()
    assert not len(null.history)
    assert null.digest() == null_relabel(graph, seed=0).digest()
    own, other = dg.features(graph, seed=0), dg.features(null, seed=0)
    for name in own.keys() - {"modularity"}:
        assert other[name] == pytest.approx(own[name], nan_ok=True), name


def test_activations_stay_where_they_are():
    graph = dg.CachedLayeredGraph.from_arrays([0, 0, 1], [2, 3, 2], num_nodes=4)
    graph.set_node_column("activation", np.array(["", "", "relu", "tanh"]))
    for seed in range(5):
        assert dict(null_relabel(graph, seed).in_degree)[2] == 2  # the only relu keeps its fan-in


def test_arms_start_without_weights_and_keep_stages(graph):
    bare = _bare(graph)
    assert not bare.has_column("weight")
    assert not bare.has_node_column("bias")
    assert graph.has_column("weight")
    assert graph.has_node_column("bias")
    for arm in ("found", "er", "degree", "relabel"):
        assert _arm_graph(bare, arm, 3).stage_array().tolist() == graph.stage_array().tolist()
        assert _arm_graph(bare, arm, 3).digest() == _arm_graph(bare, arm, 3).digest()
    assert _arm_graph(bare, "er", 3).digest() != _arm_graph(bare, "er", 4).digest()


def test_what_a_null_keeps_cannot_make_a_difference(graph):
    found = does_topology_matter(graph, trainings.largest_fan_out, seeds=4, workers=0, progress=False)
    assert found.differences["degree"].mean == found.differences["relabel"].mean == 0
    assert found.winner("degree") == "nobody"
    assert found.seeds == (0, 1, 2, 3)
    expected = max(dict(graph.out_degree).values())
    assert found.scores["found"] == pytest.approx([expected, expected + 0.01, expected + 0.02, expected + 0.03])


def test_a_hub_wins_and_loses_as_the_score_is_read():
    hub = dg.CachedLayeredGraph.from_arrays([0] * 12 + [1, 2], [*range(8, 20), 8, 8], num_nodes=20)
    high = does_topology_matter(hub, trainings.largest_fan_out, ["er"], seeds=6, workers=0, progress=False)
    low = does_topology_matter(
        hub, trainings.largest_fan_out, ["er"], seeds=6, workers=0, progress=False, higher_is_better=False
    )
    assert (high.winner("er"), low.winner("er")) == ("found", "er")
    assert "6 seeds, higher scores are better" in str(high)
    assert json.loads(json.dumps(high.to_dict()))["differences"]["er"]["winner"] == "found"
    with pytest.raises(ArgumentError, match="null must be one of er, got 'degree'"):
        high.winner("degree")


def test_processes_give_the_scores_of_this_process(graph):
    here = does_topology_matter(graph, trainings.initial_loss, seeds=2, workers=0, progress=False)
    there = does_topology_matter(graph, trainings.initial_loss, seeds=2, workers=2, progress=False)
    assert there.scores == here.scores
    assert len({score for row in here.scores.values() for score in row}) == 8
    kept = does_topology_matter(graph, trainings.initial_loss, seeds=2, workers=0, progress=False, weights="keep")
    assert kept.scores["found"][0] == kept.scores["found"][1]


def test_each_process_has_one_thread():
    os.environ.pop("OMP_NUM_THREADS", None)
    try:
        (result,) = run_tasks(trainings.thread_count, [()], workers=1)
    finally:
        assert "OMP_NUM_THREADS" not in os.environ
        os.environ["OMP_NUM_THREADS"] = "1"
    assert result == (0, (1, "1"))


def test_an_interrupted_test_goes_on(graph, tmp_path, monkeypatch):
    calls, path = tmp_path / "calls", tmp_path / "scores.json"
    calls.mkdir()
    monkeypatch.setenv("COUNTED_CALLS", str(calls))
    options = {"seeds": 2, "workers": 0, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        does_topology_matter(graph, trainings.counted, path=path, **options)
    assert len(json.loads(path.read_text())["scores"]) == 3
    resumed = does_topology_matter(graph, trainings.counted, path=path, **options)
    assert len(list(calls.iterdir())) == 4 + 5
    whole = does_topology_matter(graph, trainings.counted, **options)
    assert resumed == whole
    does_topology_matter(graph, trainings.counted, ["er"], path=path, **options)
    assert len(list(calls.iterdir())) == 9 + 8
    with pytest.raises(FileFormatError, match="expected the scores of train initial_loss, got those of counted"):
        does_topology_matter(graph, trainings.initial_loss, path=path, **options)
    other = null_relabel(graph, seed=1)
    with pytest.raises(FileFormatError, match="expected the scores of graph"):
        does_topology_matter(other, trainings.counted, path=path, **options)
    path.write_text("{}")
    with pytest.raises(FileFormatError, match="expected the scores of does_topology_matter"):
        does_topology_matter(graph, trainings.counted, path=path, **options)


KILLED = """
import sys
import deepgraph as dg, trainings
if __name__ == "__main__":
    graph = dg.priors.random_layered([8, 10, 6, 3], 0.3, seed=0)
    dg.does_topology_matter(graph, trainings.slow_score, seeds=5, workers=2, path=sys.argv[1])
"""


@pytest.mark.slow
def test_a_killed_test_leaves_no_process_and_goes_on(tmp_path, monkeypatch):
    calls, path, script = tmp_path / "calls", tmp_path / "scores.json", tmp_path / "killed.py"
    calls.mkdir()
    script.write_text(KILLED)
    monkeypatch.setenv("COUNTED_CALLS", str(calls))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(trainings.__file__).parent), *sys.path]))
    process = subprocess.Popen([sys.executable, str(script), str(path)], stderr=subprocess.DEVNULL)
    while not path.exists() or len(json.loads(path.read_text())["scores"]) < 4:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    workers = {int(file.name.split("-")[0]) for file in calls.iterdir()}
    assert len(workers) == 2
    left = workers
    for _ in range(3000):
        left = {worker for worker in left if Path(f"/proc/{worker}").exists()}
        if not left:
            break
        time.sleep(0.02)
    assert not left
    done = len(json.loads(path.read_text())["scores"])
    assert 4 <= done < 20
    before = len(list(calls.iterdir()))
    graph = dg.priors.random_layered([8, 10, 6, 3], 0.3, seed=0)
    resumed = does_topology_matter(graph, trainings.slow_score, seeds=5, workers=0, path=path, progress=False)
    assert len(list(calls.iterdir())) - before == 20 - done
    assert resumed == does_topology_matter(graph, trainings.slow_score, seeds=5, workers=0, progress=False)


def test_lost_scores_are_left_out_and_said(graph, tmp_path):
    options = {"seeds": 5, "workers": 0, "progress": False, "path": tmp_path / "a.json"}
    found = does_topology_matter(graph, trainings.odd_seeds_fail, ["er"], **options)
    assert found.differences["er"].n == 3
    assert "found: 2 without a finite score" in str(found)
    again = does_topology_matter(graph, trainings.odd_seeds_fail, ["er"], **options)
    assert str(again) == str(found)
    assert found.to_dict()["scores"]["er"][1] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": 1}, "at least 2 different numbers >= 0"),
        ({"seeds": [3, 3]}, "at least 2 different numbers >= 0"),
        ({"nulls": "er"}, "nulls must be a list of some of er, degree, relabel; got 'er'"),
        ({"nulls": ["ring"]}, "nulls must be a list"),
        ({"weights": "forget"}, 'weights must be "draw" or "keep"'),
        ({"level": 2}, "level must be in"),
        ({"workers": -1}, "workers must be a number of processes >= 0"),
    ],
)
def test_refusals(graph, options, message):
    with pytest.raises(ArgumentError, match=message):
        does_topology_matter(graph, trainings.largest_fan_out, progress=False, **{"workers": 0, **options})


def test_what_is_no_training_is_refused(graph):
    with pytest.raises(ArgumentError, match="train must return a number, got str for 'found' with seed 0"):
        does_topology_matter(graph, trainings.words, workers=0, progress=False)
    with pytest.raises(ArgumentError, match=r"another process can import, .* pass workers=0"):
        does_topology_matter(graph, lambda graph, seed: 0.0, workers=1, progress=False)


def test_a_process_that_dies_is_no_endless_wait():
    with pytest.raises(ArgumentError, match="a worker process ended before its task"):
        list(run_tasks(trainings.dies, [()], workers=1))


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.json"
    write_whole(path, "old")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=8))
def test_swapping_the_two_turns_the_interval_round(scores):
    one, two = zip(*scores, strict=True)
    ours, theirs = paired_difference(one, two), paired_difference(two, one)
    assert (ours.low, ours.high, ours.sign) == (-theirs.high, -theirs.low, -theirs.sign)

"""Centralities and motifs against networkx, tails against sums written out, rows of features from disk."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import lognorm

import deepgraph as dg
from deepgraph import analysis
from deepgraph.analysis import (
    EdgeArrays,
    analyse,
    betweenness,
    centrality,
    closeness,
    feature_rows,
    motifs,
    pagerank,
    tail_test,
)
from deepgraph.analysis.tails import _log_norm
from deepgraph.errors import ArgumentError, StructureError, TooLargeError

GRAPHS = {
    "small world": dg.priors.watts_strogatz(60, 6, 0.3, seed=0),
    "scale free": dg.priors.barabasi_albert(80, 3, seed=0),
    "layered": dg.priors.random_layered([10, 15, 12, 4], 0.25, seed=0),
    "sparse": dg.priors.erdos_renyi_dag(70, 0.02, seed=1),
    "deep": dg.priors.watts_strogatz(90, 4, 0.0, orientation="stored", seed=0),
}
each_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS.keys())


@each_graph
def test_betweenness_is_that_of_networkx(graph):
    ours = betweenness(graph, sources=1_000)
    theirs = nx.betweenness_centrality(nx.DiGraph(graph))
    assert ours.values == pytest.approx([theirs[v] for v in graph])
    assert (ours.bound, ours.error.max(), ours.sources) == (0.0, 0.0, len(graph))


@each_graph
def test_closeness_is_that_of_networkx(graph):
    both = nx.DiGraph(graph).to_undirected()
    largest = both.subgraph(max(nx.connected_components(both), key=len))
    theirs = nx.closeness_centrality(largest)
    ours = closeness(graph, sources=1_000)
    assert ours.values == pytest.approx([theirs.get(v, math.nan) for v in graph], nan_ok=True)
    assert ours.bound == 0.0


@each_graph
@pytest.mark.parametrize("damping", [0.0, 0.5, 0.85])
def test_pagerank_is_that_of_networkx(graph, damping):
    theirs = nx.pagerank(nx.DiGraph(graph), alpha=damping, tol=1e-12, max_iter=1_000)
    assert pagerank(graph, damping) == pytest.approx([theirs[v] for v in graph], abs=1e-9)


def test_sampled_centralities_keep_their_bounds_and_state_their_error():
    graph = dg.priors.barabasi_albert(300, 3, seed=2)
    for measure, key in ((betweenness, lambda x: x), (closeness, lambda x: 1 / x)):
        exact = key(measure(graph, sources=300).values)
        samples = [measure(graph, sources=60, seed=seed) for seed in range(40)]
        assert max(np.abs(key(sample.values) - exact).max() for sample in samples) < samples[0].bound
        assert np.mean([key(sample.values) for sample in samples], axis=0) == pytest.approx(exact, rel=0.25, abs=0.003)
        at = int(np.argmax(exact))
        spread = np.std([sample.values[at] for sample in samples], ddof=1)
        assert np.mean([sample.error[at] for sample in samples]) == pytest.approx(spread, rel=0.35)


def test_numbers_of_paths_beyond_all_floats_do_no_harm():
    deep = dg.priors.random_layered([30] * 250, 1.0, seed=0)  # 30^249 shortest paths
    found = betweenness(deep, sources=16, seed=0)
    assert np.isfinite(found.values).all()
    one = nx.DiGraph([(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)])
    graph = dg.from_networkx(one)
    assert betweenness(graph).values.tolist() == pytest.approx(list(nx.betweenness_centrality(one).values()))


def test_refusals_of_centralities(monkeypatch):
    graph = GRAPHS["sparse"]
    with pytest.raises(ArgumentError, match="sources must be at least 2"):
        betweenness(graph, sources=1)
    with pytest.raises(ArgumentError, match="sources must be at least 2"):
        closeness(graph, sources=1)
    with pytest.raises(ArgumentError, match=r"damping must be in \[0, 1\), got 1"):
        pagerank(graph, damping=1)
    with pytest.raises(ArgumentError, match="tolerance must be above 0"):
        pagerank(graph, tolerance=0)
    monkeypatch.setattr(centrality, "_WORK_LIMIT", 10)
    with pytest.raises(TooLargeError, match=r"walk at most 1e\+01 edges, got 70 sources .*; take fewer sources"):
        betweenness(graph)
    monkeypatch.undo()
    monkeypatch.setattr(centrality, "_DEEPEST", 20)
    with pytest.raises(TooLargeError, match="shortest paths of fewer than 20 edges, got a graph of 90 nodes"):
        betweenness(GRAPHS["deep"])
    empty = EdgeArrays.from_arrays([], [], 0)
    assert (len(betweenness(empty).values), len(closeness(empty).values), len(pagerank(empty))) == (0, 0, 0)


@each_graph
def test_motifs_are_those_of_the_triadic_census(graph):
    census = nx.triadic_census(nx.DiGraph(graph))
    assert motifs(graph).to_dict() == {
        "feed_forward": census["030T"],
        "chain": census["021C"],
        "fan_out": census["021D"],
        "fan_in": census["021U"],
    }


def test_motifs_stand_out_against_nulls():
    ring = dg.priors.watts_strogatz(200, 8, 0.05, seed=0)
    report = analyse(ring, nulls=20, seed=0, measures=["motif_feed_forward", "motif_chain"], progress=False)
    assert report["motif_feed_forward"].nulls["degree"].z > 3
    layered = analyse(GRAPHS["layered"], seed=0, measures=["motif_feed_forward"], progress=False)
    assert layered["motif_feed_forward"].note.startswith("0 by construction")


def test_a_rich_club_in_one_stage_is_left_out_with_the_reason():
    report = analyse(dg.priors.random_layered([10, 50, 10], 0.3, seed=0), nulls=1, seed=0, progress=False)
    assert "of highest degree lie in stages that are not joined: 0 and 2" in report.skipped["rich_club"]
    assert report.skipped["rich_club_ratio"] == "needs rich_club"
    assert analyse(GRAPHS["scale free"], seed=0, measures=["rich_club"], progress=False)["rich_club"].value > 0


def test_report_says_how_betweenness_was_sampled():
    graph = dg.priors.watts_strogatz(400, 4, 0.3, seed=0)
    value = analyse(graph, seed=0, measures=["max_betweenness"], progress=False)["max_betweenness"]
    assert value.note.startswith("from 256 of 400 sources, off by at most")
    assert value.error > 0


# ---------------------------------------------------------------- tails


@pytest.mark.parametrize(
    ("exponent", "rate", "kmin"), [(2.5, 1e-2, 1), (0.5, 1e-3, 7), (-1.0, 0.02, 4), (3.0, 1e-4, 5)]
)
def test_the_truncated_norm_is_the_sum(exponent, rate, kmin):
    k = np.arange(kmin, kmin + int(80 / rate), dtype=float)
    expected = math.log(np.exp(-exponent * np.log(k) - rate * (k - kmin)).sum())
    assert _log_norm(exponent, rate, kmin) == pytest.approx(expected, abs=1e-9)
    assert _log_norm(2.0, 0.0, 1) == pytest.approx(math.log(math.pi**2 / 6))


def test_the_lognormal_ratio_is_that_of_scipy():
    values = np.random.default_rng(1).lognormal(2.0, 0.8, 3000).round().astype(int)
    values = values[values >= 4]
    test = tail_test(values, "lognormal", kmin=4)
    mean, sd = test.parameters
    model = lognorm(sd, scale=math.exp(mean))
    theirs = np.log((model.cdf(values + 0.5) - model.cdf(values - 0.5)) / model.sf(3.5))
    power = analysis.fit_power_law(values, kmin=4)
    k = np.arange(4, 2_000_000, dtype=float)
    own = -power.exponent * np.log(values) - math.log(
        (k**-power.exponent).sum() + k[-1] ** (1 - power.exponent) / (power.exponent - 1)
    )
    difference = own - theirs
    assert test.ratio == pytest.approx(difference.sum(), rel=1e-4)
    assert test.normalised == pytest.approx(difference.sum() / (difference.std() * math.sqrt(len(values))), rel=1e-4)
    assert test.verdict == "lognormal"
    assert (mean, sd) == pytest.approx((2.0, 0.8), abs=0.1)


def test_each_tail_is_told_from_the_others():
    rng = np.random.default_rng(0)
    geometric = tail_test(rng.geometric(0.1, 3000), "truncated_power_law", kmin=1)
    assert geometric.verdict == "truncated_power_law"
    assert geometric.parameters == pytest.approx((0.0, -math.log(0.9)), abs=0.05)
    power = rng.zipf(2.2, 3000)
    assert tail_test(power, "truncated_power_law").verdict == "neither"
    assert tail_test(power, "lognormal").verdict in ("power_law", "neither")
    assert tail_test(power, "truncated_power_law").ratio <= 0


def test_tails_refuse():
    with pytest.raises(ArgumentError, match="alternative must be one of lognormal, truncated_power_law, got 'normal'"):
        tail_test([1, 2], "normal")
    with pytest.raises(StructureError, match="at least 50 values"):
        tail_test([1, 2, 3])
    with pytest.raises(ArgumentError, match="integers >= 0"):
        tail_test([1.5] * 60)


def test_the_report_holds_the_power_law_against_both():
    graph = dg.priors.barabasi_albert(2000, 3, seed=0)
    report = analyse(graph, seed=0, measures=["vuong_lognormal_fan_out", "vuong_truncated_fan_out"], progress=False)
    test = analysis.power_law_against(graph, "lognormal", "out")
    assert report["vuong_lognormal_fan_out"].value == test.normalised
    assert "log likelihood ratio" in report["vuong_lognormal_fan_out"].note


@given(st.lists(st.integers(1, 30), min_size=60, max_size=120), st.sampled_from(analysis.tails.ALTERNATIVES))
def test_any_tail_gives_a_probability(values, alternative):
    try:
        test = tail_test(values, alternative)
    except StructureError:
        return
    assert 0 <= test.p <= 1
    assert math.isfinite(test.ratio)
    if alternative == "truncated_power_law":
        assert test.ratio <= 1e-9  # it contains the power law


# ---------------------------------------------------------------- features of many graphs


def test_many_graphs_make_a_table_in_their_order(tmp_path):
    graphs = [GRAPHS["sparse"], GRAPHS["layered"], GRAPHS["sparse"]]
    rows = dg.features(graphs, seed=0, cache=tmp_path, workers=1, progress=False)
    assert [row["edges"] for row in rows] == [graph.number_of_edges() for graph in graphs]
    assert len(list(tmp_path.iterdir())) == 2
    for row, graph in zip(rows, graphs, strict=True):
        assert row == pytest.approx(dg.features(graph, seed=0), nan_ok=True)
    assert list(rows[0]) == list(rows[1])
    assert dg.features([], seed=0, progress=False) == []


def test_rows_on_disk_are_not_measured_again(tmp_path, monkeypatch):
    graph = GRAPHS["sparse"].copy()
    first = dg.features(graph, seed=0, cache=tmp_path)
    monkeypatch.setattr(feature_rows, "evaluate_all", lambda *_: pytest.fail("measured again"))
    assert dg.features(graph, seed=0, cache=tmp_path) == pytest.approx(first, nan_ok=True)
    assert list(dg.features(graph, seed=0, cache=tmp_path)) == list(first)
    monkeypatch.undo()
    graph.edit(drop=tuple(end[:1] for end in graph.edge_arrays()))
    assert dg.features(graph, seed=0, cache=tmp_path)["edges"] == first["edges"] - 1
    dg.features(graph, seed=1, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    for file in tmp_path.iterdir():
        Path(file).write_text("{broken")
    assert dg.features(graph, seed=0, cache=tmp_path)["edges"] == first["edges"] - 1


def test_infinite_and_undefined_values_survive_the_disk(tmp_path):
    broken = EdgeArrays.from_arrays([0], [1], 3, inputs=[0], outputs=[2])
    first, again = (dg.features(broken, seed=0, cache=tmp_path) for _ in range(2))
    assert first["log_paths"] == again["log_paths"] == -math.inf
    assert math.isnan(again["sign_balance"])
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["sign_balance"] is None


def test_a_cache_needs_a_seed(tmp_path):
    with pytest.raises(ArgumentError, match="cache needs an int as seed, to know a graph's row again, got None"):
        dg.features(GRAPHS["sparse"], cache=tmp_path)
    assert not os.listdir(tmp_path)

"""Reports: the same numbers from the same seed, readable tables, nulls that are said to fix what they fix."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import json
import math
import sys
from types import ModuleType, SimpleNamespace

import networkx as nx
import numpy as np
import pytest

import deepgraph as dg
from deepgraph import analysis
from deepgraph.analysis import MEASURES, PAIR_MEASURES, STAGE_MEASURES, Measure, analyse, catalogue_structure
from deepgraph.errors import ArgumentError, CycleError, DtypeError, MissingDependencyError
from deepgraph.graph import CachedLayeredGraph


def layered_graph(sizes=(20, 14, 10, 10), densities=(0.2, 0.3, 1.0), seed=0, weight=True) -> CachedLayeredGraph:
    """Return a layered graph with declared roles; its last stage pair is dense."""
    rng = np.random.default_rng(seed)
    offset = np.cumsum([0, *sizes])
    blocks = [np.nonzero(rng.random((sizes[s], sizes[s + 1])) < densities[s]) for s in range(len(sizes) - 1)]
    src = np.concatenate([row + offset[s] for s, (row, _) in enumerate(blocks)])
    dst = np.concatenate([column + offset[s + 1] for s, (_, column) in enumerate(blocks)])
    graph = CachedLayeredGraph.from_arrays(src, dst, num_nodes=int(offset[-1]))
    graph.set_node_column("stage", np.repeat(np.arange(len(sizes)), sizes).astype(np.int32))
    hidden = sum(sizes) - sizes[0] - sizes[-1]
    graph.set_node_column("role", np.array(["input"] * sizes[0] + ["hidden"] * hidden + ["output"] * sizes[-1]))
    if weight:
        graph.set_column("weight", rng.normal(size=len(src)))
    return graph


@pytest.fixture(scope="module")
def graph() -> CachedLayeredGraph:
    return layered_graph()


@pytest.fixture(scope="module")
def against_nulls(graph) -> analysis.Report:
    return analyse(graph, nulls=20, seed=3, progress=False)


def test_every_measure_is_explained():
    for measure in [*MEASURES.values(), *STAGE_MEASURES.values(), *PAIR_MEASURES.values()]:
        assert measure.definition.endswith("."), measure.name
        assert measure.directed in ("directed", "undirected", "")
        assert measure.family
        assert measure.cost
    assert len(MEASURES) >= 40


def test_report_holds_values_rows_and_reasons(graph):
    report = analyse(graph, seed=0, progress=False)
    assert float(report["edges"]) == graph.number_of_edges()
    assert report["gini_fan_in"].value == pytest.approx(analysis.fan(graph).gini)
    assert [row["units"] for row in report.stages] == [20, 14, 10, 10]
    assert sum(row["edges"] for row in report.stage_pairs) == graph.number_of_edges()
    assert [(row["source"], row["target"]) for row in report.stage_pairs] == [(0, 1), (1, 2), (2, 3)]
    assert set(report) | set(report.skipped) == {name for name, m in MEASURES.items() if not m.versus}
    assert len(report) == len(list(report))
    assert "edges" in report
    assert "at least 50 values" in report.skipped["power_law_fan_in"]
    text = str(report)
    assert "not computed: power_law_fan_in" in text
    assert "0 by construction" in text
    assert "dense stage pairs (2-3 (density 1.00)) would swamp these" in text
    assert "seed 0; deepgraph" in text
    assert report["clustering"].left_out == ("2-3 (density 1.00)",)


def test_dead_neurons_stay_in_the_stage_they_were_declared_in():
    graph = CachedLayeredGraph.from_arrays([0, 1, 3], [1, 4, 4], num_nodes=5)
    graph.set_node_column("stage", np.array([0, 1, 1, 1, 2], np.int32))
    graph.set_node_column("role", np.array(["input", "hidden", "hidden", "hidden", "output"]))
    [_, hidden, _] = analyse(graph, seed=0, progress=False).stages
    assert (hidden["units"], hidden["live"], hidden["dead"]) == (3, 1, 2)
    assert hidden["live_share"] == pytest.approx(1 / 3)


def test_weights_are_left_out_with_a_reason():
    report = analyse(layered_graph(weight=False), seed=0, progress=False)
    assert report.skipped["sign_balance"] == 'the graph has no edge column "weight"'
    assert "mean_strength" not in report.stages[0]
    weighted = analyse(layered_graph(), seed=0, progress=False)
    assert weighted.stages[1]["mean_strength"] > 0
    assert -1 < weighted["sign_balance"].value < 1


def test_same_seed_same_report_whichever_measures(graph, against_nulls):
    again = analyse(graph, nulls=20, seed=3, progress=False)
    assert again.to_json() == against_nulls.to_json()
    few = analyse(graph, nulls=20, seed=3, measures=["modularity", "path_length_mean"], progress=False)
    for name in few:
        assert few[name] == against_nulls[name]
    drawn = analyse(graph, nulls=2, seed=np.random.default_rng(1), progress=False)
    assert analyse(graph, nulls=2, seed=drawn.seed, progress=False).to_json() == drawn.to_json()


def test_processes_give_the_same_report(graph):
    names = ["modularity", "sigma_er", "max_betweenness"]
    here = analyse(graph, nulls=2, seed=3, measures=names, progress=False)
    assert analyse(graph, nulls=2, seed=3, measures=names, progress=False, workers=1).to_json() == here.to_json()
    own = Measure("own", "size", lambda view: 1.0, "One.")
    with pytest.raises(ArgumentError, match="functions that another process can import"):
        analyse(graph, nulls=1, seed=3, measures=[own], progress=False, workers=1)


def test_seed_leaves_the_global_state_alone_and_none_obeys_it(graph):
    np.random.seed(5)
    first = analyse(graph, nulls=1, measures=["modularity"], progress=False)
    state = np.random.get_state()[1].copy()
    analyse(graph, nulls=1, seed=0, measures=["modularity"], progress=False)
    assert np.array_equal(np.random.get_state()[1], state)
    np.random.seed(5)
    assert analyse(graph, nulls=1, measures=["modularity"], progress=False).to_json() == first.to_json()


def test_what_a_null_fixes_is_said(against_nulls):
    for name in ("nodes", "edges", "depth", "density", "mean_fan_in"):
        assert against_nulls[name].nulls["er"].fixed, name
    for name in ("gini_fan_in", "max_fan_in", "sd_fan_out"):
        test = against_nulls[name].nulls["degree"]
        assert test.fixed
        assert test.z is None
        assert test.sd == 0
    free = against_nulls["gini_fan_in"].nulls["er"]
    assert free.z == pytest.approx((against_nulls["gini_fan_in"].value - free.mean) / free.sd)
    text = str(against_nulls)
    assert "fixed by null" in text
    assert "Erdos-Renyi (n = 20)" in text
    assert f"{against_nulls.comparisons} comparisons" in text
    tests = [test for value in map(against_nulls.__getitem__, against_nulls) for test in value.nulls.values()]
    assert against_nulls.comparisons == sum(not test.fixed for test in tests)


def test_z_needs_twenty_nulls(graph):
    report = analyse(graph, nulls=3, seed=0, measures=["gini_fan_in"], progress=False)
    test = report["gini_fan_in"].nulls["er"]
    assert test.z is None
    assert test.p >= 0.25
    assert "z is given from 20 nulls on" in " ".join(str(report).split())


def test_compare_with_nulls_on_hand_made_values():
    low = analysis.compare_with_nulls(0.0, [1.0, 2.0, 3.0, 4.0])
    assert (low.p, low.mean, low.z) == (2 / 5, 2.5, None)  # 4 lies as far from the mean of all five, 2
    far = analysis.compare_with_nulls(9.0, np.arange(20.0) / 20)
    assert far.p == 1 / 21
    assert far.z == pytest.approx((9 - 0.475) / np.std(np.arange(20) / 20, ddof=1))
    other = analysis.compare_with_nulls(2.0, [1.0] * 25)
    assert (other.fixed, other.sd, other.z, other.p) == (False, 0.0, None, 1 / 26)
    assert analysis.compare_with_nulls(1.0, [1.0]).fixed is False
    assert analysis.compare_with_nulls(math.nan, [1.0]) is None
    assert analysis.compare_with_nulls(1.0, [math.nan]) is None


def test_sigma_is_the_ratio_of_ratios(graph, against_nulls):
    closed, length = against_nulls["bipartite_clustering"], against_nulls["path_length_mean"]
    for null in ("er", "degree"):
        expected = (closed.value / closed.nulls[null].mean) / (length.value / length.nulls[null].mean)
        assert against_nulls[f"sigma_{null}"].value == pytest.approx(expected)
    one = analyse(graph, nulls=1, seed=0, measures=["sigma_er"], progress=False)
    assert list(one) == ["sigma_er"]
    assert analyse(graph, measures=["sigma_er"], progress=False).skipped == {"sigma_er": "needs nulls >= 1"}


def test_small_world_graphs_are_found():
    ring = nx.newman_watts_strogatz_graph(150, 8, 0.05, seed=0)
    order = np.random.default_rng(0).permutation(150)
    ends = np.sort(order[np.array(ring.edges)], axis=1)
    graph = CachedLayeredGraph.from_arrays(ends[:, 0], ends[:, 1])
    graph.set_node_column("stage", np.arange(150, dtype=np.int32))
    blocks = CachedLayeredGraph.from_arrays(ends[:, 0], ends[:, 1])
    found = analysis.small_world(blocks, "er", nulls=3, seed=0)
    assert found.clustering == pytest.approx(nx.average_clustering(ring))
    assert found.path_length == pytest.approx(nx.average_shortest_path_length(ring), rel=0.05)
    assert found.sigma == pytest.approx(
        (found.clustering / found.null_clustering) / (found.path_length / found.null_path_length)
    )
    # Every block is one unit by one unit: the null cannot change anything.
    assert analysis.small_world(graph, "degree", nulls=1, seed=0).null_clustering == pytest.approx(found.clustering)


def test_models_stand_for_their_graph(graph):
    model = SimpleNamespace(graph=graph)
    chosen = ["edges", "depth"]
    assert (
        analyse(model, seed=0, measures=chosen, progress=False).to_json()
        == analyse(graph, seed=0, measures=chosen, progress=False).to_json()
    )


def test_own_measures_join_a_report(graph):
    mine = Measure("twice", "mine", lambda view: 2 * view.num_edges, "Twice the edges.", unit="edges")
    report = analyse(graph, nulls=2, seed=0, measures=["edges", mine], progress=False)
    assert report["twice"].value == 2 * report["edges"].value
    assert report["twice"].nulls["er"].fixed
    assert report.describe("twice") == "twice [edges]: Twice the edges. Time O(E)."


def test_lookup_lists_near_names(graph, against_nulls):
    with pytest.raises(KeyError, match="unknown measure 'gini_fanin': did you mean gini_fan_in or"):
        against_nulls["gini_fanin"]
    with pytest.raises(ArgumentError, match=r"'power_law_fan_in' was not computed: .*at least 50 values"):
        analyse(graph, seed=0, progress=False)["power_law_fan_in"]
    with pytest.raises(KeyError, match="unknown measure 'modularty': did you mean modularity"):
        analyse(graph, measures=["modularty"], progress=False)
    with pytest.raises(KeyError, match="unknown table 'stage': did you mean stages"):
        against_nulls.to_frame("stage")
    with pytest.raises(KeyError, match="known are "):
        against_nulls.describe("xyzzy")


def test_bad_arguments_are_named(graph):
    with pytest.raises(ArgumentError, match="nulls must be a number of random graphs >= 0, got -1"):
        analyse(graph, nulls=-1)
    with pytest.raises(ArgumentError, match="measures must be a list of names, got the text 'edges'"):
        analyse(graph, measures="edges")
    with pytest.raises(ArgumentError, match="seed must be an int >= 0"):
        analyse(graph, seed=-1, progress=False)
    with pytest.raises(DtypeError, match=r"expected a CachedLayeredGraph or a model with .graph, got .*DiGraph"):
        analyse(nx.DiGraph([(0, 1)]))
    with pytest.raises(ArgumentError, match=r'null must be "er" .* or "degree" .*, got \'ring\''):
        analysis.small_world(graph, "ring")
    with pytest.raises(ArgumentError, match="nulls must be at least 1, got 0"):
        analysis.small_world(graph, nulls=0)


def test_cycles_are_named():
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    graph.add_edge(2, 0)
    with pytest.raises(CycleError, match="cycle"):
        analyse(graph, progress=False)


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_graphs_without_edges_have_reports(nodes):
    empty = np.empty(0, np.int64)
    report = analyse(CachedLayeredGraph.from_arrays(empty, empty, num_nodes=nodes), nulls=2, seed=0, progress=False)
    assert report["nodes"].value == nodes
    assert report["log_paths"].value == -math.inf
    assert report.to_dict()["measures"]["log_paths"]["value"] == "-inf"
    assert report.stage_pairs == []
    json.loads(report.to_json())
    assert str(report).startswith(f"{nodes} node")
    assert report.to_latex().endswith("\\end{tabular}")


def test_tables_are_aligned_and_fit(graph, against_nulls):
    for report in (against_nulls, analyse(graph, seed=0, progress=False)):
        lines = str(report).splitlines()
        assert max(map(len, lines)) <= 100
        start = next(at for at, line in enumerate(lines) if line.split()[:1] == ["stage"])
        assert len({len(line) for line in lines[start : start + 5]}) == 1


def test_deep_graphs_print_few_rows():
    chain = CachedLayeredGraph.from_arrays(np.arange(999), np.arange(1, 1000))
    text = str(analyse(chain, seed=0, progress=False))
    assert "... 987 of 1,000 rows are not shown" in text
    assert len(text.splitlines()) < 120


def test_latex_marks_what_is_fixed(against_nulls):
    latex = against_nulls.to_latex()
    assert r"gini\_fan\_in & " in latex
    assert r"\multicolumn{4}{c}{fixed by null}" in latex
    widths = {line.count("&") for line in latex.splitlines() if line.startswith("modularity")}
    assert widths == {9}
    assert r"& $-" in latex


def test_json_is_plain_data(against_nulls):
    data = json.loads(against_nulls.to_json())
    assert data["measures"]["edges"]["nulls"]["er"]["fixed_by_null"] is True
    assert data["measures"]["gini_fan_in"]["reference"] == "Gini (1912)"
    assert data["versions"]["networkx"] == importlib.metadata.version("networkx")
    assert data["seed"] == 3
    assert data["stages"][0]["mean_fan_in"] is None


def test_frames(against_nulls, monkeypatch):
    pytest.importorskip("pandas")
    frame = against_nulls.to_frame()
    assert frame.loc["edges", "value"] == against_nulls["edges"].value
    assert bool(frame.loc["edges", "er_fixed_by_null"])
    assert against_nulls.to_frame("stages")["units"].tolist() == [20, 14, 10, 10]
    assert len(against_nulls.to_frame("stage_pairs")) == 3
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="needs pandas, which is not installed; pip install pandas"):
        against_nulls.to_frame()


def test_a_bar_is_shown_and_can_be_switched_off(graph, capsys):
    analyse(graph, measures=["edges"])
    assert "analyse" in capsys.readouterr().err
    analyse(graph, measures=["edges"], progress=False)
    assert capsys.readouterr().err == ""


def test_modularity_names_what_is_too_large(monkeypatch, graph):
    from deepgraph.analysis import community

    monkeypatch.setattr(community, "LOUVAIN_LIMIT", 10)
    report = analyse(graph, measures=["modularity"], progress=False)
    assert "at most 10 edges to partition, got" in report.skipped["modularity"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="needs networkit, which is not installed"):
        analysis.modularity(graph, library="networkit")


class FakeNetworkit(ModuleType):
    """Stands for networkit: one community, and a note of what it was asked."""

    def __init__(self):
        super().__init__("networkit")
        self.__spec__ = importlib.machinery.ModuleSpec("networkit", None)
        self.threads, self.seen = 4, []
        self.community = SimpleNamespace(ParallelLeiden=self.search, Modularity=lambda: self)

    def search(self, graph, randomize):
        self.seen.append((graph, self.threads, randomize))
        return SimpleNamespace(run=lambda: None, getPartition=lambda: "partition")

    def getMaxNumberOfThreads(self):  # noqa: N802
        return self.threads

    def setNumberOfThreads(self, threads):  # noqa: N802
        self.threads = threads

    def setSeed(self, seed, per_thread):  # noqa: N802
        self.seed = seed

    def GraphFromCoo(self, coo, n, weighted):  # noqa: N802
        values, (src, dst) = coo
        return n, dict(zip(zip(src.tolist(), dst.tolist(), strict=True), values.tolist(), strict=True))

    def getQuality(self, partition, graph):  # noqa: N802
        return 0.25


def test_networkit_serves_where_it_is_installed_and_the_graph_is_large(monkeypatch, graph):
    fake = FakeNetworkit()
    monkeypatch.setitem(sys.modules, "networkit", fake)
    small = analyse(graph, measures=["modularity"], seed=0, progress=False)["modularity"]
    assert (small.note, fake.seen) == ("", [])
    monkeypatch.setattr(catalogue_structure, "LOUVAIN_LIMIT", 10)
    large = analyse(graph, measures=["modularity"], seed=0, progress=False)["modularity"]
    assert (large.value, large.note) == (0.25, "found by networkit")
    [((nodes, edges), threads, randomize)] = fake.seen
    thin, _ = analysis.without_dense_pairs(graph)
    assert (nodes, threads, randomize, fake.threads) == (len(graph), 1, True, 4)
    assert edges == dict.fromkeys(zip(thin.src.tolist(), thin.dst.tolist(), strict=True), 1.0)
    assert analysis.modularity(graph, weight="abs", library="networkit") == 0.25
    assert max(fake.seen[-1][0][1].values()) == pytest.approx(np.abs(thin.weight).max())


def test_the_real_networkit_agrees():
    pytest.importorskip("networkit")
    graph = dg.priors.watts_strogatz(1000, 8, 0.1, seed=0)
    theirs = analysis.modularity(graph, seed=0, library="networkit")
    assert theirs == analysis.modularity(graph, seed=0, library="networkit")
    assert theirs == pytest.approx(analysis.modularity(graph, seed=0), abs=0.02)


def test_products_name_what_is_too_large(monkeypatch, graph):
    from deepgraph.analysis import bipartite

    monkeypatch.setattr(bipartite, "WORK_LIMIT", 10)
    report = analyse(graph, measures=["butterflies"], seed=0)
    assert "expected at most 1e+01 two-step paths, got" in report.skipped["butterflies"]

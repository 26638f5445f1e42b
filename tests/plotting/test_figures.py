"""Adjacency, degrees, curves, edits, inputs and the page that joins them, tested by what they show."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from drawing_cases import CASES, assert_readable, chain, dags, layered, layered_graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from scipy import stats

from deepgraph.errors import ArgumentError, DtypeError, MissingColumnError, ShapeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.plotting import (
    degree_distribution,
    density_grid,
    edge_lifetimes,
    edit_history,
    input_connections,
    input_heatmap,
    report_figure,
    spy,
    stage_rows,
    statistic_over_steps,
    training_curves,
)
from deepgraph.plotting.style import short_count


def new_axes():
    return Figure(figsize=(6.4, 4.8), layout="constrained").add_subplot()


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# ---------------------------------------------------------------- adjacency


@given(graph=st.one_of(dags(), layered_graphs()), bins=st.integers(1, 30))
def test_raster_counts_every_edge_and_every_cell(graph, bins):
    counts, cells, lines = density_grid(graph, bins)
    assert counts.sum() == graph.number_of_edges()
    assert cells.sum() == len(graph) ** 2
    assert lines[0] == 0
    assert lines[-1] == len(graph)
    assert (counts <= cells).all()
    stages = np.unique(graph.stage_array(), return_counts=True)[1]
    if len(stages) <= bins:
        assert set(np.cumsum(stages)) <= set(lines.tolist())


@given(graph=dags())
@settings(max_examples=30)
def test_dots_are_the_edges_in_stage_order(graph):
    ax = spy(graph, new_axes())
    offsets = {tuple(np.int64(pair).tolist()) for pair in ax.collections[0].get_offsets()}
    rows = np.argsort(np.argsort(graph.stage_array(), kind="stable"), kind="stable")
    src, dst = graph.edge_arrays()
    assert offsets == set(zip(rows[dst].tolist(), rows[src].tolist(), strict=True))


def test_sources_run_down_and_targets_to_the_right():
    ax = spy(CASES["rewired"](), new_axes())
    assert ax.yaxis_inverted()
    assert not ax.xaxis_inverted()
    assert "source" in ax.get_ylabel()
    assert "target" in ax.get_xlabel()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2", "3", "4"]


def test_many_edges_become_a_raster_of_densities():
    graph = layered([60, 50, 40], 0.5)
    ax = spy(graph, new_axes(), max_points=100, bins=30)
    (mesh,) = [found for found in ax.collections if found.get_array() is not None]
    counts, cells, _ = density_grid(graph, 30)
    np.testing.assert_allclose(mesh.get_array().filled(0.0), counts / cells)
    assert any("density" in child.get_ylabel() for child in ax.child_axes)


def test_densities_far_apart_get_a_logarithmic_scale():
    ax = spy(layered([60, 50, 40], 0.9, skip=0.004), new_axes(), max_points=0, bins=9)
    (mesh,) = [found for found in ax.collections if found.get_array() is not None]
    assert isinstance(mesh.norm, LogNorm)


@pytest.mark.parametrize("name", CASES)
def test_spy_is_readable_at_the_default_size(name):
    assert_readable(spy(CASES[name]()).figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"max_points": -1}, "max_points must be at least 0, got -1"), ({"bins": 0}, "bins must be at least 1, got 0")],
)
def test_spy_refuses(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        spy(CASES["tree"](), **arguments)
    with pytest.raises(DtypeError, match="got Graph; convert a networkx graph"):
        spy(nx.Graph(), **arguments)


def test_density_grid_refuses_no_cells():
    with pytest.raises(ArgumentError, match="bins must be at least 1, got 0"):
        density_grid(CASES["tree"](), 0)


# ---------------------------------------------------------------- degrees


def hub(largest: int = 40) -> CachedLayeredGraph:
    """One output that reads `largest` inputs, one that reads 3, a hidden neuron that reads and feeds nothing."""
    src = np.concatenate([np.arange(largest), np.arange(3)])
    dst = np.concatenate([np.full(largest, largest), np.full(3, largest + 1)])
    graph = CachedLayeredGraph.from_arrays(src, dst, num_nodes=largest + 3)
    graph.set_node_column("role", np.array(["input"] * largest + ["output", "output", "hidden"]))
    return graph


def test_cumulative_shares_on_log_axes():
    ax = degree_distribution(hub(), new_axes())
    assert ax.get_xscale() == ax.get_yscale() == "log"
    fan_in, fan_out = ax.lines
    np.testing.assert_allclose(fan_in.get_xydata(), [[3, 2 / 3], [40, 1 / 3]])
    np.testing.assert_allclose(fan_out.get_xydata(), [[1, 40 / 41], [2, 3 / 41]])
    assert legend_of(ax) == [
        "fan-in: mean 14.3, largest 40, 1 without any",
        "fan-out: mean 1.0, largest 2, 1 without any",
    ]
    assert fan_in.get_color() != fan_out.get_color()
    assert fan_in.get_marker() != fan_out.get_marker()


def test_small_degrees_are_bars_that_sum_to_one():
    ax = degree_distribution(CASES["rewired"](), new_axes())
    assert ax.get_xscale() == "linear"
    for bars in ax.containers:
        assert sum(bar.get_height() for bar in bars) == pytest.approx(1.0)


def test_a_fit_is_drawn_through_its_tail():
    law = type("Law", (), {"exponent": 2.5, "kmin": 3})
    ax = degree_distribution(hub(), new_axes(), fit={"fan_in": law, "fan_out": None})
    assert len(ax.lines) == 3
    line = ax.lines[-1]
    assert line.get_color() == ax.lines[0].get_color()
    np.testing.assert_allclose(line.get_xydata()[0], [3, 2 / 3])
    k = line.get_xdata()
    expected = stats.zipf.sf(k - 1, 2.5) / stats.zipf.sf(2, 2.5) * 2 / 3
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert legend_of(ax)[-1] == r"fan-in: power law with $\alpha$ = 2.50 from k = 3"
    assert_readable(degree_distribution(hub(), fit={"fan_in": law, "fan_out": {"exponent": 3, "kmin": 1}}).figure)


def test_a_fit_over_bars_is_a_share_per_degree():
    ax = degree_distribution(CASES["rewired"](), new_axes(), fit={"fan_in": {"exponent": 2.0, "kmin": 1}})
    np.testing.assert_allclose(ax.lines[0].get_ydata()[:2], np.array([1.0, 0.25]) * ax.lines[0].get_ydata()[0])


def test_a_tail_beyond_all_degrees_is_not_drawn():
    assert not degree_distribution(CASES["tree"](), new_axes(), fit={"fan_in": {"exponent": 2.0, "kmin": 99}}).lines


@pytest.mark.parametrize("name", CASES)
def test_degrees_are_readable_at_the_default_size(name):
    assert_readable(degree_distribution(CASES[name]()).figure)


@pytest.mark.parametrize(
    ("fit", "error", "message"),
    [
        (2.5, DtypeError, "fit must be a mapping from 'fan_in' and 'fan_out' to power laws, got float"),
        ({"in": None}, ArgumentError, "fit may hold 'fan_in' and 'fan_out', got 'in'"),
        ({"fan_in": {"kmin": 2}}, DtypeError, "must have exponent and kmin"),
        ({"fan_in": {"exponent": 1.0, "kmin": 2}}, ArgumentError, "exponent > 1 and kmin >= 1, got 1.0 and 2"),
    ],
)
def test_degrees_refuse_a_wrong_fit(fit, error, message):
    with pytest.raises(error, match=message):
        degree_distribution(CASES["tree"](), fit=fit)


# ---------------------------------------------------------------- curves


def runs(values, steps=(0, 100)):
    return [{"step": list(steps), "accuracy": list(row)} for row in values]


def test_curves_show_mean_and_student_interval():
    table = np.array([[0.1, 0.80], [0.1, 0.84], [0.1, 0.85]])
    ax = training_curves({"RigL": runs(table), "dense": runs(table[:1])}, new_axes(), level=0.9)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), table.mean(axis=0))
    low, high = stats.t.interval(0.9, 2, table[:, 1].mean(), stats.sem(table[:, 1]))
    (band,) = ax.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(high)
    assert heights[band.get_paths()[0].vertices[:, 0] == 100].min() == pytest.approx(low)
    assert legend_of(ax) == ["RigL: 83.0 ± 4.5 % (n=3)", "dense: 80 %"]
    assert ax.get_xlabel() == "training step"
    assert "90 % interval" in ax.get_title(loc="left")


def test_loss_is_not_shown_in_percent():
    ax = training_curves({"a": {"step": [0, 1], "loss": [2.3, 0.5]}}, new_axes(), value="loss")
    assert legend_of(ax) == ["a: 0.5"]
    assert ax.get_ylabel() == ax.get_title(loc="left") == "loss"


def test_nine_methods_can_be_told_apart():
    ax = training_curves({str(index): runs([[0.1, 0.1 * index]]) for index in range(9)})
    styles = {(line.get_color(), str(line._unscaled_dash_pattern)) for line in ax.lines}
    assert len(styles) == 9
    assert_readable(ax.figure)


def test_equal_runs_and_a_single_step():
    ax = training_curves({"a": runs([[0.5], [0.5]], steps=[3])}, new_axes())
    assert legend_of(ax) == ["a: 50.00 ± 0.00 % (n=2)"]
    assert ax.lines[0].get_marker() == "o"


@pytest.mark.parametrize(
    ("histories", "error", "message"),
    [
        ([], DtypeError, "histories must map method names to runs, got list"),
        ({}, ArgumentError, "at least one method, got none"),
        ({"a": []}, ArgumentError, "at least one run, got none"),
        ({"a": 3}, DtypeError, "must hold mappings with 'step' and 'accuracy', got int"),
        ({"a": {"step": [0], "loss": [1]}}, MissingColumnError, "must have 'accuracy', got step, loss"),
        ({"a": {"step": [0, 1], "accuracy": [1]}}, ShapeError, r"got \(2,\) and \(1,\)"),
        ({"a": [*runs([[0, 1]]), *runs([[0, 1]], steps=(0, 99))]}, ShapeError, "must share their steps"),
    ],
)
def test_curves_refuse(histories, error, message):
    with pytest.raises(error, match=message):
        training_curves(histories)


def test_curves_refuse_a_wrong_level():
    with pytest.raises(ArgumentError, match=r"level must be in \(0, 1\), got 95"):
        training_curves({"a": runs([[0, 1]])}, level=95)


def test_a_statistic_lies_over_the_range_of_its_nulls():
    ax = statistic_over_steps([0, 10, 20], [0.2, 0.5, 0.8], nulls=[[0.2, 0.3, 0.2], [0.1, 0.2, 0.2]], name="Gini")
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.15, 0.25, 0.2])
    vertices = ax.collections[0].get_paths()[0].vertices
    assert vertices[:, 1].min() == 0.1
    assert vertices[:, 1].max() == 0.3
    assert_readable(ax.figure)


@pytest.mark.parametrize(
    ("values", "nulls", "message"), [([1], None, r"values must be \(T,\)"), ([1, 2], [[1]], r"nulls must be \(K, 2\)")]
)
def test_a_statistic_of_another_length_is_refused(values, nulls, message):
    with pytest.raises(ShapeError, match=message):
        statistic_over_steps([0, 1], values, nulls=nulls)


# ---------------------------------------------------------------- edits


def edited() -> CachedLayeredGraph:
    """Four stages of two neurons; edges of every reach come and go at steps 100, 200, 400."""
    graph = layered([2, 2, 2, 2], 1.0)
    graph.edit(drop=([0], [2]), grow=([0, 0], [4, 6]), step=100)
    graph.edit(drop=([0], [4]), grow=([0], [2]), step=200)
    graph.edit(drop=([0, 2], [2, 4]), step=400)
    return graph


def bars_of(ax):
    """Signed heights of the bars by the label of their collection."""
    return {
        found.get_label(): [float(path.vertices[2, 1] - path.vertices[0, 1]) for path in found.get_paths()]
        for found in ax.collections
    }


def test_edits_are_split_by_the_stages_that_edges_skip():
    ax = edit_history(edited(), new_axes())
    assert bars_of(ax) == {
        "grown, to the next stage": [0, 1, 0],
        "grown, skipping 1 stage": [1, 0, 0],
        "grown, skipping 2 or more": [1, 0, 0],
        "dropped, to the next stage": [-1, 0, -2],
        "dropped, skipping 1 stage": [0, -1, 0],
    }
    assert ax.get_title(loc="left") == "3 edits: 3 edges grown, 4 dropped"
    assert ax.get_xlabel() == "training step"
    faces = {to_rgba(tuple(found.get_facecolor()[0])) for found in ax.collections}
    assert len(faces) == 5


def test_a_bare_history_is_not_split_unless_stages_are_given():
    history = edited().history
    assert bars_of(edit_history(history, new_axes())) == {"grown": [2, 1, 0], "dropped": [-1, -1, -2]}
    assert len(edit_history(history, new_axes(), stages=np.repeat(range(4), 2)).collections) == 5


def test_edits_without_steps_are_numbered():
    graph = layered([2, 2], 1.0)
    graph.edit(drop=([0], [2]))
    assert edit_history(graph, new_axes()).get_xlabel() == "edit"


def test_a_graph_that_was_never_edited():
    ax = edit_history(layered([2, 2], 1.0))
    assert ax.get_title(loc="left") == "0 edits: 0 edges grown, 0 dropped"
    assert_readable(ax.figure)
    assert_readable(edge_lifetimes(layered([2, 2], 1.0)).figure)


def test_edit_history_is_readable():
    assert_readable(edit_history(edited()).figure)


def test_lifetimes_follow_kaplan_and_meier():
    ax = edge_lifetimes(edited(), new_axes())
    # (0, 4) lived 100 steps, (0, 2) 200; (0, 6) was still there after 300.
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0, 1], [100, 2 / 3], [200, 1 / 3], [300, 1 / 3]])
    assert ax.get_title(loc="left") == "3 edges grown, 2 dropped again"
    assert edge_lifetimes(edited(), new_axes(), until=1000).get_xlim() == (0, 900)


def test_several_histories_make_several_curves():
    graph = edited()
    ax = edge_lifetimes({"one": graph, "two": graph.history})
    assert [text.get_text().split(":")[0] for text in ax.get_legend().get_texts()] == ["one", "two"]
    alone = edge_lifetimes(graph)
    for line in ax.lines:
        assert line.get_xydata().tolist() == alone.lines[0].get_xydata().tolist()
    assert alone.get_legend() is None
    with pytest.raises(ArgumentError, match="at least one named history, got an empty mapping"):
        edge_lifetimes({})


def test_what_is_no_history_is_refused():
    with pytest.raises(DtypeError, match="expected a graph or a sequence of its edits, got int"):
        edit_history(3)
    with pytest.raises(DtypeError, match="expected a graph or a sequence of its edits, got list"):
        edge_lifetimes([1])


def test_too_few_stages_are_refused():
    with pytest.raises(ShapeError, match="stages must cover every neuron of the edits, up to 6, got 2 entries"):
        edit_history(edited().history, stages=[0, 1])


# ---------------------------------------------------------------- inputs


def test_heatmap_counts_or_weighs_the_connections_of_each_pixel():
    graph = CachedLayeredGraph.from_arrays([0, 0, 1, 3], [4, 5, 5, 4], num_nodes=6, weight=[1.0, -2.0, 0.5, 0.25])
    graph.set_node_column("role", np.array(["input"] * 4 + ["output"] * 2))
    ax = input_heatmap(graph, (2, 2), new_axes())
    np.testing.assert_array_equal(ax.images[0].get_array().filled(0), [[2, 1], [0, 1]])
    assert ax.images[0].get_array().mask.tolist() == [[False, False], [True, False]]
    assert ax.get_title(loc="left") == "3 of 4 inputs used (white: unused)"
    weighed = input_heatmap(graph, (2, 2), new_axes(), weight="weight")
    np.testing.assert_allclose(weighed.images[0].get_array().filled(0), [[3, 0.5], [0, 0.25]])
    assert weighed.child_axes[0].get_ylabel() == "sum of |weight| per pixel"
    channels = input_heatmap(graph, (2, 1, 2), new_axes())
    np.testing.assert_array_equal(channels.images[0].get_array().filled(0), [[2, 2]])


def test_inputs_count_in_the_order_of_the_columns():
    graph = CachedLayeredGraph.from_arrays([0, 0, 1], [2, 3, 3])
    graph.graph["inputs"] = [1, 0, 1]
    assert input_connections(graph).tolist() == [1.0, 2.0, 1.0]


def test_heatmap_is_readable_at_the_default_size():
    assert_readable(input_heatmap(CASES["lenet"]()).figure)


def test_heatmap_refuses_another_shape_and_another_column():
    graph = CASES["rewired"]()
    with pytest.raises(ShapeError, match=r"graph's 16 inputs, got \(28, 28\)"):
        input_heatmap(graph)
    with pytest.raises(MissingColumnError, match="got 'delay'; the graph has these columns: weight"):
        input_heatmap(graph, (4, 4), weight="delay")


# ---------------------------------------------------------------- the page


@pytest.mark.parametrize("name", CASES)
def test_report_is_readable(name):
    page = report_figure(CASES[name](), title="a graph")
    assert set(page) == {"drawing", "spy", "degrees", "table"}
    assert_readable(page["table"].figure)


def test_report_shows_the_given_values_and_rows():
    page = report_figure(
        CASES["rewired"](),
        {"accuracy": 0.87654, "edges": 12345, "method": "RigL", "none": None},
        {"stage": [0, 1], "Gini": [np.float64(0.2), 0.5]},
    )
    texts = [text.get_text() for text in page["table"].texts]
    assert texts[:6] == ["accuracy", "0.877", "edges", "12,345", "method", "RigL"]
    assert texts[-6:] == ["stage", "0", "1", "Gini", "0.2", "0.5"]


@given(graph=layered_graphs(), rows=st.integers(1, 8))
def test_stage_rows_account_for_every_neuron_and_edge(graph, rows):
    table = stage_rows(graph, rows)
    assert sum(table["neurons"]) == len(graph)
    assert sum(table["edges in"]) == graph.number_of_edges()
    assert all(0 <= share <= 1 for share in table["live"] + table["density"])


def test_report_draws_into_part_of_a_figure():
    left, _ = Figure(figsize=(14, 8), layout="constrained").subfigures(1, 2)
    assert report_figure(chain(), figure=left)["spy"].figure is left


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"values": [1]}, DtypeError, "values must map names to numbers or texts, got list"),
        ({"per_stage": [1]}, DtypeError, "per_stage must map columns to values, got list"),
        ({"per_stage": {"a": [1], "b": [1, 2]}}, ShapeError, "must have one length, got {'a': 1, 'b': 2}"),
    ],
)
def test_report_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        report_figure(CASES["tree"](), **arguments)


@given(st.integers(0, 10**10))
def test_short_counts_are_short_and_close(count):
    text = short_count(count)
    assert len(text) <= 5
    value = float(text.rstrip("kMG")) * {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1)
    assert value == pytest.approx(count, rel=0.051)

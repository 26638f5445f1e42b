"""The layered drawing says what the graph holds, at any size."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest
from drawing_cases import CASES, assert_readable, chain, dags, layered, layered_graphs, small_world
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from deepgraph import plotting
from deepgraph.errors import ArgumentError, CycleError, DtypeError, MissingColumnError, ShapeError, StructureError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.plotting import block_counts, draw
from deepgraph.plotting.layout import layered_positions, live_neurons, stage_ranks
from deepgraph.plotting.style import ROLE_COLORS, ROLE_MARKERS, SERIES


def new_axes():
    return Figure(figsize=(8, 4.8), layout="constrained").add_subplot()


def lines_of(ax):
    """Line collections by their label."""
    return {found.get_label(): found for found in ax.collections if isinstance(found, LineCollection)}


def num_segments(ax):
    return sum(len(found.get_segments()) for found in lines_of(ax).values())


# ---------------------------------------------------------------- counting by blocks


@given(graph=st.one_of(dags(), layered_graphs()), max_blocks=st.integers(1, 9))
def test_block_counts_sum_to_the_edges(graph, max_blocks):
    blocks = block_counts(graph, max_blocks)
    assert blocks.counts.sum() == graph.number_of_edges()
    assert blocks.nodes.sum() == len(graph)
    assert len(blocks.nodes) == len(blocks.labels) == min(max_blocks, len(np.unique(graph.stage_array())))
    assert (blocks.counts <= blocks.pairs).all()
    assert blocks.density.max(initial=0.0) <= 1.0


@given(graph=dags(), max_blocks=st.integers(1, 5))
def test_block_pairs_are_the_pairs_that_go_up_in_stage(graph, max_blocks):
    blocks = block_counts(graph, max_blocks)
    stage = np.asarray(graph.stage_array())
    expected = np.zeros_like(blocks.pairs)
    rising = np.argwhere(stage[:, None] < stage[None, :])
    np.add.at(expected, (blocks.block[rising[:, 0]], blocks.block[rising[:, 1]]), 1)
    np.testing.assert_array_equal(blocks.pairs, expected)


def test_blocks_group_a_thousand_stages_evenly():
    blocks = block_counts(chain(), 12)
    assert set(blocks.nodes.tolist()) == {83, 84}
    assert blocks.labels[0] == "0\N{EN DASH}83"
    assert blocks.labels[-1].endswith("999")


def test_a_sparse_set_of_declared_stages_keeps_its_numbers():
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    graph.set_node_column("stage", np.array([0, 5, 40], dtype=np.int32))
    assert block_counts(graph).labels == ["0", "5", "40"]
    assert [label.get_text().split("\n")[0] for label in draw(graph, new_axes()).get_xticklabels()] == ["0", "5", "40"]


# ---------------------------------------------------------------- one line per edge


@given(graph=st.one_of(dags(), layered_graphs()))
@settings(max_examples=40)
def test_every_edge_is_one_line_and_every_neuron_one_marker(graph):
    ax = draw(graph, new_axes())
    assert num_segments(ax) == graph.number_of_edges()
    markers = [found for found in ax.collections if not isinstance(found, LineCollection)]
    assert sum(len(found.get_offsets()) for found in markers) == len(graph)


@given(graph=layered_graphs())
@settings(max_examples=40)
def test_skip_edges_are_dashed_arcs_and_others_straight(graph):
    rank, _ = stage_ranks(graph)
    src, dst = graph.edge_arrays()
    skipping = int((rank[dst] - rank[src] > 1).sum())
    found = lines_of(draw(graph, new_axes()))
    assert len(found["skip edges"].get_segments() if skipping else []) == skipping
    if skipping:
        assert all(len(segment) > 2 for segment in found["skip edges"].get_segments())
        assert found["skip edges"].get_linestyle()[0][1] is not None
    if skipping < src.size:
        assert all(len(segment) == 2 for segment in found["edges"].get_segments())
        assert found["edges"].get_linestyle()[0][1] is None


@given(graph=st.one_of(dags(), layered_graphs()))
def test_edges_run_rightwards_and_no_two_neurons_share_a_place(graph):
    x, y, stages = layered_positions(graph)
    src, dst = graph.edge_arrays()
    assert (x[src] < x[dst]).all()
    assert len(np.unique(np.stack([x, y], axis=1), axis=0)) == len(graph)
    assert (np.abs(y) < 1).all()
    assert len(stages) == len(np.unique(x))


def test_a_tree_is_drawn_without_a_crossing():
    x, y, _ = layered_positions(CASES["tree"]())
    src, dst = CASES["tree"]().edge_arrays()
    for column in range(4):
        here = np.flatnonzero(x[src] == column)
        order = np.lexsort((y[dst[here]], y[src[here]]))
        assert (np.diff(y[dst[here]][order]) > 0).all()


def test_sorting_a_stage_shortens_the_edges():
    graph = layered([12, 12, 12], 0.12, seed=3)
    src, dst = graph.edge_arrays()
    _, stored, _ = layered_positions(graph, sweeps=0)
    _, sorted_y, _ = layered_positions(graph)
    assert np.abs(sorted_y[src] - sorted_y[dst]).sum() < np.abs(stored[src] - stored[dst]).sum()


def test_stored_layout_keeps_the_order_of_the_inputs():
    ax = draw(layered([6, 3], 0.4), new_axes(), layout="stored", labels=True)
    texts = {text.get_text(): text.xy[1] for text in ax.texts}
    assert [texts[str(node)] for node in range(6)] == sorted((texts[str(node)] for node in range(6)), reverse=True)


# ---------------------------------------------------------------- colours, roles, labels


def test_weights_are_coloured_around_zero_with_a_bar():
    graph = CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 2], weight=[0.5, -2.0, 1.0])
    ax = draw(graph, new_axes())
    lines = lines_of(ax)["edges"]
    assert lines.norm.vmin == -lines.norm.vmax
    assert ax.figure.axes[1].get_ylabel() == "weight"
    drawn = {
        tuple(segment[0]) + tuple(segment[1]): value
        for segment, value in zip(lines.get_segments(), lines.get_array(), strict=True)
    }
    assert sorted(drawn.values()) == [-2.0, 0.5]
    low, middle, high = lines.cmap([0.0, 0.5, 1.0])[:, :3]
    assert low[2] > low[0]  # blue
    assert high[0] > high[2]  # orange
    assert np.ptp(middle) < 0.05  # grey
    assert middle.max() < 0.85  # and not white


def test_one_huge_weight_does_not_wash_out_the_others():
    graph = layered([20, 20], 0.6)
    weight = np.array(graph.column("weight"))
    weight[0] = 1e6
    graph.set_column("weight", weight)
    lines = lines_of(draw(graph, new_axes()))["edges"]
    assert lines.norm.vmax < 10
    assert lines.colorbar.extend == "both"


def test_weights_that_are_not_finite_are_black():
    graph = CachedLayeredGraph.from_arrays([0, 1, 2], [1, 2, 3], weight=[np.nan, np.inf, 1.0])
    lines = lines_of(draw(graph, new_axes()))["edges"]
    lines.update_scalarmappable()
    assert sum(np.allclose(color[:3], 0.0) for color in lines.get_edgecolor()) == 2


def test_all_zero_weights_are_drawn():
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[0.0, 0.0])
    assert lines_of(draw(graph, new_axes()))["edges"].norm.vmax == 1.0


def test_another_column_without_negative_values_starts_at_zero():
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2], age=[3, 4])
    ax = draw(graph, new_axes(), color="age")
    assert lines_of(ax)["edges"].norm.vmin == 0.0
    assert ax.figure.axes[1].get_ylabel() == "age"


@pytest.mark.parametrize("color", [None, "weight"])
def test_without_a_column_edges_are_plain(color):
    ax = draw(CachedLayeredGraph.from_arrays([0, 1], [1, 2]), new_axes(), color=color)
    assert len(ax.figure.axes) == 1
    assert lines_of(ax)["edges"].get_array() is None


def test_roles_differ_in_colour_and_shape_and_dead_neurons_are_hollow():
    graph = CachedLayeredGraph.from_arrays([0, 1, 0, 3], [1, 2, 4, 5], num_nodes=7)
    graph.set_node_column("role", np.array(["input", "hidden", "output", "hidden", "hidden", "hidden", "input/output"]))
    np.testing.assert_array_equal(live_neurons(graph), [1, 1, 1, 0, 0, 0, 1])
    ax = draw(graph, new_axes())
    drawn = {found.get_label(): found for found in ax.collections if not isinstance(found, LineCollection)}
    assert {name: len(found.get_offsets()) for name, found in drawn.items()} == {
        "input": 1,
        "hidden": 1,
        "output": 1,
        "input/output": 1,
        "dead": 3,
    }
    np.testing.assert_allclose(drawn["dead"].get_facecolor()[0], to_rgba("white"))
    np.testing.assert_allclose(drawn["dead"].get_edgecolor()[0], to_rgba(ROLE_COLORS["hidden"]))
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == ["input", "hidden", "output", "input/output", "dead"]


def test_colours_and_markers_are_distinct_also_in_grey():
    assert len(set(ROLE_MARKERS.values())) == len(ROLE_COLORS) == len(set(ROLE_COLORS.values()))
    assert len(set(SERIES)) == len(SERIES)
    luminance = sorted(np.dot(to_rgba(color)[:3], [0.299, 0.587, 0.114]) for color in ROLE_COLORS.values())
    assert np.diff(luminance).min() > 0.01


def test_labels_are_the_nodes_own_where_they_fit():
    graph = CachedLayeredGraph()
    graph.add_edges_from([("a", "b"), ("b", "c")])
    assert [text.get_text() for text in draw(graph, new_axes()).texts] == ["a", "b", "c"]
    assert not draw(graph, new_axes(), labels=False).texts
    assert [text.get_text() for text in draw(graph, new_axes(), labels=["x", "y", "z"]).texts] == ["x", "y", "z"]
    assert not draw(layered([100, 50], 0.01), new_axes()).texts


def test_the_title_counts_and_can_be_given():
    graph = CachedLayeredGraph.from_arrays([0, 1, 0], [1, 2, 2])
    assert draw(graph, new_axes()).get_title(loc="left") == "3 nodes, 3 edges (1 skipping a stage), 3 stages"
    assert draw(graph, new_axes(), title="mine").get_title(loc="left") == "mine"


# ---------------------------------------------------------------- large and odd graphs


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_readable_at_the_default_size(name):
    ax = draw(CASES[name]())
    assert_readable(ax.figure)
    assert len(ax.figure.findobj()) < 5000


@pytest.mark.parametrize("name", ["small world", "lenet", "chain"])
def test_crowded_graphs_are_drawn_by_blocks(name):
    graph = CASES[name]()
    blocks = block_counts(graph)
    ax = draw(graph, new_axes())
    assert num_segments(ax) == np.count_nonzero(blocks.counts)
    lines = next(iter(lines_of(ax).values()))
    occupied = blocks.density[blocks.counts > 0]
    np.testing.assert_allclose(np.sort(lines.get_array()), np.sort(occupied))
    assert "density" in ax.figure.axes[1].get_ylabel()
    assert len(ax.get_xticklabels()) == len(blocks.nodes)


def test_width_of_a_ribbon_is_proportional_to_its_edges():
    graph = layered([50, 40, 30], 0.5, skip=0.9)
    blocks = block_counts(graph)
    (lines,) = lines_of(draw(graph, new_axes(), layout="blocks")).values()
    widths = np.sort(lines.get_linewidth())
    np.testing.assert_allclose(widths / widths[-1], np.sort(blocks.counts[blocks.counts > 0]) / blocks.counts.max())


def test_blocks_that_skip_rise_above_the_bars_and_neighbours_do_not():
    graph = layered([50, 40, 30], 0.5, skip=0.1)
    (lines,) = lines_of(draw(graph, new_axes(), layout="blocks")).values()
    heights = sorted(segment[:, 1].max() for segment in lines.get_segments())
    assert heights[:2] == [0.0, 0.0]
    assert heights[2] > 0.5


def test_edges_inside_a_group_of_stages_hang_below_it():
    (lines,) = lines_of(draw(chain(), new_axes())).values()
    assert sum(segment[:, 1].min() < -0.5 for segment in lines.get_segments()) == 12


def test_a_million_edges_are_a_few_artists():
    rng = np.random.default_rng(0)
    sizes = np.array([784, 1000, 1000, 1000, 10])
    starts = np.cumsum(sizes) - sizes
    src, dst = [], []
    for low in range(4):
        pair = np.flatnonzero(rng.random(sizes[low] * sizes[low + 1]) < 0.36)
        src.append(starts[low] + pair // sizes[low + 1])
        dst.append(starts[low + 1] + pair % sizes[low + 1])
    graph = CachedLayeredGraph.from_arrays(np.concatenate(src), np.concatenate(dst), num_nodes=int(sizes.sum()))
    assert graph.number_of_edges() > 990_000
    ax = draw(graph, new_axes())
    assert len(ax.figure.findobj()) < 5000
    assert block_counts(graph).counts.sum() == graph.number_of_edges()


def test_max_edges_decides_between_lines_and_blocks():
    graph = layered([10, 10], 0.5)
    edges = graph.number_of_edges()
    assert num_segments(draw(graph, new_axes(), max_edges=edges)) == edges
    assert num_segments(draw(graph, new_axes(), max_edges=edges - 1)) == 1
    assert num_segments(draw(small_world(60), new_axes(), layout="blocks", max_blocks=4)) <= 10


def test_an_empty_graph_says_so():
    assert [text.get_text() for text in draw(CASES["empty"](), new_axes()).texts] == ["empty graph"]


def test_edges_that_go_down_in_stage_are_refused():
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
    graph.set_node_column("stage", np.array([0, 2, 1], dtype=np.int32))
    with pytest.raises(StructureError, match="expected edges that go up in stage"):
        draw(graph)


def test_global_settings_stay(global_rng_untouched):
    before = dict(mpl.rcParams)
    for name in ("rewired", "chain"):
        draw(CASES[name](), new_axes())
    assert dict(mpl.rcParams) == before


def test_the_same_graph_gives_the_same_picture():
    pictures = []
    for _ in range(2):
        file = io.BytesIO()
        draw(CASES["rewired"](), new_axes()).figure.savefig(file, format="png")
        pictures.append(file.getvalue())
    assert pictures[0] == pictures[1]


def test_draw_draws_into_the_given_axes_only():
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    assert draw(CASES["tree"](), left) is left
    assert not right.collections


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_edges": 0}, ArgumentError, "max_edges must be at least 1, got 0"),
        ({"max_blocks": 0, "layout": "blocks"}, ArgumentError, "max_blocks must be at least 1, got 0"),
        ({"layout": "circle"}, ArgumentError, "layout must be one of layered, stored, blocks, got 'circle'"),
        ({"color": "delay"}, MissingColumnError, "got 'delay'; the graph has these columns: age, weight"),
        ({"labels": "some"}, ArgumentError, "labels must be True, False, 'auto' or one text per node, got 'some'"),
        ({"labels": ["a"]}, ShapeError, "one text per node, 3 in all, got 1"),
        ({"ax": "here"}, DtypeError, "ax must be matplotlib Axes or None, got str"),
    ],
)
def test_draw_refuses(arguments, error, message):
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, 2.0], age=[1, 2])
    with pytest.raises(error, match=message):
        draw(graph, **arguments)


def test_draw_refuses_what_is_no_graph():
    with pytest.raises(DtypeError, match="graph must be a CachedLayeredGraph, got list"):
        draw([(0, 1)])


def test_draw_refuses_a_column_of_texts():
    graph = CachedLayeredGraph.from_arrays([0, 1], [1, 2], kind=np.array(["a", "b"]))
    with pytest.raises(DtypeError, match="'kind' has dtype"):
        draw(graph, color="kind")


def test_draw_names_a_cycle():
    graph = CachedLayeredGraph()
    graph.add_edges_from([(0, 1), (1, 0)])
    with pytest.raises(CycleError):
        draw(graph)


def test_axes_without_a_figure_are_refused():
    figure = Figure()
    ax = figure.add_subplot()
    ax.remove()
    with pytest.raises(DtypeError, match="ax must belong to a figure"):
        draw(CASES["one edge"](), ax)


def test_everything_is_exported():
    assert all(hasattr(plotting, name) for name in plotting.__all__)

"""Two graphs in one picture: every edge once, in the colour of its kind, or counted by stage pair."""

from __future__ import annotations

import numpy as np
import pytest
from drawing_cases import assert_readable, layered, layered_graphs
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

import deepgraph as dg
from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.plotting import draw, draw_difference, dress, side_by_side
from deepgraph.plotting.difference import _COLORS
from deepgraph.plotting.layout import layered_positions


def new_axes():
    return Figure(figsize=(8, 4.8)).add_subplot()


def edited(graph: CachedLayeredGraph, seed: int = 0, share: float = 0.3) -> CachedLayeredGraph:
    """Return a copy with some edges dropped and as many grown between any stages."""
    rng = np.random.default_rng(seed)
    after = graph.copy()
    src, dst = after.edge_arrays()
    stage = after.stage_array()
    drop = rng.choice(src.size, int(share * src.size), replace=False)
    held = set(zip(src.tolist(), dst.tolist(), strict=True))
    free = [(u, v) for u in range(len(after)) for v in range(len(after)) if stage[u] < stage[v] and (u, v) not in held]
    grow = [free[at] for at in rng.choice(len(free), min(len(drop), len(free)), replace=False)]
    after.edit(drop=(src[drop], dst[drop]), grow=tuple(np.array(grow, dtype=np.int64).reshape(-1, 2).T))
    return after


def kinds(before: CachedLayeredGraph, after: CachedLayeredGraph) -> list[int]:
    own, other = set(before.edges), set(after.edges)
    return [len(own & other), len(own - other), len(other - own)]


@given(layered_graphs(), st.integers(0, 20))
def test_every_edge_is_one_line_in_the_colour_of_its_kind(before, seed):
    after = edited(before, seed)
    ax = draw_difference(before, after, new_axes(), names=("start", "end"))
    lines = {line.get_label(): line for line in ax.collections if hasattr(line, "get_segments")}
    counts = kinds(before, after)
    for label, color, count in zip(("in both", "only start", "only end"), _COLORS, counts, strict=True):
        assert (len(lines[label].get_segments()) if count else label not in lines) == (count or True)
        if count:
            assert tuple(lines[label].get_color()[0][:3]) == to_rgba(color)[:3]
    union = sum(counts)
    assert f"(Jaccard {counts[0] / union if union else 1:.2f})" in ax.get_title(loc="left")


def test_bars_count_every_edge_by_stage_pair():
    before = layered([300, 120, 40], 0.1, skip=0.02)
    after = edited(before)
    ax = draw_difference(before, after, new_axes())
    assert len(ax.containers) == 3
    src, dst = (np.concatenate(part) for part in zip(before.edge_arrays(), after.edge_arrays(), strict=True))
    stage = before.stage_array()
    pairs = np.unique(np.stack([src, dst]), axis=1)
    total = {
        pair: int(((stage[pairs[0]] == pair[0]) & (stage[pairs[1]] == pair[1])).sum())
        for pair in [(0, 1), (0, 2), (1, 2)]
    }
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"{u}\N{EN DASH}{v}" for u, v in total]
    widths = np.array([[bar.get_width() for bar in container] for container in ax.containers])
    np.testing.assert_allclose(widths.sum(axis=0), 1.0)
    counts = widths * np.array(list(total.values()))
    np.testing.assert_allclose(counts.sum(axis=1), kinds(before, after))


def test_many_stage_pairs_share_a_bar():
    graph = dg.priors.watts_strogatz(400, 8, 0.3, seed=0)
    ax = draw_difference(graph, graph, new_axes(), max_edges=10)
    texts = [label.get_text() for label in ax.get_yticklabels()]
    assert len(texts) == 24
    assert texts[-1].endswith(" others")
    assert ax.get_title(loc="left") == "1,600 edges in both, 0 only before, 0 only after (Jaccard 1.00)"


def test_differences_are_readable_at_the_default_size():
    small = layered([16, 14, 12, 10, 8], 0.2, skip=0.05)
    large = layered([784, 300, 100, 10], 0.02)
    for before in (small, large):
        changed = before.copy()
        src, dst = before.edge_arrays()
        changed.edit(drop=(src[::3], dst[::3]))
        assert_readable(draw_difference(before, changed).figure)
    assert_readable(side_by_side(small, edited(small))[0].figure)


def test_neurons_stay_where_they_are_side_by_side():
    before = layered([6, 7, 5], 0.5)
    after = edited(before)
    one, other = side_by_side(before, after, [new_axes(), new_axes()], names=("first", "second"), color=None)
    places = [
        np.sort(
            np.concatenate([c.get_offsets() for c in ax.collections if c.get_label() in ("input", "output")]), axis=0
        )
        for ax in (one, other)
    ]
    np.testing.assert_allclose(*places)
    assert one.get_ylim() == other.get_ylim()
    assert one.get_title(loc="left").startswith("first: 18 nodes")
    assert other.get_title(loc="left").startswith("second: 18 nodes")


def test_positions_of_another_graph_are_taken():
    before = layered([6, 7, 5], 0.5)
    x, y, _ = layered_positions(before)
    ax = draw(edited(before, share=0.0), new_axes(), positions=(x, -y))
    drawn = np.concatenate(
        [c.get_offsets() for c in ax.collections if hasattr(c, "get_sizes") and len(c.get_offsets())]
    )
    assert {tuple(place) for place in drawn.tolist()} == set(zip(x.tolist(), (-y).tolist(), strict=True))


def test_refusals():
    graph = layered([4, 3], 0.5)
    with pytest.raises(ArgumentError, match="max_edges must be at least 1, got 0"):
        draw_difference(graph, graph, max_edges=0)
    with pytest.raises(ShapeError, match="same neurons in the same order, got 7 and 5 neurons; compare"):
        draw_difference(graph, layered([3, 2], 0.5))
    named = CachedLayeredGraph([("a", "b")])
    with pytest.raises(ShapeError, match="got 2 and 2 neurons with other labels"):
        draw_difference(named, CachedLayeredGraph([("a", "c")]))
    with pytest.raises(DtypeError, match="graph must be a CachedLayeredGraph, got int"):
        draw_difference(graph, 3)
    with pytest.raises(ArgumentError, match="axes must be two, one for each graph, got 1"):
        side_by_side(graph, graph, [new_axes()])
    with pytest.raises(ShapeError, match=r"positions must be x and y of shape \(7,\)"):
        draw(graph, new_axes(), positions=(np.zeros(3), np.zeros(3)))


def test_dress_keeps_the_texts_that_are_there():
    ax = new_axes()
    ax.set_xlabel("step")
    assert dress(ax, y="loss") is ax
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.spines["right"].get_visible()) == ("step", "loss", False)
    assert ax.xaxis.label.get_size() == 9

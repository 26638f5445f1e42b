"""Layers that follow edits are those that a full pass finds, and an edit that closes a cycle changes nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import dags

from deepgraph.errors import CycleError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph import layer_updates as lu
from deepgraph.graph.layer_updates import critical_counts
from deepgraph.graph.layers import layer_index


def check(g: CachedLayeredGraph) -> None:
    indptr, dst = g.csr()
    expected = layer_index(indptr, dst, len(g))
    assert g.layer_array().tolist() == expected.tolist()
    assert not g.layer_array().flags.writeable
    kept = g._arrays().edges._kept  # type: ignore[attr-defined]
    assert kept.layer is g.layer_array()
    if kept.critical is not None:
        assert kept.critical.tolist() == critical_counts(indptr, dst, expected).tolist()


def pairs(edges: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    ends = np.array(edges, np.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1]


@pytest.mark.parametrize("narrow", [0, 2, 64])
@settings(max_examples=120, deadline=None)
@given(g=dags(min_nodes=2, max_nodes=14, special=False), data=st.data())
def test_layers_follow_any_sequence_of_edits(narrow: int, g: CachedLayeredGraph, data: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lu, "_NARROW", narrow)
        n = len(g)
        for _ in range(data.draw(st.integers(1, 6), "edits")):
            edges = list(g.edges)
            absent = [(u, v) for u in range(n) for v in range(n) if u != v and not g.has_edge(u, v)]
            drop = data.draw(st.lists(st.sampled_from(edges), max_size=3, unique=True), "drop") if edges else []
            grow = data.draw(st.lists(st.sampled_from(absent), max_size=2, unique=True), "grow") if absent else []
            before, layers = g.digest(), g.layer_array()
            after = {*edges} - {*drop} | {*grow}
            try:
                expected = CachedLayeredGraph.from_arrays(*pairs(sorted(after)), len(g)).layer_array()
            except CycleError:
                with pytest.raises(CycleError, match="a cycle of") as caught:
                    g.edit(pairs(drop), pairs(grow))
                text = str(caught.value).split(": ")[1].split(";")[0]
                shown = [int(v) for v in text.split(" -> ") if v != "..."]
                assert set(pairwise(shown)) <= after
                assert (g.digest(), g.layer_array() is layers) == (before, True)
            else:
                g.edit(pairs(drop), pairs(grow))
                assert g.layer_array().tolist() == expected.tolist()
            check(g)
            if data.draw(st.booleans(), "undo") and len(g.history):
                g.undo()
                check(g)
                if data.draw(st.booleans(), "redo"):
                    g.redo()
                    check(g)
            if data.draw(st.integers(0, 4), "networkx") == 0 and g.number_of_edges():
                g.remove_edge(*next(iter(g.edges)))
                g.add_edge(n, int(g.layer_array().argmax()))
                check(g)


@pytest.mark.parametrize("width", [1, 3, 40])
def test_layers_of_a_large_graph_follow_edits_in_part_of_it(width: int) -> None:
    random = np.random.default_rng(width)
    count = 3000
    src = np.arange(count - width)
    start = CachedLayeredGraph.from_arrays(src, src + width, count)
    start.edit(grow=(src[: -width * 5 : 7], src[: -width * 5 : 7] + width * 5))
    for _ in range(20):
        u, v = start.edge_arrays()
        rows = random.choice(len(u), 2, replace=False)
        start.edit(drop=(u[rows], v[rows]))
        check(start)
        start.edit(grow=(u[rows], v[rows]))
        check(start)


def test_what_moves_no_layer_runs_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1, 2, 4, 5], [2, 2, 3, 5, 3], 6)
    g.edit(grow=([0], [3]))
    monkeypatch.setattr(lu, "layer_index", None)
    monkeypatch.setattr("deepgraph.graph.kept_layers.layer_index", None)
    layers = g.layer_array().tolist()
    # One predecessor of 2 and of 3 in the layer below is left each time, and the new edges go up.
    g.edit(drop=([0, 5], [2, 3]), grow=([0, 4], [5, 3]))
    assert g.layer_array().tolist() == layers
    g.undo()
    assert g.layer_array().tolist() == layers
    g.redo()
    g.add_edge(4, 2)
    g.remove_edge(1, 2)
    assert g.layer_array().tolist() == layers
    g.add_node(6)
    assert g.layer_array().tolist() == [*layers, 0]
    assert g.copy().layer_array().tolist() == [*layers, 0]
    monkeypatch.undo()
    check(g)


def test_a_cycle_is_named_by_labels() -> None:
    g = CachedLayeredGraph([(f"n{k}", f"n{k + 1}") for k in range(40)])
    with pytest.raises(CycleError, match=r"a cycle of 3 edges: 'n\d+' -> 'n\d+' -> 'n\d+' -> 'n\d+';"):
        g.edit(grow=([40], [38]))


def test_a_cycle_may_come_about_while_nodes_go() -> None:
    g = CachedLayeredGraph([("a", "b"), ("b", "c")])
    g.layer_array()
    g.add_edge("c", "c")
    g.remove_node("a")
    with pytest.raises(CycleError, match="a cycle of 1 edges: 'c' -> 'c'"):
        g.layer_array()

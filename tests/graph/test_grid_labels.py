"""Grid labels are the labels that a list of tuples would be, and take no memory."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepgraph.errors import ArgumentError, FileFormatError, UnknownNodeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.files import GraphDecoder
from deepgraph.graph.grid_labels import GridLabels

size = st.integers(1, 4)
GRIDS = [("a", 2, 1, 3), ("b", 1, 2, 2)]


def graph() -> CachedLayeredGraph:
    g = CachedLayeredGraph.from_arrays(np.arange(9), np.arange(9) + 1, weight=np.arange(9.0))
    g.set_grid_labels(GRIDS)
    return g


@given(st.lists(st.tuples(st.text(max_size=3), size, size, size), max_size=4, unique_by=lambda grid: grid[0]))
def test_labels_and_positions_are_inverse(grids: list[tuple[str, int, int, int]]) -> None:
    labels = GridLabels(grids)
    expected = [(m, c, y, x) for m, *n in grids for c in range(n[0]) for y in range(n[1]) for x in range(n[2])]
    assert list(labels) == labels[:] == [labels[k] for k in range(len(labels))] == expected
    assert [labels.position(label) for label in expected] == list(range(len(expected)))


def test_a_graph_with_grid_labels_is_a_graph_with_such_labels(tmp_path: Path) -> None:
    g = graph()
    other = CachedLayeredGraph()
    other.add_nodes_from(list(GridLabels(GRIDS)))
    other.add_weighted_edges_from(g.edges(data="weight"))
    assert g.digest() == other.digest()
    assert g["a", 0, 0, 0]["a", 0, 0, 1.0]["weight"] == 0
    assert g.positions([("b", 0, np.int64(1), True)]).tolist() == [9]
    for name in ("g.dg", "g.json", "g.graphml", "g.txt", "g.safetensors"):
        g.save(tmp_path / name)
        assert CachedLayeredGraph.load(tmp_path / name).digest() == g.digest()
    for again in (g.copy(), pickle.loads(pickle.dumps(g)), g.load(tmp_path / "g.dg")):
        assert isinstance(again._arrays().nodes.names, GridLabels)
        assert again.digest() == g.digest()


def test_nodes_may_come_and_go() -> None:
    g = graph()
    g.remove_node(("a", 1, 0, 0))
    assert ("a", 1, 0, 0) not in g
    assert ("b", 0, 1, 1) in g
    assert len(g.edge_arrays()[0]) == 7
    h = graph()
    h.add_edge(("b", 0, 1, 1), "new")
    assert list(h)[-1] == "new"
    assert h.positions(["new", ("a", 0, 0, 2)]).tolist() == [10, 2]


@pytest.mark.parametrize("label", [("a", 2, 0, 0), ("a", -1, 0, 0), ("c", 0, 0, 0), ("a", 0, 0), "a", ("a", 0.5, 0, 0)])
def test_what_is_no_label_is_no_node(label: object) -> None:
    assert label not in graph()
    with pytest.raises(UnknownNodeError, match="expected a node of the graph"):
        graph().positions([label])  # type: ignore[list-item]


def test_wrong_grids_are_refused() -> None:
    with pytest.raises(ArgumentError, match="grids of 10 neurons in all, got 6"):
        graph().set_grid_labels(GRIDS[:1])
    with pytest.raises(ArgumentError, match="sizes from 1, got"):
        GridLabels([("a", 0, 1, 1)])
    with pytest.raises(ArgumentError, match="'a' twice"):
        GridLabels([("a", 1, 1, 1), ("a", 1, 1, 1)])
    with pytest.raises(FileFormatError, match="expected 3 labels, got grids of 10"):
        GraphDecoder([])._decode_labels({"kind": "grid labels", "grids": GRIDS}, 3)

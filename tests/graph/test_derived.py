"""Copies of views, graphs made of graphs and relabelled graphs: what networkx gives, made of arrays."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import dags

import deepgraph as dg
from deepgraph.errors import EditRefusedError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.grid_labels import GridLabels


def same(found: Any, expected: Any, order: bool = True) -> None:
    assert type(found) is CachedLayeredGraph
    assert dict(found.nodes(data=True)) == dict(expected.nodes(data=True))
    assert sorted(found.edges(data=True), key=repr) == sorted(expected.edges(data=True), key=repr)
    assert {v: sorted(found.pred[v], key=repr) for v in found} == {
        v: sorted(expected.pred[v], key=repr) for v in expected
    }
    if order:
        assert list(found) == list(expected)


def decorated(g: CachedLayeredGraph) -> CachedLayeredGraph:
    """Give a graph labels, columns, attributes that few have, and a change that waits to be merged."""
    g = g.relabel(lambda v: f"n{v}" if v % 2 else v)
    labels = list(g)
    for k, (u, v) in enumerate(list(g.edges)[::2]):
        g[u][v]["note"] = [k] if k % 3 else k
    for label in labels[::3]:
        g.nodes[label]["role"] = "hidden"
    g.add_edge("new", labels[0], weight=3.0)
    return g


@given(dags(min_nodes=2, max_nodes=9, special=False), st.data())
def test_copies_of_views_are_networkx_copies(g: CachedLayeredGraph, data: Any) -> None:
    g = decorated(g)
    plain = nx.DiGraph(g)
    keep = data.draw(st.sets(st.sampled_from(list(g))))
    edges = data.draw(st.sets(st.sampled_from(list(g.edges))))
    gone = next(iter(keep), None)
    views = {
        "subgraph": lambda x: x.subgraph(keep),
        "of a subgraph": lambda x: x.subgraph(list(x)[1:]).subgraph(keep),
        "edges": lambda x: x.edge_subgraph(edges),
        "restricted": lambda x: nx.restricted_view(x, [gone] if gone is not None else [], list(edges)),
        "filtered": lambda x: nx.subgraph_view(x, filter_node=lambda v: v != gone, filter_edge=lambda u, v: u != gone),
        "reversed": lambda x: x.reverse(copy=False),
        "part of the reversed": lambda x: x.reverse(copy=False).subgraph(keep),
        "reversed part": lambda x: x.subgraph(keep).reverse(copy=False),
        "as it is": lambda x: x.copy(as_view=True),
        "frozen": nx.freeze,
    }
    for name, view in views.items():
        seen = view(g) if name != "frozen" else g
        found, expected = seen.copy(), view(plain).copy()
        same(found, expected, order=False)
        # Where networkx says which order there is, it is that of the graph.
        assert list(found) == [v for v in g if v in expected] or name == "reversed part"
        assert len(found.history) == 0 or name == "frozen"
        before = g.digest()
        found.add_edge("other", "one")
        for _, _, attributes in found.edges(data=True):
            attributes["touched"] = True
        found.edge_arrays()
        assert g.digest() == before


def test_a_copy_of_a_view_walks_over_no_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    g = CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3], weight=[1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(CachedLayeredGraph, "add_edges_from", None)
    copies = [g.subgraph([0, 2, 3]).copy(), g.reverse(copy=False).copy(), CachedLayeredGraph(g), g.relabel({0: "a"})]
    assert [list(one.edges) for one in copies] == [
        [(0, 2), (2, 3)], [(1, 0), (2, 0), (3, 1), (3, 2)], list(g.edges), [("a", 1), ("a", 2), (1, 3), (2, 3)],
    ]  # fmt: skip
    assert copies[0].column("weight").tolist() == [2.0, 4.0]


def test_positions_in_the_attributes_of_a_graph_move_along() -> None:
    g = CachedLayeredGraph.from_arrays([0, 0, 1, 2], [1, 2, 3, 3])
    g.graph.update(inputs=[0], outputs=[3, 3, 1], name="n")
    part = g.subgraph([0, 2, 3]).copy()
    assert part.graph == {"inputs": [0], "outputs": [2, 2], "name": "n"}
    assert g.relabel({3: "out"}).graph == g.graph


@given(dags(min_nodes=1, max_nodes=8, special=False), st.data())
def test_relabelling_is_networkx_relabelling(g: CachedLayeredGraph, data: Any) -> None:
    g = decorated(g)
    plain = nx.DiGraph(g)
    new = st.one_of(st.integers(0, 4), st.text(max_size=2), st.sampled_from(list(g)))
    mapping = data.draw(st.dictionaries(st.sampled_from([*g, "absent"]), new))
    same(g.relabel(mapping), nx.relabel_nodes(plain, mapping))
    same(g.relabel(str), nx.relabel_nodes(plain, str))
    with dg.fast_networkx():
        same(nx.relabel_nodes(g, mapping), nx.relabel_nodes(plain, mapping))
        same(nx.convert_node_labels_to_integers(g, 3), nx.convert_node_labels_to_integers(plain, 3))


def test_relabelling_keeps_positions_columns_and_history() -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, 2.0])
    g.edit(grow=([0], [2]), weight=3.0)
    named = g.relabel({0: "in", 2: "out"})
    assert (list(named), named.column("weight").tolist(), len(named.history)) == (["in", 1, "out"], [1.0, 3.0, 2.0], 1)
    named.undo()
    assert (list(named.edges), g.number_of_edges()) == ([("in", 1), (1, "out")], 3)
    assert named.relabel({"in": 0, "out": 2})._arrays().nodes.names is None
    with pytest.raises(ValueError, match="None cannot be a node"):
        g.relabel({0: None})


def test_a_graph_of_a_graph_is_its_own() -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, 2.0])
    g.graph["name"] = "old"
    g.edit(drop=([0], [1]))
    again = CachedLayeredGraph(g, name="new")
    assert (again.graph["name"], g.graph["name"], len(again.history), len(g.history)) == ("new", "old", 0, 1)
    g.undo()
    for one in (CachedLayeredGraph(g), g.copy(as_view=True).copy()):
        with pytest.raises(EditRefusedError, match="got none since the last edit"):
            one.redo()
    g.redo()
    again.add_edge(0, 2)
    assert (g.number_of_edges(), again.number_of_edges()) == (1, 2)
    part = CachedLayeredGraph(g.subgraph([1, 2]))
    assert (list(part), list(part.edges(data=True))) == ([1, 2], [(1, 2, {"weight": 2.0})])


# -- grid labels ----------------------------------------------------------------------------------------------


GRIDS = [("conv1", 2, 3, 3), ("conv2", 1, 2, 2), ("fc", 4, 1, 1)]


def grid_graph() -> CachedLayeredGraph:
    g = CachedLayeredGraph.from_arrays(np.arange(25), np.arange(25) + 1, 26, weight=np.ones(25))
    g.set_grid_labels(GRIDS)
    return g


def test_grid_labels_stay_without_storage_through_every_copy(tmp_path: Any) -> None:
    import copy
    import pickle

    g = grid_graph()
    g.save(tmp_path / "g.dg")
    made = {
        "copy": g.copy(),
        "deepcopy": copy.deepcopy(g),
        "pickle": pickle.loads(pickle.dumps(g)),
        "reverse": g.reverse(),
        "file": CachedLayeredGraph.load(tmp_path / "g.dg"),
        "graph": CachedLayeredGraph(g),
        "subgraph": g.subgraph(list(g)).copy(),
    }
    for name, one in made.items():
        labels = one._arrays().nodes.names
        assert isinstance(labels, GridLabels), name
        assert (labels.grids, list(one)) == (GRIDS, list(g)), name
        assert one._arrays().nodes.index is None, name
    removed = g.copy()
    removed.remove_nodes_from([v for v in g if v[0] == "conv2"])
    for one in (g.subgraph([v for v in g if v[0] != "conv2"]).copy(), removed):
        labels = one._arrays().nodes.names
        assert isinstance(labels, GridLabels)
        assert labels.grids == [GRIDS[0], GRIDS[2]]
        assert list(one.edges) == [e for e in g.edges if "conv2" not in (e[0][0], e[1][0])]


def test_parts_of_grids_and_other_labels_are_lists() -> None:
    g = grid_graph()
    part = g.subgraph(list(g)[3:20]).copy()
    assert list(part) == list(g)[3:20]
    assert part.has_edge(("conv1", 1, 2, 2), ("conv2", 0, 0, 0))
    named = g.relabel({("fc", 3, 0, 0): "out"})
    assert list(named) == [*list(g)[:-1], "out"]
    assert list(nx.relabel_nodes(g, {("fc", 3, 0, 0): "out"})) == list(named)
    assert isinstance(g.relabel({})._arrays().nodes.names, GridLabels)

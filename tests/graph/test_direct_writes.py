"""networkx's internals write to `_node`, `_adj` and `_pred` directly; and the rare paths of columns and edges."""

from __future__ import annotations

from typing import Any

import networkx as nx
import numpy as np
import pytest

from deepgraph.errors import CycleError, DtypeError
from deepgraph.graph import CachedLayeredGraph, EdgeSet
from deepgraph.graph.columns import Columns


def both() -> tuple[CachedLayeredGraph, nx.DiGraph]:
    model = nx.DiGraph([(0, 1), (1, 2), (0, 2)])
    nx.set_edge_attributes(model, 1.5, "weight")
    return CachedLayeredGraph(model), model


def same(g: CachedLayeredGraph, model: nx.DiGraph) -> None:
    assert list(g) == list(model)
    assert dict(g.nodes(data=True)) == dict(model.nodes(data=True))
    assert {(u, v): dict(d) for u, v, d in g.edges(data=True)} == {(u, v): d for u, v, d in model.edges(data=True)}


def test_removed_attributes_are_added_again_as_networkx_does() -> None:
    g, _ = both()
    data = g._adj[0][1]
    del g._adj[0][1]
    assert data == {"weight": 1.5}
    g._adj[0][1] = data
    g._pred[1][0] = data
    data["weight"] = 4.0
    assert g[0][1]["weight"] == 4.0
    assert g[0][1] is data
    assert sorted(g.column("weight")) == [1.5, 1.5, 4.0]


def test_rows_and_nodes_take_whole_dicts() -> None:
    g, model = both()
    g._adj[0] = {2: {"weight": 9.0}, 1: {"tag": "x"}}
    model.remove_edge(0, 1)
    model.add_edge(0, 1, tag="x")
    model[0][2]["weight"] = 9.0
    same(g, model)
    g._adj[0][2] = {"other": 1}
    model[0][2].clear()
    model[0][2]["other"] = 1
    same(g, model)
    g._node[1] = {"a": 1}
    g._node["new"] = {"b": 2}
    model.add_node(1, a=1)
    model.add_node("new", b=2)
    same(g, model)
    del g._node[1]
    model.remove_node(1)
    same(g, model)
    del g._adj["new"]
    model.remove_node("new")
    same(g, model)
    g._adj[0].clear()
    model.remove_edge(0, 2)
    same(g, model)
    g._node.clear()
    assert len(g) == 0


def test_views_print_as_dicts_and_copy_to_dicts() -> None:
    g, _ = both()
    assert repr(g._adj) == repr({v: {w: dict(d) for w, d in row.items()} for v, row in g._adj.items()})
    assert repr(g._adj[1]) == "{2: {'weight': 1.5}}"
    assert repr(g._node) == "{0: {}, 1: {}, 2: {}}"
    assert repr(g[1][2]) == "{'weight': 1.5}"
    assert type(g._adj[1].copy()) is dict
    data = g[1][2]
    assert (data | {"a": 1}, {"a": 1} | data) == ({"weight": 1.5, "a": 1}, {"a": 1, "weight": 1.5})
    data |= {"a": 1}
    assert g[1][2] == {"weight": 1.5, "a": 1} == data.copy()
    for missing in (lambda: g._adj[9], lambda: g._adj[0][9], lambda: g._adj[2][0], lambda: g[1][2]["zzz"]):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(KeyError):
        del g[1][2]["zzz"]


def test_growing_on_a_graph_that_has_a_cycle_already() -> None:
    g = CachedLayeredGraph([(0, 1), (1, 0), (1, 2)])
    before = g.digest()
    with pytest.raises(CycleError, match="got a cycle of 2 edges"):
        g.edit(grow=([0], [2]))
    assert g.digest() == before
    g.edit(drop=([1], [2]))
    g.edit(drop=([1], [0]), grow=([0], [2]))
    assert g.layer_array().tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("have", "value"),
    [
        (np.int8([1, 2]), 1000),
        (np.uint8([1, 2]), -1),
        (np.array(["a", "b"]), "longer"),
        (np.float32([1, 2]), 2**40),
        (np.array([True, False]), 3),
        (np.int64([1, 2]), np.float32(0.5)),
        (np.int64([1, 2]), np.uint64(2**63)),
        (np.int64([2**60, 2]), 0.5),
        (np.array(["a", "b"]), "x" * 10_000_000),
    ],
)
def test_a_column_grows_or_leaves_a_value_apart(have: Any, value: Any) -> None:
    table = Columns(2, {"x": have})
    table.set(1, "x", value)
    assert table.get(1, "x") == value
    table.gather()
    assert (table.get(0, "x"), table.get(1, "x")) == (have[0], value)
    table.set(1, "x", have[1].item())
    table.gather()
    assert table.array("x").tolist() == have.tolist()


def test_grown_columns_widen_or_are_refused() -> None:
    edges = EdgeSet.from_pairs([0], [0], 3, 3, {"age": np.int8([1]), "name": ["a"]})
    edges.edit(grow=([1], [1]), age=[1000], name=["long name"])
    assert edges.column("age").tolist() == [1, 1000]
    assert edges.column("name").tolist() == ["a", "long name"]
    edges.edit(grow=([2], [2]), age=[0.5], name=["c"])
    assert edges.column("age").tolist() == [1, 1000, 0.5]
    with pytest.raises(DtypeError, match="column 'age': expected values like its float64, got <U1"):
        edges.edit(grow=([0], [1]), age=["x"], name=["d"])

"""Text formats and safetensors: columns, labels and attributes come back; bad files are refused by name."""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from strategies import dags, node_labels, special_dags

import deepgraph as dg
from deepgraph.errors import (
    ArgumentError,
    DtypeError,
    EdgeError,
    FileFormatError,
    MissingDependencyError,
    ShapeError,
    TooLargeError,
)
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph import formats as fm

SUFFIXES = ("graphml", "json", "edgelist", "safetensors")
TEXTS = SUFFIXES[:3]
every = pytest.mark.parametrize("suffix", SUFFIXES)
every_text = pytest.mark.parametrize("suffix", TEXTS)


def same(a: CachedLayeredGraph, b: CachedLayeredGraph) -> None:
    assert a.digest() == b.digest()
    assert list(a) == list(b)
    assert [type(v) for v in a] == [type(v) for v in b]
    assert dict(a.nodes(data=True)) == dict(b.nodes(data=True))
    assert list(a.edges(data=True)) == list(b.edges(data=True))
    assert a.graph == b.graph
    old, new = (x._arrays().edges.edge_set().columns.arrays for x in (a, b))
    kinds = [{name: (c.dtype if c.dtype.kind != "U" else "U") for name, c in table.items()} for table in (old, new)]
    assert {name: kinds[0][name] for name in kinds[1]} == kinds[1]


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@every
@settings(max_examples=40)
@given(
    g=dags(weighted=None, special=False),
    labels=st.lists(node_labels, max_size=6, unique=True),
    values=st.lists(plain, max_size=5),
    name=st.text(max_size=3),
    keep=st.booleans(),
)
def test_nothing_is_lost(
    tmp_path_factory: Any,
    suffix: str,
    g: CachedLayeredGraph,
    labels: list[Any],
    values: list[Any],
    name: str,
    keep: bool,
) -> None:
    if not keep:
        g = CachedLayeredGraph(g)
        g.add_nodes_from([("label", label) for label in labels], x=1.5)
        g.add_nodes_from(labels)
    edges, nodes = list(g.edges), list(g)
    for k, value in enumerate(values):
        g.graph[f"{name} {k}"] = value
        if edges:
            u, v = edges[k % len(edges)]
            g[u][v][f"note{name}"] = value
        if nodes:
            g.nodes[nodes[k % len(nodes)]][f"note{name}"] = value
    path = tmp_path_factory.mktemp("formats") / f"g.{suffix}"
    g.save(path)
    same(g, CachedLayeredGraph.load(path))


@every
@pytest.mark.parametrize("name", special_dags())
def test_corner_cases(name: str, suffix: str, tmp_path: Path) -> None:
    n, src, dst = special_dags()[name]
    g = CachedLayeredGraph.from_arrays(src, dst, n, weight=np.arange(len(src), dtype=np.float32) / 3)
    g.save(tmp_path / f"g.{suffix}")
    same(g, CachedLayeredGraph.load(tmp_path / f"g.{suffix}"))


@every
@pytest.mark.parametrize("word", ["bool", "int8", "uint16", "int64", "uint64", "float16", "float32", "float64", "str"])
def test_columns_keep_their_dtype_and_every_bit(word: str, suffix: str, tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**63, 300).astype(np.uint64) * np.uint64(2)
    size = 8 if word == "str" else np.dtype(word).itemsize
    values = bits.astype(f"u{size}").view(word) if word not in ("bool", "str") else (bits // np.uint64(2**62)) % 2 == 1
    column = np.array([f"<&\"'\r\n\t ]]>{v}" for v in bits.tolist()]) if word == "str" else values
    if column.dtype.kind == "f":
        column = np.where(np.isnan(column), np.array(np.nan, column.dtype), column)
        column[:3] = np.nan, np.inf, -np.inf
    g = CachedLayeredGraph.from_arrays(np.arange(300), np.arange(300) + 1, x=column)
    g.set_node_column("y", np.append(column, column[:1]))
    g.save(tmp_path / f"g.{suffix}")
    again = CachedLayeredGraph.load(tmp_path / f"g.{suffix}")
    assert again.column("x").dtype == column.dtype
    assert again.column("x").tobytes() == column.tobytes()
    assert again.node_column("y").tobytes() == g.node_column("y").tobytes()


@every_text
def test_control_characters_and_mixed_values_survive(suffix: str, tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1, 2], [1, 2, 3], name=["a\x01", "\x0b", "b\0c"], weight=[1.0, 2.0, 3.0])
    g[0][1]["weight"] = "nan"
    g[1][2]["age\x02"] = 3
    g.save(tmp_path / f"g.{suffix}")
    same(g, CachedLayeredGraph.load(tmp_path / f"g.{suffix}"))


def test_safetensors_keeps_the_history_and_odd_dtypes(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, 2.0])
    g.graph["z"] = np.array([1j, 2])
    g.edit(drop=([0], [1]), step=3)
    g.save(tmp_path / "g.safetensors")
    again = CachedLayeredGraph.load(tmp_path / "g.safetensors")
    assert again.graph["z"].tolist() == [1j, 2]
    again.undo()
    assert (again.number_of_edges(), again[0][1]["weight"]) == (2, 1.0)


def test_networkx_reads_what_is_written(tmp_path: Path) -> None:
    g = CachedLayeredGraph([("a", "b", {"weight": 0.5}), ("b", "c", {"weight": 1.5})])
    g.save(tmp_path / "g.graphml")
    g.save(tmp_path / "g.json")
    for other in (
        nx.read_graphml(tmp_path / "g.graphml"),
        nx.node_link_graph(json.loads((tmp_path / "g.json").read_text()), edges="edges"),
    ):
        assert dict(other.edges) == dict(g.edges)
        assert list(other) == list(g)
    h = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[0.5, 1.5])
    h.save(tmp_path / "g.txt")
    assert np.loadtxt(tmp_path / "g.txt").tolist() == [[0, 1, 0.5], [1, 2, 1.5]]


def test_files_of_networkx_are_read(tmp_path: Path) -> None:
    other: Any = nx.DiGraph()
    other.add_edge("b", "a", weight=0.5, kind="x")
    other.add_edge("a", "c", weight=2.0)
    other.add_node("d", stage=3, even=True)
    nx.write_graphml(other, tmp_path / "g.graphml")
    (tmp_path / "g.json").write_text(json.dumps(nx.node_link_data(other, edges="links")))
    for suffix in ("graphml", "json"):
        g = CachedLayeredGraph.load(tmp_path / f"g.{suffix}")
        assert list(g) == list(other)
        assert {e: dict(d) for e, d in g.edges.items()} == dict(other.edges)
        assert dict(g.nodes(data=True)) == dict(other.nodes(data=True))
    nx.write_weighted_edgelist(other, tmp_path / "g.edgelist")
    assert dict(CachedLayeredGraph.load(tmp_path / "g.edgelist")["b"]["a"]) == {"weight": 0.5}
    (tmp_path / "n.txt").write_text("% made elsewhere\n7 3\n3,9\n")
    assert list(CachedLayeredGraph.load(tmp_path / "n.txt").edges) == [(3, 9), (7, 3)]


def test_defaults_of_keys_are_filled_in(tmp_path: Path) -> None:
    (tmp_path / "g.graphml").write_text(
        '<graphml><key id="k" for="node" attr.name="x" attr.type="int"><desc>a size</desc><default>4</default></key>'
        '<graph edgedefault="directed"><node id="a"/><node id="b"><data key="k">5</data></node></graph></graphml>'
    )
    assert CachedLayeredGraph.load(tmp_path / "g.graphml").node_column("x").tolist() == [4, 5]


@every
def test_truncated_files_are_refused(suffix: str, tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1, 2], [1, 2, 3], weight=[1.0, 2.0, 30000.0])
    g.add_node("label", role="x")
    path = tmp_path / f"g.{suffix}"
    g.save(path)
    data = path.read_bytes().rstrip()
    for size in (*range(1, len(data), 7), *([len(data) - 1] * (suffix == "edgelist"))):
        path.write_bytes(data[:size])
        with pytest.raises(FileFormatError, match=r"g\."):
            CachedLayeredGraph.load(path)


@every
@settings(max_examples=150, deadline=None)
@given(at=st.floats(0, 1, exclude_max=True), new=st.integers(0, 255))
def test_damaged_files_are_read_or_refused(suffix: str, at: float, new: int, tmp_path_factory: Any) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=np.float32([1.0, 2.5]))
    g.nodes[1]["role"] = "hidden"
    g.graph["inputs"] = [0]
    path = tmp_path_factory.mktemp("damaged") / f"g.{suffix}"
    g.save(path)
    data = bytearray(path.read_bytes())
    data[int(at * len(data))] = new
    path.write_bytes(bytes(data))
    # Anything but FileFormatError fails the test.
    with suppress(FileFormatError):
        CachedLayeredGraph.load(path)


NODES = '"nodes":[{"id":0},{"id":1}]'
HEAD = (
    '# deepgraph {"version":1,"nodes":2,"edges":1,"columns":[],"labels":null,"graph":{},'
    '"node table":{"columns":[],"rest":[]},"edge table":{"columns":[],"rest":[]}}\n'
)
DOCTYPE = '<!DOCTYPE g [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
GRAPH = '<graphml><graph edgedefault="directed"><node id="a"/>'


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("g.json", "[]", "node-link JSON with a list of nodes"),
        ("g.json", "{", "node-link JSON, got a bad file"),
        ("g.json", "[" * 100_000, "g.json"),
        ("g.json", '{"directed":false,"nodes":[],"edges":[]}', "a directed graph"),
        ("g.json", f'{{"directed":true,{NODES},"edges":[{{"source":0,"target":-1}}]}}', "between nodes of the file"),
        ("g.json", '{"directed":true,"nodes":[{"id":1},{"id":1}],"edges":[]}', "distinct"),
        ("g.json", '{"directed":true,"nodes":[{"id":{}}],"edges":[]}', "got an object"),
        ("g.json", f'{{"directed":true,{NODES},"edges":[],"deepgraph":{{"version":9}}}}', "version 1 or older, got 9"),
        ("g.json", f'{{"directed":true,{NODES},"edges":[],"graph":3}}', "graph attributes by name"),
        ("g.txt", "0 1\n1 -2\n", "numbered from 0, got -2"),
        ("g.txt", "0 1\n1 2 3\n", "2 values in every line"),
        ("g.txt", "0 1 2 3\n", "at most one weight, got 4"),
        ("g.txt", "0 1\n0 1\n", "each pair once"),
        ("g.txt", HEAD.replace('"nodes":2', '"nodes":2000000000') + "0 1\n", "number of nodes that fits a file"),
        ("g.txt", HEAD, "the file is cut off or edited"),
        ("g.txt", HEAD + "0 -1\n", "positions from 0, got -1"),
        ("g.txt", HEAD + "0 2\n", "positions below 2, got 2"),
        ("g.txt", HEAD.replace('"version":1', '"version":2') + "0 1\n", "version 1 or older, got 2"),
        ("g.txt", HEAD.replace('"labels":null', '"labels":[3]') + "0 1\n", "expected 2 labels, got 1"),
        ("g.txt", HEAD.replace('"columns":[]', '"columns":[["w","object"]]', 1) + "0 1 3\n", "expected a dtype of"),
        (
            "g.txt",
            HEAD.replace('"columns":[]', '"columns":[["w","int8"],["w","int8"]]', 1) + "0 1 3 3\n",
            "each column once",
        ),
        ("g.graphml", f"{DOCTYPE}<graphml>&b;</graphml>", "without a document type"),
        ("g.graphml", "<html/>", "XML that begins with 'html'"),
        ("g.graphml", "<graphml/>", "with one graph, got none"),
        ("g.graphml", '<graphml><graph edgedefault="undirected"/></graphml>', "got an undirected one; read it"),
        ("g.graphml", f'{GRAPH}<edge directed="false" source="a" target="a"/>', "expected directed edges"),
        ("g.graphml", f"{GRAPH}<hyperedge/>", "the element 'hyperedge'"),
        ("g.graphml", f'{GRAPH}<graph edgedefault="directed"/>', "several or a nested one"),
        ("g.graphml", f'{GRAPH}<data key="x">1</data>', "data of a declared key"),
        ("g.graphml", f'{GRAPH}<node id="a"/></graph></graphml>', "ids of nodes that are distinct"),
        ("g.graphml", f'{GRAPH}<edge source="a" target="z"/></graph></graphml>', "nodes of the file, got 'z'"),
        ("g.graphml", '<graphml><key id="x"/><key id="x"/></graphml>', "each key once"),
    ],
)
def test_foreign_and_hostile_files_are_refused(name: str, text: str, match: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FileFormatError, match=match):
        CachedLayeredGraph.load(tmp_path / name)


def rewritten(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_wrong_cells_are_refused(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.5, 2.5], s=["a", "b"])
    cases = [
        ("json", '"weight":1.5', '"weight":"x"', "expected numbers, got 'x'"),
        ("json", '"weight":1.5', '"weight":[1]', "values of dtype float64"),
        ("json", '"s":"a"', f'"s":"{"a" * 2**24}"', None),
        ("graphml", '<desc>json</desc></key>\n<key id="label"', '<desc>json</desc></key>\n<key id="labels"', None),
        ("graphml", '"version":1', '"version":7', "version 1 or older, got 7"),
        ("graphml", '"labels":"none"', '"labels":"own"', "a label for every node"),
        ("graphml", '<data key="e0">1.5</data>', '<data key="e0">1</data><data key="e0">1</data>', "'weight' twice"),
    ]
    for suffix, old, new, match in cases:
        path = tmp_path / f"g.{suffix}"
        g.save(path)
        rewritten(path, old, new)
        if match is None:
            CachedLayeredGraph.load(path)
            continue
        with pytest.raises(FileFormatError, match=match):
            CachedLayeredGraph.load(path)


def test_one_long_string_takes_no_column(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays(np.arange(2000), np.arange(2000) + 1, s=["a"] * 2000)
    g.save(tmp_path / "g.json")
    rewritten(tmp_path / "g.json", '"source":7,"target":8,"s":"a"', f'"source":7,"target":8,"s":"{"a" * 2**20}"')
    again = CachedLayeredGraph.load(tmp_path / "g.json")
    assert (len(again[7][8]["s"]), again[8][9]["s"]) == (2**20, "a")
    assert again.nbytes < 2**20


def test_one_long_string_cannot_blow_up_an_array(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0], [1])
    g.graph["words"] = np.array(["a"] * 2000)
    g.save(tmp_path / "g.json")
    rewritten(tmp_path / "g.json", '"values":["a"', f'"values":["{"a" * 2**20}"')
    with pytest.raises(FileFormatError, match="strings of like length"):
        CachedLayeredGraph.load(tmp_path / "g.json")


def test_an_attribute_twice_is_refused(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0], [1], weight=[1.5])
    g.save(tmp_path / "g.graphml")
    key = '<key id="z" for="edge" attr.name="weight" attr.type="string"><desc>json</desc></key>\n<graph'
    rewritten(tmp_path / "g.graphml", "<graph id", f"{key} id")
    rewritten(tmp_path / "g.graphml", "1.5</data>", '1.5</data><data key="z">2</data>')
    with pytest.raises(FileFormatError, match="'weight' of row 0 twice"):
        CachedLayeredGraph.load(tmp_path / "g.graphml")


def test_tensors_of_others_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "g.safetensors"
    save_file({"a": np.ones(3)}, path)
    with pytest.raises(FileFormatError, match="got other tensors"):
        CachedLayeredGraph.load(path)
    save_file({"a": np.ones(3)}, path, {"deepgraph": '{"version": 8}'})
    with pytest.raises(FileFormatError, match="version 1 or older, got 8"):
        CachedLayeredGraph.load(path)
    raw = {"version": 1, "names": ["a"], "raw": {"a": ["<U9", [5]]}, "content": {}}
    save_file({"a": np.ones(3, np.uint8)}, path, {"deepgraph": json.dumps(raw)})
    with pytest.raises(FileFormatError, match="expected 3 bytes of values"):
        CachedLayeredGraph.load(path)
    g = CachedLayeredGraph.from_arrays([0], [1], weight=[1.5])
    g.save(path)
    assert {"dst", "edge column: weight", "indptr"} <= load_file(path).keys()


def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0], [1])
    for suffix in TEXTS:
        path = tmp_path / f"g.{suffix}"
        h = g.copy()
        h.set_column("x", np.ones(1, np.longdouble))
        with pytest.raises(DtypeError, match="got dtype"):
            h.save(path)
        h = g.copy()
        h.graph["x"] = object()
        with pytest.raises(DtypeError, match="graph attribute 'x'"):
            h.save(path)
        h = g.copy()
        h.graph[3] = 4
        with pytest.raises(DtypeError, match="names of graph attributes that are strings, got 3"):
            h.save(path)
        h = g.copy()
        h.nodes[0][3] = 4
        with pytest.raises(DtypeError, match="names of attributes that are strings, got 3"):
            h.save(path)
        h = g.copy()
        h.add_node(frozenset())
        with pytest.raises(DtypeError, match="relabel the nodes"):
            h.save(path)
    h = CachedLayeredGraph.from_arrays([0], [1], source=[1])
    with pytest.raises(ArgumentError, match="got 'source'; rename it"):
        h.save(tmp_path / "g.json")
    assert not list(tmp_path.iterdir())


def test_an_edge_list_is_for_graphs_of_edges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepgraph.graph.edge_lists._FREE_NODES", 10)
    with pytest.raises(TooLargeError, match="save in the default format"):
        CachedLayeredGraph.from_arrays([], [], 11).save(tmp_path / "g.txt")
    monkeypatch.setattr("deepgraph.graph.container.MAX_HEADER", 10)
    with pytest.raises(TooLargeError, match="no arrays"):
        CachedLayeredGraph.from_arrays([], [], 11).save(tmp_path / "g.safetensors")


@every_text
def test_text_of_many_edges_warns_with_the_time(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fm, "_MANY", 2)
    g = CachedLayeredGraph.from_arrays([0, 0, 0], [1, 2, 3])
    with pytest.warns(UserWarning, match=r"3 edges as .* s to write and .* s to read"):
        g.save(tmp_path / f"g.{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        g.save(tmp_path / "g.safetensors")
        g.save(tmp_path / "g.npz")


def test_the_format_may_be_named_and_the_default_is_known_by_its_bytes(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0], [1])
    g.save(tmp_path / "g.json", format="npz")
    same(g, CachedLayeredGraph.load(tmp_path / "g.json"))
    g.save(tmp_path / "plain", format="graphml")
    same(g, CachedLayeredGraph.load(tmp_path / "plain", format="graphml"))
    with pytest.raises(ArgumentError, match="format: expected one of"):
        g.save(tmp_path / "g", format="gexf")


def test_without_safetensors_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingDependencyError, match="pip install safetensors"):
        CachedLayeredGraph.from_arrays([0], [1]).save(tmp_path / "g.safetensors")


# -- scipy and PyG -----------------------------------------------------------------------------------


@given(dags())
def test_scipy_and_back(g: CachedLayeredGraph) -> None:
    assert CachedLayeredGraph.from_scipy(g.to_scipy("weight")).digest() == g.digest()
    assert CachedLayeredGraph.from_scipy(g.to_scipy(), weight=None).column_names == []


def test_what_is_no_adjacency_matrix_is_refused() -> None:
    with pytest.raises(ArgumentError, match="expected a sparse matrix"):
        CachedLayeredGraph.from_scipy(np.eye(2))
    with pytest.raises(ShapeError, match="expected a square matrix"):
        CachedLayeredGraph.from_scipy(sparse.csr_array((2, 3)))
    with pytest.raises(EdgeError, match="each pair once"):
        CachedLayeredGraph.from_scipy(sparse.coo_array(([1, 1], ([0, 0], [1, 1])), shape=(2, 2)))


@given(dags())
def test_pyg_and_back(g: CachedLayeredGraph) -> None:
    pytest.importorskip("torch")
    g.set_node_column("stage", g.layer_array())
    g.set_node_column("activation", np.array(["relu", ""])[np.arange(len(g)) % 2])
    g.graph["outputs"] = g.output_positions()[::-1].copy()
    again = CachedLayeredGraph.from_pyg(g.to_pyg(make=SimpleNamespace))
    assert again.digest() == g.digest()
    assert again.output_positions().tolist() == g.output_positions().tolist()
    assert again.node_column("activation").tolist() == g.node_column("activation").tolist()
    assert again.stage_array().tolist() == g.stage_array().tolist()


def test_node_features_of_other_data() -> None:
    edges = np.array([[0], [1]])
    g = CachedLayeredGraph.from_pyg(SimpleNamespace(edge_index=edges, x=np.array([[1.0, 2.0], [3.0, 4.0]])))
    assert g.node_column("x_1").tolist() == [2.0, 4.0]
    with pytest.raises(ShapeError, match=r"x: expected shape \(N,\) or \(N, D\) with N = 2, got \(3, 1\)"):
        CachedLayeredGraph.from_pyg(SimpleNamespace(edge_index=edges, x=np.ones((3, 1))))
    with pytest.raises(ShapeError, match=r"stage: expected a value for each of 2 nodes, got shape \(1,\)"):
        CachedLayeredGraph.from_pyg(SimpleNamespace(edge_index=edges, node_columns=["stage"], stage=np.ones(1)))


def test_an_extracted_network_goes_through_pyg_and_computes_the_same() -> None:
    torch = pytest.importorskip("torch")
    make = SimpleNamespace
    with suppress(ImportError):
        make = importlib.import_module("torch_geometric.data").Data
    model = dg.MaskedDeepDAN.from_graph(dg.priors.random_layered([4, 6, 3], 0.6, seed=0), seed=0)
    x = torch.randn(5, 4)
    graph = dg.extract(model, x[:1])
    data = graph.to_pyg(make=make)
    assert data.x.shape[0] == data.num_nodes == len(graph)
    again = CachedLayeredGraph.from_pyg(data)
    torch.testing.assert_close(dg.MaskedDeepDAN.from_graph(again)(x), model(x))


def test_pyg_data_by_its_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    data = SimpleNamespace(
        edge_index=torch.tensor([[1, 0], [2, 1]]),
        num_nodes=5,
        edge_weight=torch.tensor([3.0, 4.0], requires_grad=True),
        edge_attr=torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
    )
    g = CachedLayeredGraph.from_pyg(data)
    assert (len(g), g.column("weight").tolist(), g.column("edge_attr_1").tolist()) == (5, [4.0, 3.0], [4.0, 2.0])
    with pytest.raises(ArgumentError, match="an object with edge_index"):
        CachedLayeredGraph.from_pyg(SimpleNamespace())
    with pytest.raises(ShapeError, match="edge_index: expected shape"):
        CachedLayeredGraph.from_pyg(SimpleNamespace(edge_index=np.zeros((3, 2), int)))
    with pytest.raises(ShapeError, match="edge_attr: expected shape"):
        CachedLayeredGraph.from_pyg(SimpleNamespace(edge_index=np.array([[0], [1]]), edge_attr=np.ones((2, 1))))
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(MissingDependencyError, match="pip install torch_geometric"):
        g.to_pyg()
    monkeypatch.setitem(sys.modules, "torch_geometric", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "torch_geometric.data", SimpleNamespace(Data=SimpleNamespace))
    made = g.to_pyg()
    assert made.edge_index.tolist() == [[0, 1], [1, 2]]
    assert CachedLayeredGraph.from_pyg(made).column("weight").tolist() == [4.0, 3.0]

"""Files that mean harm, or hold what no network can be: refused with a reason, in memory bounded by their size."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepgraph as dg
from deepgraph.errors import FileFormatError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph import formats as fm

SUFFIXES = ("dg", "safetensors", "graphml", "json", "edgelist")
every = pytest.mark.parametrize("suffix", SUFFIXES)


def quietly_saved(g: CachedLayeredGraph, path: Path) -> Path:
    with pytest.warns(UserWarning, match=r"only load\(..., check=False\) will read it: "):
        g.save(path)
    return path


# -- graphs that are no networks ------------------------------------------------------------------------------


@every
def test_a_cycle_is_refused_by_name_and_read_when_asked_for(suffix: str, tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1, 2, 2], [1, 2, 1, 3], weight=[1.0, 2.0, 3.0, 4.0])
    path = quietly_saved(g, tmp_path / f"g.{suffix}")
    match = rf"g\.{suffix}: expected a directed acyclic graph, got a cycle of 2 edges: .*; check=False reads the graph"
    with pytest.raises(FileFormatError, match=match) as caught:
        CachedLayeredGraph.load(path)
    assert any(f"{a!r} -> {b!r} -> {a!r};" in str(caught.value) for a, b in ((1, 2), (2, 1)))
    again = CachedLayeredGraph.load(path, check=False)
    assert (again.digest(), list(again.edges(data=True))) == (g.digest(), list(g.edges(data=True)))


@every
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_refused(suffix: str, value: float, tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1, 1], [1, 2, 3], weight=np.float32([1, 2, value]))
    path = quietly_saved(g, tmp_path / f"g.{suffix}")
    with pytest.raises(FileFormatError, match=rf"'weight': expected finite numbers, got {value} at edge \(1, 3\); che"):
        CachedLayeredGraph.load(path)
    assert CachedLayeredGraph.load(path, check=False).digest() == g.digest()


@every
def test_biases_that_are_no_numbers_are_refused_and_other_columns_are_free(suffix: str, tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], score=[np.nan, 1.0])
    g.set_node_column("age", [np.nan, 1, 2])
    path = tmp_path / f"g.{suffix}"
    g.save(path)
    assert CachedLayeredGraph.load(path).digest() == g.digest()
    g.nodes[1]["bias"] = float("nan")
    quietly_saved(g, path)
    with pytest.raises(FileFormatError, match="node column 'bias': expected finite numbers, got nan at node 1; check"):
        CachedLayeredGraph.load(path)


def test_sums_that_overflow_are_no_fault_of_the_terms(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.7e308, 1.7e308])
    g.save(tmp_path / "g")
    assert CachedLayeredGraph.load(tmp_path / "g").digest() == g.digest()
    mixed = CachedLayeredGraph([(0, 1, {"weight": "heavy"}), (1, 2, {"weight": 2.0})])
    mixed.save(tmp_path / "mixed")
    assert CachedLayeredGraph.load(tmp_path / "mixed")[0][1]["weight"] == "heavy"


def test_cycles_in_files_of_other_tools_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text("a b\nb c\nc a\n")
    with pytest.raises(
        FileFormatError, match=r"a cycle of 3 edges: '\w' -> .*order the nodes with .*; check=False rea"
    ):
        fm.load(tmp_path / "g.txt")
    graph = dg.from_networkx(fm.load(tmp_path / "g.txt", check=False).to_undirected(), orientation="degree")
    assert graph.num_layers == 3


def test_checkpoints_check_their_graphs(tmp_path: Path) -> None:
    g = CachedLayeredGraph([(0, 1), (1, 0)])
    for saved in (g, {"graph": g, "step": 3}):
        with pytest.warns(UserWarning, match="check=False"):
            dg.save(saved, tmp_path / "run.dg")
        with pytest.raises(FileFormatError, match=r"run\.dg: expected a directed acyclic graph, got a cycle of 2"):
            dg.load(tmp_path / "run.dg")
        found = dg.load(tmp_path / "run.dg", check=False)
        assert list((found["graph"] if isinstance(found, dict) else found).edges) == [(0, 1), (1, 0)]


# -- memory ---------------------------------------------------------------------------------------------------


def refused_within(path: Path, match: str | None, factor: int = 60) -> None:
    """Load a file, which must raise what `match` says (None: nothing), in memory bounded by the file's size."""
    bound = 2**25 + factor * path.stat().st_size
    tracemalloc.start()
    try:
        if match is None:
            CachedLayeredGraph.load(path)
        else:
            with pytest.raises(FileFormatError, match=match):
                CachedLayeredGraph.load(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < bound, f"{peak:,} bytes for a file of {path.stat().st_size:,}"


def edited(path: Path, change: Any) -> None:
    """Change the header of a file in the default format."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(parts["deepgraph.json"])
    change(header["content"]["single"])
    parts["deepgraph.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    rows = np.arange(100_000)
    CachedLayeredGraph.from_arrays(rows, rows + 1, weight=np.ones(len(rows))).save(tmp_path / "g.dg")
    return tmp_path / "g.dg"


def test_one_array_in_many_places(saved: Path) -> None:
    many = [["k", {"kind": "array", "array": 1}]] + [[f"k{i}", {"kind": "array", "array": 1}] for i in range(8000)]
    edited(saved, lambda node: node.update(attributes={"kind": "dict", "items": many}))
    refused_within(saved, "expected each array in one place, got array 1 in many", 10)


@pytest.mark.parametrize("what", ["edge columns", "node columns"])
def test_many_attributes_of_one_row_each(saved: Path, what: str) -> None:
    rest = [[row, [[f"a{row}", 1.5]]] for row in range(8000)]
    edited(saved, lambda node: node[what].update(rest=rest))
    refused_within(saved, "expected attributes that many rows have, got 8,000 of them with 8,000 values in", 20)


def test_many_attributes_of_one_node_each_as_text(tmp_path: Path) -> None:
    nodes = [{"id": k, f"a{k}": 1.5} for k in range(8000)]
    path = tmp_path / "g.json"
    path.write_text(json.dumps({"directed": True, "nodes": nodes, "edges": []}))
    refused_within(path, "attributes that many rows have, got 8,000 of them")
    keys = "".join(f'<key id="{k}" for="node" attr.name="a{k}" attr.type="double"/>' for k in range(3000))
    body = "".join(f'<node id="{k}"><data key="{k % 3000}">1</data></node>' for k in range(8000))
    path = tmp_path / "g.graphml"
    path.write_text(f'<graphml>{keys}<graph edgedefault="directed">{body}</graph></graphml>')
    refused_within(path, "attributes that many rows have, got 3,000 of them")


def test_defaults_of_many_keys(tmp_path: Path) -> None:
    keys = "".join(
        f'<key id="{k}" for="node" attr.name="a{k}" attr.type="double"><default>1</default></key>' for k in range(1000)
    )
    body = "".join(f'<node id="{k}"/>' for k in range(8000))
    path = tmp_path / "g.graphml"
    path.write_text(f'<graphml>{keys}<graph edgedefault="directed">{body}</graph></graphml>')
    refused_within(path, "expected at most 16 defaults for each of many rows, got more for 8,000")


def test_a_long_text_among_many_nodes(tmp_path: Path) -> None:
    body = "".join(f'<node id="{k}"><data key="d">{"x" * 10**5 if k == 7 else ""}</data></node>' for k in range(20_000))
    key = '<key id="d" for="node" attr.name="d" attr.type="string"/>'
    path = tmp_path / "g.graphml"
    path.write_text(f'<graphml>{key}<graph edgedefault="directed">{body}</graph></graphml>')
    refused_within(path, None)
    assert len(CachedLayeredGraph.load(path).nodes["7"]["d"]) == 10**5


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("g.json", "[" * 10**6, "RecursionError|bad file"),
        ("g.json", '{"directed":true,"nodes":[' + '{"id":0},' * 10**5 + '{"id":0}],"edges":[]}', "distinct"),
        (
            "g.json",
            '{"directed":true,"nodes":[{"id":' + "9" * 10**5 + '}],"edges":[]}',
            "got a bad file|got ValueError",
        ),
        ("g.txt", "0 1\n" * 10**5, "each pair once, got 99999 duplicated"),
        ("g.txt", "0 1\n9999999999999999999999 2\n", None),
        ("g.txt", '# deepgraph {"version":1,"nodes":1048577,"edges":0}', "number of nodes that fits a file"),
        ("g.graphml", "<graphml>" + "<a>" * 10**5, "got a bad file"),
        ("g.dg", "PK\x03\x04" + "\0" * 10**5, "got a bad one"),
        ("g.safetensors", "\xff" * 8 + "{}" * 10**5, "got a bad one"),
    ],
)
def test_floods_are_refused_in_bounded_memory(name: str, text: str, match: str | None, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    refused_within(tmp_path / name, match)


def test_numbers_of_nodes_take_room_only_where_edges_name_them(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text("0 1\n5 2000000000\n")
    refused_within(tmp_path / "g.txt", None)
    assert len(CachedLayeredGraph.load(tmp_path / "g.txt")) == 4


def test_tensors_named_twice(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    header = {"version": 1, "names": ["a"] * 10_000, "raw": {"a": ["<i4", [250_000]]}, "content": {}}
    save_file({"a": np.zeros(10**6, np.uint8)}, tmp_path / "g.safetensors", {"deepgraph": json.dumps(header)})
    refused_within(tmp_path / "g.safetensors", "expected each array once, got duplicates", 10)


@every
def test_a_cycle_takes_no_more_memory_to_find_than_the_file(suffix: str, tmp_path: Path) -> None:
    rows = np.arange(20_000)
    g = CachedLayeredGraph.from_arrays([*rows, 20_000], [*(rows + 1), 0])
    path = quietly_saved(g, tmp_path / f"g.{suffix}")
    refused_within(path, "a cycle of 20001 edges: ")

"""Graphs in files: nothing is lost, nothing half-read, and a crash leaves the old file."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import dags, node_labels, special_dags

from deepgraph.errors import DtypeError, FileFormatError, TooLargeError
from deepgraph.graph import CachedLayeredGraph, EdgeSet
from deepgraph.graph.container import read_file, write_file

ROOT = Path(__file__).parents[2]


def same(a: CachedLayeredGraph, b: CachedLayeredGraph) -> None:
    assert a.digest() == b.digest()
    assert list(a) == list(b)
    assert [type(v) for v in a] == [type(v) for v in b]
    assert dict(a.nodes(data=True)) == dict(b.nodes(data=True))
    assert list(a.edges(data=True)) == list(b.edges(data=True))
    assert a.graph == b.graph
    old, new = (x._arrays().edges.edge_set().columns.arrays for x in (a, b))
    assert {name: old[name].dtype for name in new} == {name: array.dtype for name, array in new.items()}


def round_trip(g: CachedLayeredGraph, folder: Path) -> CachedLayeredGraph:
    g.save(folder / "g.dg")
    return CachedLayeredGraph.load(folder / "g.dg")


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(
    g=dags(weighted=None, dtype=np.float64),
    labels=st.lists(node_labels, max_size=6, unique=True),
    values=st.lists(plain, max_size=4),
    keep=st.booleans(),
)
def test_nothing_is_lost(
    tmp_path_factory: Any, g: CachedLayeredGraph, labels: list[Any], values: list[Any], keep: bool
) -> None:
    if not keep:
        g = CachedLayeredGraph(g)
        g.add_nodes_from([("label", label) for label in labels], x=1.5)
        g.add_nodes_from(labels)
    edges, nodes = list(g.edges), list(g)
    for k, value in enumerate(values):
        g.graph[f"key {k}"] = value
        if edges:
            u, v = edges[k % len(edges)]
            g[u][v]["note"] = value
        if nodes:
            g.nodes[nodes[k % len(nodes)]]["note"] = value
    if edges:
        u, v = g.edge_arrays()
        g.edit(drop=(u[:1], v[:1]), step=3, reason="first")
        g.edit(grow=(u[:1], v[:1]))
        g.remove_edge(*edges[-1])
    again = round_trip(g, tmp_path_factory.mktemp("files"))
    same(g, again)
    assert len(again.history) == len(g.history)
    for old, new in zip(g.history, again.history, strict=True):
        assert (old.step, old.reason, old.num_before) == (new.step, new.reason, new.num_before)
        assert old.gather().tolist() == new.gather().tolist()
        assert {n: c.tolist() for n, c in old.dropped_columns.items()} == {
            n: c.tolist() for n, c in new.dropped_columns.items()
        }
    while len(g.history):
        g.undo()
        again.undo()
        assert g.digest() == again.digest()


@pytest.mark.parametrize("name", special_dags())
def test_corner_cases(name: str, tmp_path: Path) -> None:
    n, src, dst = special_dags()[name]
    g = CachedLayeredGraph.from_arrays(src, dst, n, weight=np.arange(len(src), dtype=np.float32))
    same(g, round_trip(g, tmp_path))


def test_columns_keep_dtype_presence_and_odd_values(tmp_path: Path) -> None:
    g = CachedLayeredGraph.from_arrays([0, 1, 2], [1, 2, 3], score=np.float16([1, np.nan, np.inf]))
    g.set_column("sign", np.array([True, False, True]))
    g.set_column("name", ["a", "bc", ""])
    g[0][1]["age"] = 3
    g[1][2]["age"] = "old"
    g.set_node_column("stage", np.int32([0, 1, 2, 3]))
    g.nodes[2]["role"] = "hidden"
    g.graph.update(inputs=[0], shape=(2, 2), ring={1, 2}, nan=float("nan"), array=np.eye(2))
    again = round_trip(g, tmp_path)
    assert again.column("score").dtype == np.float16
    assert np.isnan(again.column("score")[1])
    assert (again.node_column("stage").dtype, again.digest()) == (np.int32, g.digest())
    assert (again.graph["shape"], again.graph["ring"]) == ((2, 2), {1, 2})
    assert np.isnan(again.graph["nan"])
    assert (again.graph["array"] == np.eye(2)).all()
    again.edit(drop=([0], [1]))
    assert again.graph["array"].flags.writeable


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for k in range(2):
        g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[1.0, 2.0])
        g.edit(drop=([0], [1]), step=1)
        g.graph["tags"] = {"c", "a", "b"}
        g.save(tmp_path / str(k))
        files.append((tmp_path / str(k)).read_bytes())
    assert files[0] == files[1]


def test_what_no_file_holds_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    g = CachedLayeredGraph([("a", "b")])
    g.save(tmp_path / "g")
    before = (tmp_path / "g").read_bytes()
    g["a"]["b"]["fn"] = print
    with pytest.raises(
        DtypeError, match="edge 0: 'fn': expected plain data, arrays, graphs or objects with state_dict"
    ):
        g.save(tmp_path / "g")
    del g["a"]["b"]["fn"]
    g.add_node(object)
    with pytest.raises(DtypeError, match="label <class 'object'>: expected plain data"):
        g.save(tmp_path / "g")
    g.remove_node(object)
    g.graph["odd"] = np.array([None])
    with pytest.raises(DtypeError, match="expected an array of numbers, booleans or strings, got dtype object"):
        g.save(tmp_path / "g")
    assert (tmp_path / "g").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["g"]


def test_a_huge_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepgraph.graph.container.MAX_HEADER", 100)
    with pytest.raises(TooLargeError, match="expected at most 100 bytes of labels and attributes that are no arrays"):
        write_file(tmp_path / "g", "x" * 200, [])
    monkeypatch.undo()
    write_file(tmp_path / "g", "x" * 200, [])
    monkeypatch.setattr("deepgraph.graph.container.MAX_HEADER", 100)
    with pytest.raises(FileFormatError, match="expected a header of at most 100 bytes"):
        read_file(tmp_path / "g")


# -- bad files ---------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    g = CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2], weight=[1.0, 2.0, 3.0])
    g.set_node_column("role", ["input", "hidden", "output"])
    g.edit(drop=([0], [1]), step=1)
    g.save(tmp_path / "g.dg")
    return tmp_path / "g.dg"


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def changed(path: Path, change: Any) -> None:
    parts = members(path)
    header = json.loads(parts["deepgraph.json"])
    change(header, parts)
    parts["deepgraph.json"] = json.dumps(header).encode()
    write(path, parts)


def test_every_truncation_is_an_error(saved: Path) -> None:
    data = saved.read_bytes()
    for end in range(0, len(data), 7):
        saved.write_bytes(data[:end])
        with pytest.raises(FileFormatError, match="expected"):
            CachedLayeredGraph.load(saved)


def test_a_flipped_byte_is_an_error_or_changes_nothing(saved: Path) -> None:
    data, digest = saved.read_bytes(), CachedLayeredGraph.load(saved).digest()
    for at in range(0, len(data), 5):
        broken = bytearray(data)
        broken[at] ^= 0x41
        saved.write_bytes(bytes(broken))
        try:
            assert CachedLayeredGraph.load(saved).digest() == digest
        except FileFormatError:
            continue


@pytest.mark.parametrize("data", [b"", b"x", b"PK\x05\x06" + b"\0" * 18, b"\x93NUMPY", b"<graphml/>" * 100])
def test_foreign_files(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "g").write_bytes(data)
    with pytest.raises(FileFormatError, match="g: expected a file that deepgraph saved, got"):
        CachedLayeredGraph.load(tmp_path / "g")
    with pytest.raises(FileNotFoundError):
        CachedLayeredGraph.load(tmp_path / "none")


def graph_node(header: Any) -> Any:
    return header["content"]["single"]


def put(parts: dict[str, bytes], number: int, array: Any) -> None:
    parts[f"{number}.npy"] = npy(array)


def deep() -> Any:
    value: Any = 0
    for _ in range(600):
        value = [value]
    return value


HOSTILE: list[tuple[Any, str]] = [
    (lambda h, p: h.update(version=2), "expected format version 1 or older, got 2, of a newer deepgraph; upgrade"),
    (lambda h, p: h.update(version="1"), "expected a header of version 1"),
    (lambda h, p: h.update(format="other"), "expected the format 'deepgraph'"),
    (lambda h, p: h.update(arrays=10**9), "expected 1000000000 arrays beside the header"),
    (lambda h, p: h.update(arrays=True), "expected a header of version 1"),
    (lambda h, p: h.update(content=None), "got TypeError"),
    (lambda h, p: h["content"].pop("single"), "expected one graph, got something else"),
    (lambda h, p: p.pop("1.npy"), "expected [0-9]+ arrays beside the header, got others"),
    (lambda h, p: p.update({"extra": b""}), "arrays beside the header, got others"),
    (lambda h, p: p.update({"1.npy": b"junk"}), "got a bad one"),
    (lambda h, p: p.update({"1.npy": p["1.npy"][:-1]}), "1.npy: expected .* bytes of data, got shape"),
    (lambda h, p: put(p, 1, np.int32([-1, 2])), r"expected each target in 0\.\.2, got -1\.\.2"),
    (lambda h, p: put(p, 1, np.int32([1, 3])), r"expected each target in 0\.\.2, got 1\.\.3"),
    (lambda h, p: put(p, 1, np.float64([1, 2])), "expected a dtype of kind 'iu', got float64"),
    (lambda h, p: put(p, 1, np.int32([[1, 2]])), r"expected shape \(None,\), got \(1, 2\)"),
    (lambda h, p: put(p, 0, np.int64([0, 2, 1, 2])), "expected rows that end in turn at 2 edges"),
    (lambda h, p: put(p, 0, np.int64([1, 1, 2, 2])), "expected rows that end in turn"),
    (lambda h, p: put(p, 0, np.int64([0, 1])), r"expected shape \(4,\), got \(2,\)"),
    (lambda h, p: put(p, 0, np.int64([0, 2, 2, 2])) or put(p, 1, np.int32([2, 2])), "expected edges sorted"),
    (lambda h, p: graph_node(h).update(nodes=2**40), "expected a number of nodes from 0, got 1099511627776"),
    (lambda h, p: graph_node(h).update(nodes=2**30), "expected shape"),
    (lambda h, p: graph_node(h).update(nodes=-1), "expected a number of nodes from 0, got -1"),
    (lambda h, p: graph_node(h).update(labels=["a", "b"]), "expected 3 labels, got others"),
    (lambda h, p: graph_node(h).update(labels=["a", "b", "a"]), "expected labels that are distinct"),
    (lambda h, p: graph_node(h).update(labels=["a", "b", None]), "expected labels that are distinct and not None"),
    (lambda h, p: graph_node(h).update(labels=["a", "b", ["c"]]), "got TypeError: unhashable"),
    (lambda h, p: graph_node(h).update(attributes=[]), "expected graph attributes as a dict"),
    (lambda h, p: graph_node(h).update(attributes={"kind": "os.system"}), "that this version knows, got 'os.system'"),
    (lambda h, p: graph_node(h).update(attributes=deep()), "expected graph attributes as a dict|RecursionError"),
    (lambda h, p: graph_node(h).update(dst=-1), "expected the number of an array below"),
    (lambda h, p: graph_node(h).update(dst=True), "expected the number of an array below"),
    (lambda h, p: graph_node(h).pop("history"), "got KeyError: 'history'"),
    (lambda h, p: graph_node(h)["edge columns"]["rest"].append([9, []]), "expected a row below 2, got 9"),
    (lambda h, p: graph_node(h)["edge columns"]["rest"].append([0, [["weight", 1]]]), "expected each attribute once"),
    (
        lambda h, p: graph_node(h)["edge columns"]["columns"].append([3, 0, None]),
        "expected the name of a column, got 3",
    ),
    (lambda h, p: graph_node(h)["history"].update(steps=["a"]), "expected steps as integers"),
    (lambda h, p: graph_node(h)["history"].update(reasons=[]), "expected 1 reasons and transactions"),
    (lambda h, p: put(p, graph_node(h)["history"]["before"], np.int64([7])), "got a history with gaps"),
    (lambda h, p: put(p, graph_node(h)["history"]["transactions"], np.int64([2**50])), "expected each transaction in"),
    (
        lambda h, p: put(p, graph_node(h)["history"]["dropped"]["rows"], np.int64([9])),
        "expected dropped rows that ascend",
    ),
    (lambda h, p: put(p, graph_node(h)["history"]["dropped"]["src"], np.int32([9])), r"expected each source in 0\.\.2"),
    (lambda h, p: put(p, graph_node(h)["history"]["dropped"]["sizes"], np.int64([2])), "expected 1 edits of 2 edges"),
    (
        lambda h, p: graph_node(h)["history"]["dropped"]["columns"].append(["x", [0], 0]),
        "expected values of the column 'x' for each edge of its edits",
    ),
    (lambda h, p: put(p, 2, np.array([b"a", b"b"])), "expected a dtype of kind 'biufU'"),
]


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_hostile_files(saved: Path, case: int) -> None:
    change, message = HOSTILE[case]
    changed(saved, change)
    with pytest.raises(FileFormatError, match=message):
        CachedLayeredGraph.load(saved)


def header_of(shape: str, descr: str = "<f8", fortran: str = "False") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text += " " * (64 - (10 + len(text) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (header_of("(1000000000000,)"), "bytes of data, got shape"),
        (header_of("(-1,)"), "bytes of data, got shape"),
        (header_of("(0, 1000000000000000000000)"), "got a bad one|bytes of data"),
        (header_of("(1,)", "|O"), "expected an array of plain values, got dtype object"),
        (header_of("(1,)", "|V8") + b"\0" * 8, "expected an array of plain values"),
        (header_of("(9,)", "<U0"), "expected an array of plain values"),
        (header_of("(1,)", "<f8", "True") + b"\0" * 8, "expected an array of plain values"),
        (header_of("(1,)", "|b1") + b"\x07", "expected booleans, got other bytes"),
        (header_of("(1,)", "<U1") + b"\xff\xff\xff\x7f", "expected text, got numbers that are no characters"),
        (b"\x93NUMPY\x09\x00" + b"\0" * 90, "expected npy version 1 or 2"),
        (b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((", "got a bad one"),
    ],
)
def test_hostile_arrays(saved: Path, member: bytes, message: str) -> None:
    changed(saved, lambda header, parts: parts.update({"1.npy": member}))
    with pytest.raises(FileFormatError, match=message):
        CachedLayeredGraph.load(saved)


def test_arrays_of_the_other_byte_order_are_read(saved: Path) -> None:
    digest = CachedLayeredGraph.load(saved).digest()
    changed(saved, lambda header, parts: parts.update({"1.npy": npy(np.array([2, 2], ">i4"))}))
    assert CachedLayeredGraph.load(saved).digest() == digest


def test_bombs_are_refused_before_they_are_read(saved: Path) -> None:
    parts = members(saved)
    parts["1.npy"] = header_of("(10000000,)") + b"\0" * 80_000_000
    write(saved, parts, zipfile.ZIP_DEFLATED)
    assert saved.stat().st_size < 500_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del parts
    with pytest.raises(FileFormatError, match=r"expected plain members, got 'deepgraph.json' compressed or encrypted"):
        CachedLayeredGraph.load(saved)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


def test_members_that_share_bytes_are_refused(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        start = archive.start_dir
        biggest = max(info.file_size for info in archive.infolist())
    # Every entry of the directory claims the size of the largest and the place of the first.
    at = data.find(b"PK\x01\x02", start)
    while at >= 0:
        data[at + 20 : at + 28] = (biggest * 50).to_bytes(4, "little") * 2
        at = data.find(b"PK\x01\x02", at + 4)
    saved.write_bytes(bytes(data))
    with pytest.raises(FileFormatError, match=r"expected members within .* bytes, got .* bytes declared"):
        CachedLayeredGraph.load(saved)


def test_duplicate_members_are_refused(saved: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("1.npy", b"")
    with pytest.raises(FileFormatError, match="expected each member once, got duplicates"):
        CachedLayeredGraph.load(saved)


# -- writing at once -----------------------------------------------------------------------------------------


def test_a_failing_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(*args: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        CachedLayeredGraph([(0, 1)]).save(saved)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_link_stays_a_link(saved: Path) -> None:
    link = saved.parent / "link"
    link.symlink_to(saved)
    CachedLayeredGraph([("x", "y")]).save(link)
    assert link.is_symlink()
    assert list(CachedLayeredGraph.load_from(saved)) == ["x", "y"]


SAVING = """
import sys, numpy as np
from deepgraph.graph import CachedLayeredGraph
k = 0
while True:
    g = CachedLayeredGraph.from_arrays(np.arange(20000), np.arange(1, 20001), weight=np.full(20000, float(k)))
    g.graph["k"] = k
    g.save(sys.argv[1])
    print(k, flush=True)
    k += 1
"""


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    path, last = tmp_path / "g", -1
    rng = np.random.default_rng(0)
    for _ in range(3):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(
            [sys.executable, "-c", SAVING, str(path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout is not None
        for _ in range(2):
            last = int(child.stdout.readline())
        time.sleep(rng.uniform(0, 0.05))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        g = CachedLayeredGraph.load(path)
        assert g.graph["k"] >= last
        assert (g.column("weight") == g.graph["k"]).all()


def test_a_bound_graph_is_saved_as_a_free_one(tmp_path: Path) -> None:
    from deepgraph.graph.edge_store import BoundEdges
    from deepgraph.graph.node_table import NodeTable

    sets = [EdgeSet.from_pairs([0, 1], [0, 1], 2, 2, {"weight": [1.0, 2.0]}) for _ in range(2)]
    g = CachedLayeredGraph._from_parts(NodeTable(6), BoundEdges([(sets[0], 0, 2), (sets[1], 2, 4)], 6), {})
    g.edit(drop=([0, 3], [2, 5]), reason="both")
    again = round_trip(g, tmp_path)
    same(again, g.copy())
    assert [e.reason for e in again.history] == ["both"]
    again.add_node("free")
    again.undo()
    assert again.number_of_edges() == 4

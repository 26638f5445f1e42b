"""Graphs in files: arrays, columns with presence, labels, attributes and the history."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from deepgraph.errors import FileFormatError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import MAX_NODES, Array
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.container import read_file, write_file
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edge_store import FreeEdges
from deepgraph.graph.encoding import Decoder, Encoder, Node
from deepgraph.graph.file_checks import check_graph
from deepgraph.graph.grid_labels import GridLabels
from deepgraph.graph.history import History
from deepgraph.graph.history_files import decode_history, encode_history, ids
from deepgraph.graph.node_table import NodeTable
from deepgraph.graph.table_files import decode_table, encode_table

__all__ = [
    "DECODE_ERRORS",
    "GraphDecoder",
    "GraphEncoder",
    "load_graph",
    "load_history",
    "parse",
    "reading",
    "save_graph",
    "save_history",
]

# What decoding a hostile header can raise, apart from our own errors.
DECODE_ERRORS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
)


class GraphEncoder(Encoder):
    """An encoder that knows graphs and histories."""

    def encode_other(self, value: Any, where: str) -> Node:
        if isinstance(value, CachedLayeredGraph):
            return self.encode_graph(value, where)
        if isinstance(value, History):
            return encode_history(self, value, where)
        return super().encode_other(value, where)

    def encode_graph(self, g: ArrayGraph, where: str) -> Node:
        """Return the node of a graph; DtypeError names the attribute that no file holds."""
        store = g._arrays()
        edges, nodes = store.edges.edge_set(), store.nodes
        return {
            "kind": "graph",
            "nodes": nodes.count,
            "labels": self._labels(nodes.names, where),
            "indptr": self.put(edges.indptr),
            "dst": self.put(edges.dst),
            "edge columns": encode_table(self, edges.columns, f"{where}: edge"),
            "node columns": encode_table(self, nodes.sync(), f"{where}: node"),
            "attributes": self.encode(dict(g.graph), f"{where}: graph attributes"),
            "history": encode_history(self, g.history, f"{where}: history"),
        }

    def _labels(self, names: list[Hashable] | GridLabels | None, where: str) -> Node:
        """Return labels as an array where they are all integers or all short strings, else one by one."""
        if names is None:
            return None
        if isinstance(names, GridLabels):
            return {"kind": "grid labels", "grids": [list(grid) for grid in names.grids]}
        types = {type(name) for name in names}
        if types == {int} and all(-(2**63) <= name < 2**63 for name in names):  # type: ignore[operator]
            return {"kind": "array", "array": self.put(np.array(names, np.int64))}
        if types == {str}:
            texts = [str(name) for name in names]
            if not any(text.endswith("\0") for text in texts) and max(map(len, texts)) <= 64:
                return {"kind": "array", "array": self.put(np.array(texts))}
        return [self.encode(name, f"{where}: label {name!r:.40}") for name in names]


class GraphDecoder(Decoder):
    """A decoder that knows graphs and histories.

    Parameters
    ----------
    arrays : list of array
    check : bool
        Whether graphs must be acyclic, with finite weights and biases.
    """

    def __init__(self, arrays: list[Array], check: bool = True) -> None:
        super().__init__(arrays)
        self.check = check

    def decode_other(self, kind: str, node: Node) -> Any:
        if kind == "graph":
            return self.decode_graph(node)
        if kind == "history":
            return decode_history(self, node, MAX_NODES, MAX_NODES)
        return super().decode_other(kind, node)

    def decode_graph(self, node: Node) -> CachedLayeredGraph:
        """Return a graph, every array of it checked."""
        count = node["nodes"]
        if type(count) is not int or not 0 <= count <= MAX_NODES:
            raise FileFormatError(f"expected a number of nodes from 0, got {count!r:.40}")
        indptr = self.get(node["indptr"], "i", (count + 1,)).astype(np.int64)
        dst = ids(self, node["dst"], count, "target")
        self._check_rows(indptr, dst)
        edges = EdgeSet(
            indptr, dst.astype(np.int32), count, decode_table(self, node["edge columns"], len(dst)), name="graph"
        )
        nodes = NodeTable(count, self._decode_labels(node["labels"], count))
        nodes.columns = decode_table(self, node["node columns"], count)
        edges.history = decode_history(self, node["history"], count, count, len(dst))
        attributes = self.decode(node["attributes"])
        if type(attributes) is not dict:
            raise FileFormatError("expected graph attributes as a dict, got something else")
        g = CachedLayeredGraph._from_parts(nodes, FreeEdges(edges), attributes)
        if self.check:
            check_graph(g)
        return g

    @staticmethod
    def _check_rows(indptr: Array, dst: Array) -> None:
        if indptr[0] != 0 or indptr[-1] != len(dst) or (np.diff(indptr) < 0).any():
            raise FileFormatError(f"expected rows that end in turn at {len(dst)} edges, got others")
        ascends = np.diff(dst.astype(np.int64)) > 0
        ends = indptr[1:-1]
        ascends[ends[(ends > 0) & (ends < len(dst))] - 1] = True
        if not ascends.all():
            raise FileFormatError("expected edges sorted by source and target, each once, got others")

    def _decode_labels(self, node: Node, count: int) -> list[Hashable] | GridLabels | None:
        if node is None:
            return None
        if isinstance(node, dict) and node["kind"] == "grid labels":
            labels = GridLabels(node["grids"])
            if len(labels) != count:
                raise FileFormatError(f"expected {count} labels, got grids of {len(labels)}")
            return labels
        value = self.decode(node)
        names: list[Hashable] = value.tolist() if isinstance(value, np.ndarray) else value
        if not isinstance(names, list) or len(names) != count:
            raise FileFormatError(f"expected {count} labels, got others")
        if len(set(names)) != count or None in names:
            raise FileFormatError("expected labels that are distinct and not None, got others")
        return names


def parse(path: str | os.PathLike[str], decode: Any) -> Any:
    """Return `decode(content, arrays)` of a file; whatever is wrong with the file raises FileFormatError."""
    content, arrays = read_file(path)
    with reading(path):
        return decode(content, arrays)


@contextmanager
def reading(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn whatever decoding a bad file raises into FileFormatError that names the file."""
    try:
        yield
    except FileFormatError as error:
        raise FileFormatError(f"{os.fspath(path)}: {error}") from error
    except DECODE_ERRORS as error:
        shown = f"{type(error).__name__}: {error}"
        raise FileFormatError(f"{os.fspath(path)}: expected a file that deepgraph saved, got {shown:.200}") from error


def save_graph(g: ArrayGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph to a file, at once or not at all.

    Raises
    ------
    DtypeError
        If a label or an attribute is of a kind that no file holds.
    TooLargeError
        If labels and attributes that fit no array exceed 64 MiB.
    """
    encoder = GraphEncoder()
    write_file(path, {"single": encoder.encode_graph(g, "graph")}, encoder.arrays)


def load_graph(path: str | os.PathLike[str], check: bool = True) -> CachedLayeredGraph:
    """Return the graph of a file that `save_graph` wrote; a graph of a compiled model comes back as a free one.

    Raises
    ------
    FileFormatError
        If the file is truncated, damaged, foreign, newer, or holds no graph; unless `check` is False, if the graph has
        a cycle, or weights or biases that are not finite.
    """

    graph: CachedLayeredGraph = parse(path, lambda c, arrays: _single(c, arrays, check, CachedLayeredGraph, "graph"))
    return graph


def save_history(history: History, path: str | os.PathLike[str]) -> None:
    """Write a history to a file, at once or not at all; DtypeError names an attribute that no file holds."""
    encoder = GraphEncoder()
    write_file(path, {"single": encode_history(encoder, history, "history")}, encoder.arrays)


def load_history(path: str | os.PathLike[str]) -> History:
    """Return the history of a file that `save_history` wrote.

    Raises
    ------
    FileFormatError
        If the file is truncated, damaged, foreign, newer, or holds no history.
    """
    history: History = parse(path, lambda content, arrays: _single(content, arrays, True, History, "history"))
    return history


def _single(content: Any, arrays: list[Array], check: bool, kind: type, word: str) -> Any:
    """Return what a file holds without a name, refused unless it is of `kind`."""
    value = GraphDecoder(arrays, check).decode(content["single"]) if "single" in content else None
    if not isinstance(value, kind):
        raise FileFormatError(f"expected one {word}, got something else; deepgraph.load reads whatever was saved")
    return value

"""Edge lists: a line an edge, `source target value ...`, which numpy.loadtxt and networkx read too."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable
from typing import Any

import numpy as np

from deepgraph.errors import FileFormatError, TooLargeError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.columns import Columns
from deepgraph.graph.container import MAX_HEADER, replacing
from deepgraph.graph.files import reading
from deepgraph.graph.table_files import decode_table, encode_table
from deepgraph.graph.text_tables import (
    InlineDecoder,
    InlineEncoder,
    as_array,
    as_label,
    assembled,
    cell_texts,
    chunks,
    compact,
    dtype_word,
    encoded_attributes,
    label_value,
    plain_tables,
)

__all__ = ["read_edge_list", "write_edge_list"]

_VERSION = 1
_HEAD = "# deepgraph "
# Nodes without edges take no line: a header may name this many, or so many for each byte of the file.
_FREE_NODES = 2**20
_NODES_PER_BYTE = 16


def write_edge_list(g: ArrayGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as lines of positions and numeric columns, at once or not at all.

    Node columns, labels, graph attributes and columns that are no numbers of every edge are in one line of comment. The
    history of edits is not in it; `g.history.save` writes that.

    Raises
    ------
    DtypeError
        If a label or an attribute is of a kind that no text holds.
    TooLargeError
        If that comment exceeds 64 MiB, or if there are over a million nodes and hardly an edge.
    """
    nodes, edges = plain_tables(g)
    in_lines = {
        name: array for name, array in edges.arrays.items() if array.dtype.kind in "iuf" and name not in edges.present
    }
    words = [[name, dtype_word(array, f"edge column {name!r}")] for name, array in in_lines.items()]
    edges.arrays = {name: array for name, array in edges.arrays.items() if name not in in_lines}
    names, encoder = g._arrays().nodes.names, InlineEncoder()
    src, dst = g.edge_arrays()
    content = {
        "version": _VERSION,
        "nodes": len(g),
        "edges": len(src),
        "columns": words,
        "labels": None if names is None else [label_value(name) for name in names],
        "graph": encoded_attributes(g),
        "node table": encode_table(encoder, nodes, "node"),
        "edge table": encode_table(encoder, edges, "edge"),
    }
    head = compact(content).encode()
    if len(head) > MAX_HEADER or len(g) > max(_FREE_NODES, _NODES_PER_BYTE * len(src)):
        raise TooLargeError(
            f"expected labels, node columns and attributes of at most {MAX_HEADER:,} bytes and nodes that mostly have "
            f"edges, got {len(head):,} bytes and {len(g):,} nodes with {len(src):,} edges; save in the default format"
        )
    with replacing(path) as file:
        file.write(_HEAD.encode() + head + b"\n")
        for part in chunks(len(src)):
            cells = [cell_texts(array[part], str) for array in (src, dst, *in_lines.values())]
            file.write("".join([" ".join(row) + "\n" for row in zip(*cells, strict=True)]).encode())


def read_edge_list(path: str | os.PathLike[str], check: bool = True) -> CachedLayeredGraph:
    """Return the graph of an edge list, of `write_edge_list` or of another tool.

    In a file of another tool a line is `source target` or `source target weight`, split at white space or commas, and
    lines that begin with # or % are comments. Nodes that are all integers are ordered by number, others by first
    occurrence.

    Raises
    ------
    FileFormatError
        If the file is truncated, newer, or no edge list; unless `check` is False, if the graph has a cycle, or weights
        or biases that are not finite.
    """
    with reading(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.readline(MAX_HEADER + len(_HEAD) + 2)
        if first.startswith(_HEAD.encode()):
            head = json.loads(first[len(_HEAD) :])
            return _decode(head, file.read().decode(), size, check)
        return _decode_foreign((first + file.read()).decode(), check)


def _decode(head: dict[str, Any], text: str, size: int, check: bool) -> CachedLayeredGraph:
    lines = text.splitlines()
    version, count, rows = head.get("version"), head.get("nodes"), head.get("edges")
    if type(version) is not int or version > _VERSION:
        raise FileFormatError(f"expected version {_VERSION} or older, got {version!r:.40}; upgrade deepgraph")
    if type(count) is not int or not 0 <= count <= max(_FREE_NODES, _NODES_PER_BYTE * size):
        raise FileFormatError(f"expected a number of nodes that fits a file of {size:,} bytes, got {count!r:.40}")
    # A number that is cut off is a number too: only the end of the line shows that it is whole.
    if rows != len(lines) or (lines and not text.endswith("\n")):
        raise FileFormatError(
            f"expected {rows!r:.40} lines of edges, got {len(lines):,}: the file is cut off or edited"
        )
    names = [(str(name), str(word)) for name, word in head["columns"]]
    cells = _split([line.split() for line in lines], 2 + len(names))
    decoder = InlineDecoder()
    edges = decode_table(decoder, head["edge table"], rows)
    for (name, word), texts in zip(names, cells[2:], strict=True):
        if name in edges.arrays:
            raise FileFormatError(f"expected each column once, got {name!r:.40} twice")
        edges.put(name, _numbers(texts, word))
    labels = head["labels"]
    if labels is not None and len(labels) != count:
        raise FileFormatError(f"expected {count} labels, got {len(labels)}")
    return assembled(
        count,
        None if labels is None else [as_label(label) for label in labels],
        _numbers(cells[0], "int64"),
        _numbers(cells[1], "int64"),
        decode_table(decoder, head["node table"], count),
        edges,
        {key: decoder.decode(node) for key, node in head["graph"].items()},
        check,
    )


def _split(rows: list[list[str]], width: int) -> list[list[str]]:
    wrong = next((row for row in rows if len(row) != width), None)
    if wrong is not None:
        raise FileFormatError(f"expected {width} values in every line, got {' '.join(wrong)!r:.60}")
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _numbers(texts: list[str], word: str) -> Array:
    return as_array([float(text) for text in texts] if word.startswith("float") else [int(t) for t in texts], word)


def _decode_foreign(text: str, check: bool) -> CachedLayeredGraph:
    lines = [line.replace(",", " ").split() for line in text.splitlines()]
    rows = [line for line in lines if line and line[0][0] not in "#%"]
    if not rows:
        raise FileFormatError("expected lines of edges, got none")
    width = len(rows[0])
    if width not in (2, 3):
        raise FileFormatError(f"expected lines of source, target and at most one weight, got {width} values")
    cells = _split(rows, width)
    labels: list[Hashable]
    try:
        ends: list[list[Any]] = [[int(name) for name in column] for column in cells[:2]]
    except ValueError:
        ends = list(cells[:2])
        labels = list(dict.fromkeys(name for pair in zip(*ends, strict=True) for name in pair))
    else:
        numbers = sorted({*ends[0], *ends[1]})
        if numbers[0] < 0:
            raise FileFormatError(f"expected nodes that are numbered from 0, got {numbers[0]}")
        labels = list(numbers)
    index = {label: k for k, label in enumerate(labels)}
    edges = Columns(len(rows))
    if width == 3:
        edges.put("weight", _numbers(cells[2], "float64"))
    src, dst = (np.array([index[name] for name in column], np.int64) for column in ends)
    return assembled(len(labels), labels, src, dst, Columns(len(labels)), edges, {}, check)

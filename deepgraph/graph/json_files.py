"""Node-link JSON, as networkx and D3 have it, with the dtypes of columns beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from deepgraph.errors import ArgumentError, FileFormatError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.columns import Columns
from deepgraph.graph.container import replacing
from deepgraph.graph.files import reading
from deepgraph.graph.history_files import decode_history, encode_history
from deepgraph.graph.text_tables import (
    ColumnCells,
    InlineDecoder,
    InlineEncoder,
    as_label,
    assembled,
    cell_texts,
    chunks,
    compact,
    dtype_word,
    encoded_attributes,
    guessed,
    label_value,
    plain_tables,
    table_of,
)

__all__ = ["read_json", "write_json"]

_VERSION = 1
_NODE_KEYS, _EDGE_KEYS = ("id",), ("source", "target")


def write_json(g: ArrayGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as node-link JSON with the history of its edits, at once or not at all.

    Raises
    ------
    ArgumentError
        If an attribute has a name that the format needs: id, source, target.
    DtypeError
        If a label or an attribute is of a kind that no text holds.

    Notes
    -----
    `networkx.node_link_graph(json.load(file), edges="edges")` reads the file too. Numbers that are not finite are
    written as the strings "nan", "inf" and "-inf", since JSON has none.
    """
    nodes, edges = plain_tables(g)
    for table, taken in ((nodes, _NODE_KEYS), (edges, _EDGE_KEYS)):
        clash = sorted(set(table.names) & set(taken))
        if clash:
            raise ArgumentError(f"expected attributes with other names than {taken}, got {clash[0]!r}; rename it")
    head = {"directed": True, "multigraph": False, "graph": encoded_attributes(g)}
    own: dict[str, Any] = {
        "version": _VERSION,
        "node columns": {name: dtype_word(array, f"node column {name!r}") for name, array in nodes.arrays.items()},
        "edge columns": {name: dtype_word(array, f"edge column {name!r}") for name, array in edges.arrays.items()},
    }
    if len(g.history):
        own["history"] = encode_history(InlineEncoder(), g.history, "history")
    names = g._arrays().nodes.names
    ids = None if names is None else [compact(label_value(name)) for name in names]
    with replacing(path) as file:
        file.write(compact({**head, "deepgraph": own})[:-1].encode())
        _write_list(file, "nodes", nodes, _node_starts(ids, nodes.rows))
        _write_list(file, "edges", edges, _edge_starts(ids, *g.edge_arrays()))
        file.write(b"}\n")


def _node_starts(ids: list[str] | None, count: int) -> Iterator[list[str]]:
    for part in chunks(count):
        shown = range(part.start, part.stop) if ids is None else ids[part]
        yield [f'{{"id":{v}' for v in shown]


def _edge_starts(ids: list[str] | None, src: Array, dst: Array) -> Iterator[list[str]]:
    for part in chunks(len(src)):
        pairs = zip(src[part].tolist(), dst[part].tolist(), strict=True)
        if ids is not None:
            yield [f'{{"source":{ids[u]},"target":{ids[v]}' for u, v in pairs]
        else:
            yield [f'{{"source":{u},"target":{v}' for u, v in pairs]


def _write_list(file: BinaryIO, key: str, table: Columns, starts: Iterator[list[str]]) -> None:
    encoder, begin = InlineEncoder(), 0
    file.write(f',"{key}":['.encode())
    for start in starts:
        part = slice(begin, begin + len(start))
        cells = [start]
        for name, array in table.arrays.items():
            prefix = f",{compact(name)}:"
            texts = [prefix + text for text in cell_texts(array[part], compact)]
            if name in table.present:
                texts = [text if has else "" for text, has in zip(texts, table.present[name][part], strict=True)]
            cells.append(texts)
        if table.exotic:
            cells.append([_odd_text(encoder, table, row) for row in range(part.start, part.stop)])
        lines = ["".join(row) + "}" for row in zip(*cells, strict=True)]
        file.write((("," if begin else "") + "\n" + ",\n".join(lines)).encode())
        begin = part.stop
    file.write(b"]")


def _odd_text(encoder: InlineEncoder, table: Columns, row: int) -> str:
    text = ""
    for name, value in table.exotic.get(row, {}).items():
        node = encoder.encode(value, f"attribute {name!r}")
        # Among values of a column, what is none of them must not be taken for one.
        node = {"kind": "odd", "value": node} if name in table.arrays else node
        text += f",{compact(name)}:{compact(node)}"
    return text


def read_json(path: str | os.PathLike[str], check: bool = True) -> CachedLayeredGraph:
    """Return the graph of a node-link JSON file, of `write_json` or of another tool.

    Raises
    ------
    FileFormatError
        If the file is truncated, newer, no JSON, or no simple directed graph; unless `check` is False, if it has a
        cycle, or weights or biases that are not finite.
    """
    with reading(path), open(path, "rb") as file:
        try:
            content = json.load(file)
        except ValueError as error:
            raise FileFormatError(f"expected node-link JSON, got a bad file: {error}") from error
        return _decode(content, check)


def _decode(content: Any, check: bool) -> CachedLayeredGraph:
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list):
        raise FileFormatError("expected node-link JSON with a list of nodes, got other JSON")
    links = content.get("edges", content.get("links"))
    if not isinstance(links, list) or content.get("multigraph") or content.get("directed") is not True:
        raise FileFormatError(
            "expected a directed graph with a list of edges, each once, got another; "
            "read it with networkx and give it to deepgraph.from_networkx"
        )
    own = content.get("deepgraph")
    if own is not None and (type(own.get("version")) is not int or own["version"] > _VERSION):
        raise FileFormatError(
            f"expected version {_VERSION} or older, got {own.get('version')!r:.40}; upgrade deepgraph"
        )
    labels = [as_label(node["id"]) for node in content["nodes"]]
    index = {label: k for k, label in enumerate(labels)}
    ends = [(as_label(link["source"]), as_label(link["target"])) for link in links]
    unknown = next((v for pair in ends for v in pair if v not in index), None)
    if unknown is not None or any(None in pair for pair in ends):
        raise FileFormatError(f"expected edges between nodes of the file, got {unknown!r:.40}")
    src = np.array([index[u] for u, _ in ends], np.int64)
    dst = np.array([index[v] for _, v in ends], np.int64)
    nodes = _table(content["nodes"], _NODE_KEYS, None if own is None else own["node columns"])
    edges = _table(links, _EDGE_KEYS, None if own is None else own["edge columns"])
    attributes = content.get("graph", {})
    if own is not None:
        attributes = {key: InlineDecoder().decode(node) for key, node in attributes.items()}
    g = assembled(len(labels), labels, src, dst, nodes, edges, attributes, check)
    if own is not None and "history" in own:
        count = len(labels)
        g._arrays().edges.edge_set().history = decode_history(InlineDecoder(), own["history"], count, count, len(links))
    return g


def _table(items: list[dict[str, Any]], taken: tuple[str, ...], dtypes: dict[str, str] | None) -> Columns:
    cells: dict[str, ColumnCells] = {} if dtypes is None else {name: ColumnCells() for name in dtypes}
    odd: dict[int, dict[str, Any]] = {}
    decoder = InlineDecoder()
    for row, item in enumerate(items):
        for name, value in item.items():
            if name in taken:
                continue
            if dtypes is None:
                cells.setdefault(name, ColumnCells()).add(row, value)
            elif name not in dtypes:
                odd.setdefault(row, {})[name] = decoder.decode(value)
            elif isinstance(value, dict) and value.get("kind") == "odd":
                odd.setdefault(row, {})[name] = decoder.decode(value["value"])
            else:
                cells[name].add(row, value)
    words = dtypes if dtypes is not None else {name: guessed(column.values) for name, column in cells.items()}
    for name in [name for name, word in words.items() if word is None]:
        column = cells.pop(name)
        for row, value in zip(column.rows, column.values, strict=True):
            odd.setdefault(row, {})[name] = value
    return table_of(len(items), [(name, str(words[name]), column) for name, column in cells.items()], odd)

"""GraphML: the XML that Gephi, yEd, igraph and networkx read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Hashable, Iterator
from typing import Any, BinaryIO
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from deepgraph.errors import FileFormatError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.columns import Columns
from deepgraph.graph.container import replacing
from deepgraph.graph.files import reading
from deepgraph.graph.graphml_parser import GraphMLParser
from deepgraph.graph.text_tables import (
    InlineDecoder,
    InlineEncoder,
    as_label,
    assembled,
    cell_texts,
    chunks,
    compact,
    dtype_word,
    encoded_attributes,
    label_value,
    plain_tables,
    table_of,
)

__all__ = ["read_graphml", "write_graphml"]

_VERSION = 1
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TYPES = {"b": "boolean", "i": "long", "u": "long", "f": "double", "U": "string"}
_OWN, _LABEL = "deepgraph", "deepgraph label"


def _quote(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


def _quote_json(value: Any) -> str:
    return _quote(compact(value))


class _Column:
    """One attribute of nodes or edges as a key of the file."""

    def __init__(self, number: str, name: str, array: Array, mask: Array | None) -> None:
        self.name, self.array, self.mask = name, array, mask
        self.quote: Callable[[str], str] = _quote
        self.word = dtype_word(array, f"column {name!r}")
        if self.word == "str" and any(_ILLEGAL.search(text) for text in np.unique(array).tolist()):
            # XML has no way to write control characters.
            self.word, self.quote = "json str", _quote_json
        self.start = f'<data key="{number}">'

    def texts(self, part: slice) -> list[str]:
        texts = [f"{self.start}{text}</data>" for text in cell_texts(self.array[part], self.quote)]
        if self.mask is None:
            return texts
        return [text if has else "" for text, has in zip(texts, self.mask[part], strict=True)]


def _key(number: str, target: str, name: str, kind: str, word: str) -> str:
    shown = compact(name) if _ILLEGAL.search(name) else name
    word = f"named {word}" if shown is not name else word
    return (
        f'<key id="{number}" for="{target}" attr.name={quoteattr(shown)} attr.type="{kind}"><desc>{word}</desc></key>\n'
    )


class _Table:
    """The attributes of nodes or edges: keys, and the data elements of each row."""

    def __init__(self, target: str, table: Columns) -> None:
        self.target, self.table, self.encoder = target, table, InlineEncoder()
        self.columns = [
            _Column(f"{target[0]}{k}", name, array, table.present.get(name))
            for k, (name, array) in enumerate(table.arrays.items())
        ]
        odd = sorted({name for own in table.exotic.values() for name in own})
        self.odd = {name: f"{target[0]}x{k}" for k, name in enumerate(odd)}

    def keys(self) -> str:
        typed = [
            _key(f"{self.target[0]}{k}", self.target, c.name, _TYPES[c.array.dtype.kind], c.word)
            for k, c in enumerate(self.columns)
        ]
        return "".join([*typed, *(_key(n, self.target, name, "string", "json") for name, n in self.odd.items())])

    def write(self, file: BinaryIO, starts: Iterator[list[str]]) -> None:
        begin = 0
        for start in starts:
            part = slice(begin, begin + len(start))
            cells = [start, *(column.texts(part) for column in self.columns)]
            if self.odd:
                cells.append([self._odd(row) for row in range(part.start, part.stop)])
            end = f"</{self.target}>\n"
            file.write("".join(["".join(row) + end for row in zip(*cells, strict=True)]).encode())
            begin = part.stop

    def _odd(self, row: int) -> str:
        text = ""
        for name, value in self.table.exotic.get(row, {}).items():
            node = self.encoder.encode(value, f"attribute {name!r}")
            text += f'<data key="{self.odd[name]}">{_quote_json(node)}</data>'
        return text


def write_graphml(g: ArrayGraph, path: str | os.PathLike[str]) -> None:
    """Write a graph as GraphML, at once or not at all; the history of edits is not in it,
    `g.history.save` writes that.

    Raises
    ------
    DtypeError
        If a label or an attribute is of a kind that no text holds.

    Notes
    -----
    The exact dtype of a column is in the description of its key, which other tools pass over. Labels that are strings
    are the ids of nodes; other labels are in an attribute of their own.
    """
    nodes, edges = (_Table(word, table) for word, table in zip(("node", "edge"), plain_tables(g), strict=True))
    names = g._arrays().nodes.names
    text_ids = names is not None and all(type(v) is str and not _ILLEGAL.search(v) for v in names)
    ids = [quoteattr(str(v)) for v in names] if names is not None and text_ids else None
    labels = None if names is None or text_ids else [_quote_json(label_value(v)) for v in names]
    own: dict[str, Any] = {"version": _VERSION, "labels": "id" if text_ids else "own" if labels is not None else "none"}
    own["graph"] = encoded_attributes(g)
    with replacing(path) as file:
        file.write(b'<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n')
        head = _key("g", "graph", _OWN, "string", "json") + _key("label", "node", _LABEL, "string", "json")
        file.write(f'{head}{nodes.keys()}{edges.keys()}<graph id="G" edgedefault="directed">\n'.encode())
        file.write(f'<data key="g">{_quote_json(own)}</data>\n'.encode())
        nodes.write(file, _node_starts(len(g), ids, labels))
        edges.write(file, _edge_starts(ids, *g.edge_arrays()))
        file.write(b"</graph>\n</graphml>\n")


def _node_starts(count: int, ids: list[str] | None, labels: list[str] | None) -> Iterator[list[str]]:
    for part in chunks(count):
        shown = ids[part] if ids is not None else [f'"{v}"' for v in range(part.start, part.stop)]
        ends = [""] * len(shown) if labels is None else [f'<data key="label">{text}</data>' for text in labels[part]]
        yield [f"<node id={v}>{end}" for v, end in zip(shown, ends, strict=True)]


def _edge_starts(ids: list[str] | None, src: Array, dst: Array) -> Iterator[list[str]]:
    for part in chunks(len(src)):
        pairs = zip(src[part].tolist(), dst[part].tolist(), strict=True)
        if ids is None:
            yield [f'<edge source="{u}" target="{v}">' for u, v in pairs]
        else:
            yield [f"<edge source={ids[u]} target={ids[v]}>" for u, v in pairs]


def read_graphml(path: str | os.PathLike[str], check: bool = True) -> CachedLayeredGraph:
    """Return the graph of a GraphML file, of `write_graphml` or of another tool, whose nodes are labelled by ids.

    Raises
    ------
    FileFormatError
        If the file is truncated, newer, no XML, declares entities, or holds anything but one simple directed graph;
        unless `check` is False, if that has a cycle, or weights or biases that are not finite.
    """
    with reading(path), open(path, "rb") as file:
        parser = GraphMLParser()
        try:
            parser.read(file)
        except FileFormatError:
            raise
        except (expat.ExpatError, LookupError, ValueError) as error:
            # The last two are what Python's parser makes of an encoding that it does not know, or cannot read.
            raise FileFormatError(f"expected GraphML, got a bad file: {error}") from error
        return _decode(parser, check)


def _decode(parser: GraphMLParser, check: bool) -> CachedLayeredGraph:
    own: dict[str, Any] = {"labels": "id"}
    attributes: dict[str, Any] = {}
    for key, texts in parser.cells("graph"):
        if key.name == _OWN and key.word == "json":
            own = json.loads(texts.values[0])
            if type(own.get("version")) is not int or own["version"] > _VERSION:
                raise FileFormatError(
                    f"expected version {_VERSION} or older, got {own.get('version')!r:.40}; upgrade deepgraph"
                )
            attributes.update({name: InlineDecoder().decode(node) for name, node in own["graph"].items()})
        else:
            attributes[key.name] = key.values(texts.values)[0]
    labels = _labels(own["labels"], parser)
    count = len(parser.ids)
    index = {name: k for k, name in enumerate(parser.ids)}
    if len(index) < count:
        raise FileFormatError("expected ids of nodes that are distinct, got duplicates")
    unknown = next((name for name in (*parser.sources, *parser.targets) if name not in index), None)
    if unknown is not None:
        raise FileFormatError(f"expected edges between nodes of the file, got {unknown!r:.40}")
    src, dst = (np.array([index[v] for v in ends], np.int64) for ends in (parser.sources, parser.targets))
    return assembled(
        count, labels, src, dst, _table(parser, "node", count), _table(parser, "edge", len(src)), attributes, check
    )


def _labels(kind: str, parser: GraphMLParser) -> list[Hashable] | None:
    if kind == "id":
        return list(parser.ids)
    if kind != "own":
        return None
    found = [cells for key, cells in parser.cells("node") if key.name == _LABEL]
    if (found[0].rows if found else []) != list(range(len(parser.ids))):
        raise FileFormatError("expected a label for every node, got fewer")
    return [as_label(json.loads(text)) for text in found[0].values] if found else []


def _table(parser: GraphMLParser, target: str, count: int) -> Columns:
    columns = []
    odd: dict[int, dict[str, Any]] = {}
    decoder = InlineDecoder()
    for key, cells in parser.cells(target, count):
        if target == "node" and key.number == "label" and key.name == _LABEL:
            continue
        if key.word == "json":
            for row, text in zip(cells.rows, cells.values, strict=True):
                odd.setdefault(row, {})[key.name] = decoder.decode(json.loads(text))
        else:
            cells.values = key.values(cells.values)
            columns.append((key.name, key.dtype, cells))
    return table_of(count, columns, odd)

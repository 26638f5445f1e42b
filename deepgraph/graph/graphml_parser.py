"""A parser of GraphML that refuses what could take more memory than the file is long."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from xml.parsers import expat

from deepgraph.errors import FileFormatError
from deepgraph.graph.text_tables import ColumnCells

__all__ = ["GraphMLParser", "Key"]

_TYPES = {"boolean": "bool", "int": "int64", "long": "int64", "float": "float64", "double": "float64", "string": "str"}
# A default takes no text where it applies, but memory.
_FREE_DEFAULTS, _DEFAULTS_PER_ROW = 2**16, 16
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass
class Key:
    """A declared attribute: its name, and how its values are read."""

    number: str
    target: str
    name: str
    kind: str
    word: str = ""
    default: str | None = None

    @property
    def dtype(self) -> str:
        """The dtype of the column."""
        if not self.word:
            return _TYPES.get(self.kind, "str")
        return "str" if self.word == "json str" else self.word

    def values(self, texts: list[str]) -> list[Any]:
        """Return texts as values."""
        if self.word in ("json", "json str"):
            return [json.loads(text) for text in texts]
        if self.dtype == "bool":
            return [_TRUTH[text.strip().lower()] for text in texts]
        if self.dtype.startswith("float"):
            return [float(text) for text in texts]
        return [int(text) for text in texts] if "int" in self.dtype else texts


class GraphMLParser:
    """Collects nodes, edges and their data, in the order of the file."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.targets: list[str] = []
        self._cells: dict[tuple[str, str], ColumnCells] = {}
        self._path: list[str] = []
        self._text: list[str] | None = None
        self._key = Key("", "", "", "")
        self._graphs = 0

    def read(self, file: BinaryIO) -> None:
        """Parse a file; FileFormatError or expat's error if it is not GraphML of one simple directed graph."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.ParseFile(file)
        if self._graphs != 1:
            raise FileFormatError("expected GraphML with one graph, got none")

    def cells(self, target: str, count: int = 1) -> Iterator[tuple[Key, ColumnCells]]:
        """Yield the keys of nodes, edges or the graph with their cells, defaults filled in for `count` rows."""
        filled = 0
        for key in self.keys.values():
            if key.target not in (target, "all"):
                continue
            cells = self._cells.get((target, key.number), ColumnCells())
            if key.default is not None and len(cells.rows) < count:
                filled += count - len(cells.rows)
                if filled > _FREE_DEFAULTS + _DEFAULTS_PER_ROW * count:
                    raise FileFormatError(
                        f"expected at most {_DEFAULTS_PER_ROW} defaults for each of many rows, got more for {count:,}"
                    )
                for row in sorted(set(range(count)).difference(cells.rows)):
                    cells.add(row, key.default)
            if cells.rows:
                yield key, cells

    def _doctype(self, *_: Any) -> None:
        raise FileFormatError("expected GraphML without a document type, got one, which may declare entities")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rsplit(" ", 1)[-1]
        inside = self._path[-1] if self._path else ""
        self._path.append(name)
        if not inside and name != "graphml":
            raise FileFormatError(f"expected GraphML, got XML that begins with {name!r:.40}")
        if name in ("hyperedge", "port"):
            raise FileFormatError(f"expected nodes and edges, got the element {name!r}")
        if name == "graph":
            self._begin_graph(attributes)
        elif name == "node":
            self.ids.append(attributes["id"])
        elif name == "edge":
            if attributes.get("directed", "true") != "true":
                raise FileFormatError("expected directed edges, got an undirected one")
            self.sources.append(attributes["source"])
            self.targets.append(attributes["target"])
        elif name == "key":
            self._begin_key(attributes)
        elif name == "data" and inside in ("graph", "node", "edge"):
            if attributes["key"] not in self.keys:
                raise FileFormatError(f"expected data of a declared key, got {attributes['key']!r:.40}")
            self._key = self.keys[attributes["key"]]
            self._text = []
        elif name in ("desc", "default") and inside == "key":
            self._text = []

    def _begin_graph(self, attributes: dict[str, str]) -> None:
        self._graphs += 1
        if self._graphs > 1 or len(self._path) != 2:
            raise FileFormatError("expected one graph, got several or a nested one")
        if attributes.get("edgedefault") != "directed":
            raise FileFormatError(
                "expected a directed graph, got an undirected one; "
                "read it with networkx and give it to deepgraph.from_networkx"
            )

    def _begin_key(self, attributes: dict[str, str]) -> None:
        number = attributes["id"]
        if number in self.keys:
            raise FileFormatError(f"expected each key once, got {number!r:.40} twice")
        name = attributes.get("attr.name", number)
        kind = attributes.get("attr.type", "string")
        self._key = self.keys[number] = Key(number, attributes.get("for", "all"), name, kind)

    def _characters(self, text: str) -> None:
        if self._text is not None and self._path[-1] in ("data", "desc", "default"):
            self._text.append(text)

    def _end(self, _: str) -> None:
        name = self._path.pop()
        if self._text is None or name not in ("data", "desc", "default"):
            return
        text, self._text = "".join(self._text), None
        if name == "desc":
            self._describe(text)
        elif name == "default":
            self._key.default = text
        else:
            target = self._path[-1]
            row = {"graph": 0, "node": len(self.ids) - 1, "edge": len(self.sources) - 1}[target]
            self._cells.setdefault((target, self._key.number), ColumnCells()).add(row, text)

    def _describe(self, text: str) -> None:
        key = self._key
        named = text.startswith("named ")
        word = text.removeprefix("named ")
        # Any tool may describe a key in its own words.
        if word in ("json", "json str") or word in _DTYPES:
            key.word = word
            if named:
                key.name = str(json.loads(key.name))


_DTYPES = {
    *("bool", "str", "float16", "float32", "float64"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
}

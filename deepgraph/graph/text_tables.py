"""What text formats share: arrays inside the text, cells of attribute tables, labels, and graphs put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepgraph.errors import DtypeError, FileFormatError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import MAX_NODES, Array, as_ids, compress
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.columns import Columns
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edge_store import FreeEdges
from deepgraph.graph.encoding import Decoder, Encoder, Node
from deepgraph.graph.file_checks import check_graph, check_sparsity
from deepgraph.graph.node_table import NodeTable
from deepgraph.graph.scalars import common_array, too_wide

__all__ = [
    "CHUNK",
    "ColumnCells",
    "InlineDecoder",
    "InlineEncoder",
    "as_array",
    "as_label",
    "assembled",
    "cell_texts",
    "chunks",
    "compact",
    "dtype_word",
    "encoded_attributes",
    "guessed",
    "label_value",
    "plain_tables",
    "table_of",
]

CHUNK = 2**16
_WORDS = (
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    "float16",
    "float32",
    "float64",
)
_ALLOWED: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float, str}, "U": {str}}
_SPECIAL = {"nan", "inf", "-inf"}


def dtype_word(array: Array, where: str) -> str:
    """Return what a text format calls the dtype of a column: its numpy name, or "str".

    Raises
    ------
    DtypeError
        If no text format holds such values.
    """
    if array.dtype.kind == "U":
        return "str"
    if array.dtype.name not in _WORDS:
        raise DtypeError(
            f"{where}: expected booleans, numbers of at most 64 bits or strings, got dtype {array.dtype}; "
            "convert it, or save in the default format"
        )
    return array.dtype.name


def as_array(values: list[Any], word: str) -> Array:
    """Return values (K,) that were read from text as an array of the dtype `word`.

    Raises
    ------
    FileFormatError
        If they are no such values, or so unequal in length that the array would take far more memory than the text.
    """
    if word != "str" and word not in _WORDS:
        raise FileFormatError(f"expected a dtype of {_WORDS} or str, got {word!r:.40}")
    kind = "U" if word == "str" else np.dtype(word).kind
    odd = next((value for value in values if type(value) not in _ALLOWED[kind]), None)
    if odd is not None:
        raise FileFormatError(f"expected values of dtype {word}, got {odd!r:.40}")
    if kind == "U":
        longest, total = max(map(len, values), default=0), sum(map(len, values))
        if 4 * longest * len(values) > max(2**26, 128 * (total + len(values))):
            raise FileFormatError(
                f"expected strings of like length, got one of {longest:,} characters among short ones"
            )
        return np.array(values, np.str_)
    if kind == "f":
        text = next((value for value in values if type(value) is str and value not in _SPECIAL), None)
        if text is not None:
            raise FileFormatError(f"expected numbers, got {text!r:.40}")
        with np.errstate(over="ignore"):
            return np.array([float(value) for value in values], np.float64).astype(word)
    return np.array(values, word)


def _plain(array: Array) -> list[Any]:
    """Return the values as JSON has them: what is no finite number is a string."""
    values: list[Any] = array.reshape(-1).tolist()
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return [value if np.isfinite(value) else str(value) for value in values]
    return values


class InlineEncoder(Encoder):
    """An encoder that writes arrays where they occur, as lists of values."""

    def put(self, array: Any) -> Node:
        values = np.asarray(array)
        return {"dtype": dtype_word(values, "an array"), "shape": list(values.shape), "values": _plain(values)}


class InlineDecoder(Decoder):
    """A decoder of what `InlineEncoder` encodes."""

    def __init__(self) -> None:
        super().__init__([])

    def get(self, number: Any, kind: str | None = None, shape: tuple[int | None, ...] | None = None) -> Array:
        self.arrays.append(as_array(number["values"], number["dtype"]).reshape(number["shape"]))
        return super().get(len(self.arrays) - 1, kind, shape)


# -- cells ----------------------------------------------------------------------------------------------------


def plain_tables(g: ArrayGraph) -> tuple[Columns, Columns]:
    """Return copies of the node and the edge table in which whatever fits a column is in one."""
    store = g._arrays()
    nodes, edges = store.nodes.sync().copy(), store.edges.edge_set().columns.copy()
    for table in (nodes, edges):
        table.gather()
        for name in [name for name in table.arrays if not table.live(name)]:
            del table.arrays[name], table.present[name]
        odd = next((key for own in table.exotic.values() for key in own if not isinstance(key, str)), None)
        if odd is not None:
            raise DtypeError(f"expected names of attributes that are strings, got {odd!r:.40}; rename it")
    return nodes, edges


def cell_texts(array: Array, quote: Callable[[str], str]) -> list[str]:
    """Return the values (K,) as text; `quote` writes strings and numbers that are not finite."""
    kind = array.dtype.kind
    if kind == "U":
        return [quote(value) for value in array.tolist()]
    if kind == "b":
        return ["true" if value else "false" for value in array.tolist()]
    # numpy's text is the shortest that gives the same number of this precision again.
    texts: list[str] = array.astype(str).tolist()
    if kind == "f" and not np.isfinite(array).all():
        return [text if finite else quote(text) for text, finite in zip(texts, np.isfinite(array), strict=True)]
    return texts


def chunks(rows: int) -> Iterator[slice]:
    """Yield slices that cover so many rows, so that the text of a large graph is never in memory as a whole."""
    for start in range(0, rows, CHUNK):
        yield slice(start, min(start + CHUNK, rows))


@dataclass
class ColumnCells:
    """The cells of one attribute, as they were read: which rows have it, and the values."""

    rows: list[int] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, row: int, value: Any) -> None:
        """Add a cell."""
        self.rows.append(row)
        self.values.append(value)


def table_of(count: int, columns: Sequence[tuple[str, str, ColumnCells]], odd: dict[int, dict[str, Any]]) -> Columns:
    """Return a table of `count` rows from (name, dtype, cells) and what fits no column, such as very long strings.

    Raises
    ------
    FileFormatError
        If a row has an attribute twice, or a value is not of its dtype.
    """
    table = Columns(count)
    check_sparsity(
        [*(name for name, _, _ in columns), *(name for own in odd.values() for name in own)],
        count,
        sum(len(cells.rows) for _, _, cells in columns) + sum(map(len, odd.values())),
    )
    for name, word, cells in columns:
        if word == "str" and too_wide(count, max((len(v) for v in cells.values if type(v) is str), default=0)):
            for row, value in zip(cells.rows, cells.values, strict=True):
                odd.setdefault(row, {})[name] = value
            continue
        at, values = np.array(cells.rows, np.int64), as_array(cells.values, word)
        mask = np.zeros(count, bool)
        mask[at] = True
        if name in table.arrays or int(mask.sum()) < len(at):
            raise FileFormatError(f"expected each attribute once, got {name!r:.40} twice")
        array = np.zeros(count, values.dtype)
        array[at] = values
        table.arrays[name] = array
        if not mask.all():
            table.present[name] = mask
    for row, own in odd.items():
        for name in own:
            if name in table.arrays and table.present.get(name, np.ones(count, bool))[row]:
                raise FileFormatError(f"expected each attribute once, got {name!r:.40} of row {row} twice")
    table.exotic = odd
    return table


def guessed(values: list[Any]) -> str | None:
    """Return the dtype that holds values of a file that names none, or None."""
    array = common_array(values, len(values))
    return None if array is None else dtype_word(array, "a column")


# -- labels and the whole -------------------------------------------------------------------------------------


def label_value(label: Any) -> Any:
    """Return a label as JSON has it, tuples as lists; DtypeError if it is no plain value."""
    if isinstance(label, tuple) and type(label) is tuple:
        return [label_value(item) for item in label]
    if label is None or type(label) in (bool, int, str) or (type(label) is float and np.isfinite(label)):
        return label
    raise DtypeError(
        f"label {label!r:.40}: expected numbers, strings or tuples of them, got {type(label).__name__}; "
        "relabel the nodes, or save in the default format"
    )


def as_label(value: Any) -> Hashable:
    """Return the label that `label_value` wrote."""
    if isinstance(value, list):
        return tuple(as_label(item) for item in value)
    if isinstance(value, dict):
        raise FileFormatError("expected labels that are numbers, strings or lists of them, got an object")
    label: Hashable = value
    return label


def _names(labels: list[Hashable] | None, count: int) -> list[Hashable] | None:
    if labels is None:
        return None
    if len(set(labels)) != count or None in labels:
        raise FileFormatError("expected labels that are distinct and not None, got others")
    numbered = all(type(label) is int and label == k for k, label in enumerate(labels))
    return None if numbered else labels


def assembled(
    count: int,
    labels: list[Hashable] | None,
    src: Any,
    dst: Any,
    nodes: Columns,
    edges: Columns,
    attributes: Any,
    check: bool,
) -> CachedLayeredGraph:
    """Return the graph of what was read, edges in any order; an error if it is no graph or fails the check."""
    if type(count) is not int or not 0 <= count <= MAX_NODES:
        raise FileFormatError(f"expected a number of nodes from 0, got {count!r:.40}")
    if type(attributes) is not dict:
        raise FileFormatError("expected graph attributes by name, got something else")
    indptr, targets, order = compress(as_ids(src, count, "src"), as_ids(dst, count, "dst"), count, count, "graph")
    table = NodeTable(count, _names(labels, count))
    table.columns = nodes
    columns = edges if order is None else edges.take(order)
    g = CachedLayeredGraph._from_parts(
        table, FreeEdges(EdgeSet(indptr, targets, count, columns, name="graph")), attributes
    )
    if check:
        check_graph(g)
    return g


def encoded_attributes(g: ArrayGraph) -> dict[str, Node]:
    """Return the graph attributes by name; DtypeError names one that no text holds."""
    odd = next((key for key in g.graph if not isinstance(key, str)), None)
    if odd is not None:
        raise DtypeError(f"expected names of graph attributes that are strings, got {odd!r:.40}; rename it")
    encoder = InlineEncoder()
    return {key: encoder.encode(value, f"graph attribute {key!r}") for key, value in g.graph.items()}


def compact(value: Any) -> str:
    """Return a JSON value as text without spaces."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))

"""Attribute tables in files."""

from __future__ import annotations

from typing import Any

from deepgraph.errors import FileFormatError
from deepgraph.graph.columns import Columns
from deepgraph.graph.encoding import Decoder, Encoder, Node
from deepgraph.graph.file_checks import check_sparsity

__all__ = ["decode_table", "encode_table"]


def encode_table(encoder: Encoder, table: Columns, where: str) -> Node:
    """Return the node of a table: columns with their masks, and what fits no column row by row."""
    plain = table.copy()
    plain.gather()
    columns = [
        [name, encoder.put(array), encoder.put(plain.present[name]) if name in plain.present else None]
        for name, array in plain.arrays.items()
    ]
    exotic = [
        [row, [[encoder.encode(k, f"{where} {row}: key"), encoder.encode(v, f"{where} {row}: {k!r}")] for k, v in own]]
        for row, own in ((row, own.items()) for row, own in sorted(plain.exotic.items()))
    ]
    return {"columns": columns, "rest": exotic}


def decode_table(decoder: Decoder, node: Node, rows: int) -> Columns:
    """Return a table of `rows` rows; FileFormatError if it does not fit."""
    table = Columns(rows)
    for name, number, mask in node["columns"]:
        if not isinstance(name, str):
            raise FileFormatError(f"expected the name of a column, got {name!r:.40}")
        table.put(name, decoder.get(number, "biufU", (rows,)))
        if mask is not None:
            table.present[name] = decoder.get(mask, "b", (rows,)).copy()
    own: dict[int, dict[str, Any]] = {}
    for row, pairs in node["rest"]:
        if type(row) is not int or not 0 <= row < rows:
            raise FileFormatError(f"expected a row below {rows}, got {row!r:.40}")
        own[row] = {decoder.decode(key): decoder.decode(value) for key, value in pairs}
        for name in own[row]:
            mask = table.present.get(name)
            if name in table.arrays and (mask is None or mask[row]):
                raise FileFormatError(f"expected each attribute once, got {name!r:.40} of row {row} twice")
    check_sparsity((name for row in own.values() for name in row), rows, sum(map(len, own.values())))
    table.exotic = own
    return table

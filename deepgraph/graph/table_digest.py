"""A hash of an attribute table: equal for equal attributes, however they came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepgraph.graph.columns import Columns
from deepgraph.graph.scalars import canonical

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["update_hash"]


def update_hash(sha: _Hash, table: Columns) -> None:
    """Feed the attributes of a table into a hash."""
    table.gather()
    odd = {name for own in table.exotic.values() for name in own}
    plain = [name for name in table.arrays if table.live(name) and name not in odd]
    for name in sorted([*table.bound, *plain] if table.rows else []):
        _hash_column(sha, table, name)
    # Of a name whose values fit no array, some may lie in a column: which ones depends on the order of events.
    rows = {row: dict(own) for row, own in table.exotic.items()}
    for name in odd.intersection(table.arrays):
        for row in np.flatnonzero(table.present.get(name, np.ones(table.rows, bool))).tolist():
            rows.setdefault(row, {})[name] = table.arrays[name][row].item()
    for row, own in sorted(rows.items()):
        text = sorted((str(name), canonical(value)) for name, value in own.items())
        sha.update(f"{row} {text}".encode(errors="surrogatepass"))


def _hash_column(sha: _Hash, table: Columns, name: str) -> None:
    values = table.bound[name].read() if name in table.bound else table.arrays[name]
    mask = table.present.get(name)
    if mask is not None and not mask.all():
        values = np.where(mask, values, np.zeros((), values.dtype))
        sha.update(mask.tobytes())
    if values.dtype.kind == "U":
        values = values.astype(f"U{max(1, int(np.char.str_len(values).max()))}")
    sha.update(f"{name} {values.dtype}".encode(errors="surrogatepass") + np.ascontiguousarray(values).tobytes())

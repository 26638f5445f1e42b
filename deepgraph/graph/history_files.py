"""Histories in files: the pairs, rows and attributes of all edits, joined into a few arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from deepgraph.errors import FileFormatError
from deepgraph.graph.arrays import Array, read_only
from deepgraph.graph.encoding import Decoder, Encoder, Node
from deepgraph.graph.history import EdgeEdit, History, block_of_transactions
from deepgraph.graph.table_files import decode_table, encode_table

__all__ = ["decode_history", "encode_history", "ids", "ranks_of"]

_MAX_EDITS = 2**40
_PARTS = ("dropped", "grown")


def encode_history(encoder: Encoder, history: History, where: str, ranks: Mapping[int, int] | None = None) -> Node:
    """Return the node of a history.

    `ranks` numbers the transactions of several histories that belong together, so that the same edits give the same
    bytes in every process and parts of one edit stay together.
    """
    edits = list(history)
    ranks = ranks_of([history]) if ranks is None else ranks
    rests = [(k, part, getattr(edit, f"{part}_rest")) for k, edit in enumerate(edits) for part in _PARTS]
    return {
        "kind": "history",
        "steps": [None if edit.step is None else int(edit.step) for edit in edits],
        "reasons": [str(edit.reason) for edit in edits],
        "before": encoder.put(np.array([edit.num_before for edit in edits], np.int64)),
        "transactions": encoder.put(np.array([ranks[edit.transaction] for edit in edits], np.int64)),
        **{part: _encode_part(encoder, edits, part) for part in _PARTS},
        "rest": [[k, part, encode_table(encoder, rest, f"{where} {k}")] for k, part, rest in rests if rest is not None],
    }


def ranks_of(histories: Iterable[History]) -> dict[int, int]:
    """Return the rank of each transaction among those of several histories."""
    return {number: rank for rank, number in enumerate(sorted({e.transaction for h in histories for e in h}))}


def _encode_part(encoder: Encoder, edits: list[EdgeEdit], part: str) -> Node:
    pairs = [getattr(edit, part) for edit in edits]
    by_column: dict[tuple[str, str], list[tuple[int, Array]]] = {}
    for k, edit in enumerate(edits):
        for name, values in getattr(edit, f"{part}_columns").items():
            array = np.asarray(values)
            by_column.setdefault((name, array.dtype.str), []).append((k, array))
    return {
        "sizes": encoder.put(_joined([np.array([len(src) for src, _ in pairs])])),
        "src": encoder.put(_joined([src for src, _ in pairs])),
        "dst": encoder.put(_joined([dst for _, dst in pairs])),
        "rows": encoder.put(_joined([getattr(edit, f"{part}_rows") for edit in edits])),
        "columns": [
            [name, [k for k, _ in found], encoder.put(np.concatenate([values for _, values in found]))]
            for (name, _), found in by_column.items()
        ],
    }


def _joined(arrays: list[Array]) -> Array:
    """Return numbers from 0 in one array, of the narrowest type that holds them."""
    whole = np.concatenate([np.empty(0, np.int64), *arrays])
    return whole.astype(np.min_scalar_type(int(whole.max(initial=0))))


def ids(decoder: Decoder, number: Any, limit: int, what: str) -> Array:
    """Return an array (K,) of ids, refused unless they are integers in [0, limit)."""
    array = decoder.get(number, "iu", (None,))
    if array.size and (int(array.min()) < 0 or int(array.max()) >= limit):
        raise FileFormatError(f"expected each {what} in 0..{limit - 1}, got {int(array.min())}..{int(array.max())}")
    return array


def decode_history(
    decoder: Decoder,
    node: Node,
    num_sources: int,
    num_targets: int,
    num_edges: int | None = None,
    first: int | None = None,
) -> History:
    """Return a history whose edits follow on each other and end at `num_edges` edges.

    `first` is the transaction number of rank 0, for histories that belong together; by default a new one.
    """
    steps, reasons, count = node["steps"], node["reasons"], len(node["steps"])
    before = decoder.get(node["before"], "i", (count,))
    ranks = ids(decoder, node["transactions"], _MAX_EDITS, "transaction")
    first = block_of_transactions(int(ranks.max(initial=-1)) + 1) if first is None else first
    if len(ranks) != count or len(reasons) != count or not all(isinstance(reason, str) for reason in reasons):
        raise FileFormatError(f"expected {count} reasons and transactions, got others")
    if not all(step is None or type(step) is int for step in steps):
        raise FileFormatError("expected steps as integers, got others")
    parts = {part: _decode_part(decoder, node[part], count, num_sources, num_targets) for part in _PARTS}
    sizes = {part: np.array([len(one["rows"]) for one in found], np.int64) for part, found in parts.items()}
    after = before - sizes["dropped"] + sizes["grown"]
    follows = [*before.tolist()[1:], num_edges if num_edges is not None else (after.tolist() or [0])[-1]]
    if count and (after.tolist() != follows or before.min() < 0 or after.min() < 0):
        raise FileFormatError("expected edits that follow on each other, got a history with gaps")
    for part, limits in (("dropped", before), ("grown", after)):
        for one, limit in zip(parts[part], limits.tolist(), strict=True):
            if len(one["rows"]) and (one["rows"][-1] >= limit or (np.diff(one["rows"]) <= 0).any()):
                raise FileFormatError(f"expected {part} rows that ascend below {limit}, got others")
    for k, part, table in node["rest"]:
        parts[part][k]["rest"] = decode_table(decoder, table, len(parts[part][k]["rows"]))
    edits = []
    for k in range(count):
        dropped, grown = (parts[part][k] for part in _PARTS)
        edits.append(
            EdgeEdit(
                dropped=dropped["pairs"],
                grown=grown["pairs"],
                dropped_rows=dropped["rows"],
                grown_rows=grown["rows"],
                num_before=int(before[k]),
                dropped_columns=dropped["columns"],
                grown_columns=grown["columns"],
                step=steps[k],
                reason=reasons[k],
                transaction=first + int(ranks[k]),
                dropped_rest=dropped.get("rest"),
                grown_rest=grown.get("rest"),
            )
        )
    return History(edits)


def _decode_part(decoder: Decoder, node: Node, count: int, num_sources: int, num_targets: int) -> list[dict[str, Any]]:
    """Return pairs, rows and columns of one end of each edit."""
    sizes = ids(decoder, node["sizes"], 2**62, "size").tolist()
    total = sum(sizes)
    src = ids(decoder, node["src"], num_sources, "source").astype(np.int32)
    dst = ids(decoder, node["dst"], num_targets, "target").astype(np.int32)
    rows = ids(decoder, node["rows"], 2**62, "row").astype(np.int64)
    if len(sizes) != count or {len(src), len(dst), len(rows)} != {total}:
        raise FileFormatError(f"expected {count} edits of {total} edges, got others")
    ends = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)
    cuts = [slice(int(a), int(b)) for a, b in pairwise(ends)]
    parts: list[dict[str, Any]] = [
        {"pairs": (read_only(src[cut]), read_only(dst[cut])), "rows": read_only(rows[cut]), "columns": {}}
        for cut in cuts
    ]
    for name, at, number in node["columns"]:
        values = decoder.get(number, "biufU", (None,))
        if not isinstance(name, str) or len(values) != sum(sizes[k] for k in at):
            raise FileFormatError(f"expected values of the column {name!r:.40} for each edge of its edits, got others")
        start = 0
        for k in at:
            parts[k]["columns"][name] = read_only(values[start : start + sizes[k]].copy())
            start += sizes[k]
    return parts

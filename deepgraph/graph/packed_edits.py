"""`PackedEdits`: many edits in a few compressed arrays, for algorithms that edit at every step."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepgraph.graph.arrays import Array

if TYPE_CHECKING:
    from deepgraph.graph.history import EdgeEdit

__all__ = ["PackedEdits"]

NO_STEP = np.iinfo(np.int64).min
Pairs = tuple[Array, Array]


class PackedArray:
    """A compressed array in the narrowest type that holds it exactly; `unpack` gives it back.

    Parameters
    ----------
    array : (K,) array
    """

    __slots__ = ("bytes", "dtype", "narrow")

    def __init__(self, array: Array) -> None:
        self.dtype = array.dtype
        narrow = array
        if array.dtype.kind in "iu" and array.size and int(array.min()) >= 0:
            narrow = array.astype(np.min_scalar_type(int(array.max())))
        self.narrow = narrow.dtype
        self.bytes = zlib.compress(np.ascontiguousarray(narrow).tobytes(), 1)

    def unpack(self) -> Array:
        """Return the array, read-only."""
        found: Array = np.frombuffer(zlib.decompress(self.bytes), self.narrow).astype(self.dtype, copy=False)
        found.flags.writeable = False
        return found


class PackedSide:
    """What was dropped, or grown, by many edits.

    Parameters
    ----------
    pairs : sequence of (src, dst)
    rows : sequence of (K,) int64
    columns : sequence of dict
        All with the same names and types, or empty.
    """

    __slots__ = ("columns", "counts", "dst", "full", "rows", "src")

    def __init__(self, pairs: Sequence[Pairs], rows: Sequence[Array], columns: Sequence[Mapping[str, Array]]) -> None:
        self.counts = PackedArray(np.array([len(one) for one in rows], np.int64))
        self.src = PackedArray(np.concatenate([src for src, _ in pairs]))
        self.dst = PackedArray(np.concatenate([dst for _, dst in pairs]))
        self.rows = PackedArray(np.concatenate(rows))
        self.full = PackedArray(np.array([bool(one) for one in columns]))
        names = next((tuple(one) for one in columns if one), ())
        joined = {name: np.concatenate([np.asarray(one[name]) for one in columns if one]) for name in names}
        self.columns = {name: PackedArray(array) for name, array in joined.items()}

    def unpack(self) -> list[tuple[Pairs, Array, dict[str, Array]]]:
        """Return `((src, dst), rows, columns)` of each edit."""
        counts, full = self.counts.unpack(), self.full.unpack()
        ends = np.cumsum(counts)
        src, dst, rows = (np.split(part.unpack(), ends[:-1]) for part in (self.src, self.dst, self.rows))
        inner = np.cumsum(np.where(full, counts, 0))[:-1]
        columns = {name: np.split(array.unpack(), inner) for name, array in self.columns.items()}
        return [
            ((src[k], dst[k]), rows[k], {name: parts[k] for name, parts in columns.items()} if full[k] else {})
            for k in range(len(counts))
        ]

    @property
    def nbytes(self) -> int:
        """Bytes of the compressed arrays."""
        parts = (self.counts, self.src, self.dst, self.rows, self.full, *self.columns.values())
        return sum(len(part.bytes) for part in parts)


class PackedEdits:
    """Edits in compressed arrays.

    Parameters
    ----------
    edits : sequence of EdgeEdit
        Those for which `fits` holds.

    Attributes
    ----------
    count, num_dropped, num_grown : int
        Edits, and edges over all of them.
    last_transaction : int
        The highest transaction number.
    """

    __slots__ = ("before", "count", "dropped", "grown", "last_transaction", "num_dropped", "num_grown", "reasons",
                 "steps", "transactions", "which")  # fmt: skip

    def __init__(self, edits: Sequence[EdgeEdit]) -> None:
        self.count = len(edits)
        self.num_dropped, self.num_grown = (
            sum(getattr(edit, name) for edit in edits) for name in ("num_dropped", "num_grown")
        )
        self.last_transaction = max(edit.transaction for edit in edits)
        self.reasons = list(dict.fromkeys(edit.reason for edit in edits))
        place = {reason: index for index, reason in enumerate(self.reasons)}
        self.which = PackedArray(np.array([place[edit.reason] for edit in edits], np.int64))
        self.steps = PackedArray(np.array([NO_STEP if e.step is None else e.step for e in edits], np.int64))
        self.before = PackedArray(np.array([edit.num_before for edit in edits], np.int64))
        self.transactions = PackedArray(np.array([edit.transaction for edit in edits], np.int64))
        self.dropped = PackedSide(
            [e.dropped for e in edits], [e.dropped_rows for e in edits], [e.dropped_columns for e in edits]
        )
        self.grown = PackedSide(
            [e.grown for e in edits], [e.grown_rows for e in edits], [e.grown_columns for e in edits]
        )

    @staticmethod
    def fits(edits: Sequence[EdgeEdit]) -> bool:
        """Return whether edits can be packed together: alike in their columns, and nothing that fits no column."""
        for part in ("dropped", "grown"):
            if any(getattr(edit, f"{part}_rest") is not None for edit in edits):
                return False
            columns = [getattr(edit, f"{part}_columns") for edit in edits]
            kinds = {tuple((name, np.asarray(a).dtype.str) for name, a in one.items()) for one in columns if one}
            if len(kinds) > 1:
                return False
        return all(edit.step is None or isinstance(edit.step, (int, np.integer)) for edit in edits)

    def unpack(self, make: type[EdgeEdit]) -> list[EdgeEdit]:
        """Return the edits, equal to those that were packed in everything but identity; `make` is `EdgeEdit`."""
        steps, before, transactions, which = (
            part.unpack().tolist() for part in (self.steps, self.before, self.transactions, self.which)
        )
        return [
            make(
                dropped=dropped[0], grown=grown[0], dropped_rows=dropped[1], grown_rows=grown[1], num_before=before[k],
                dropped_columns=dropped[2], grown_columns=grown[2], step=None if steps[k] == NO_STEP else steps[k],
                reason=self.reasons[which[k]], transaction=transactions[k],
            )
            for k, (dropped, grown) in enumerate(zip(self.dropped.unpack(), self.grown.unpack(), strict=True))
        ]  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Bytes of the compressed arrays."""
        own = (self.which, self.steps, self.before, self.transactions)
        return sum(len(part.bytes) for part in own) + self.dropped.nbytes + self.grown.nbytes

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

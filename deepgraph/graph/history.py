"""What was edited and when: one `EdgeEdit` an edit, a `History` of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from deepgraph.graph.arrays import Array

if TYPE_CHECKING:
    from deepgraph.graph.columns import Columns

__all__ = ["EdgeEdit", "History", "block_of_transactions", "next_transaction"]


class _Serial:
    """Numbers that only rise, also above those that came in with a pickled history."""

    def __init__(self) -> None:
        self.last = 0

    def next(self) -> int:
        self.last += 1
        return self.last

    def rise_above(self, number: int) -> None:
        self.last = max(self.last, number)


_serial = _Serial()


def next_transaction() -> int:
    """Return a new transaction number; edits that belong together carry the same."""
    return _serial.next()


def block_of_transactions(count: int) -> int:
    """Return the first of `count` new transaction numbers in a row."""
    first = _serial.last + 1
    _serial.rise_above(_serial.last + count)
    return first


@dataclass(frozen=True, eq=False)
class EdgeEdit:
    """One atomic drop and grow of edges: the event that graph, module, optimizer and recorder follow.

    Attributes
    ----------
    dropped, grown : (src, dst), each (K,) int32
        Pairs that went and pairs that came, each in canonical order.
    dropped_rows : (K,) int64
        Where the dropped edges stood in the canonical order before the edit.
    grown_rows : (K,) int64
        Where the grown edges stand in the canonical order after it.
    dropped_columns, grown_columns : dict of str to (K,) array
        Attributes that all edges that went, or came, have.
    num_before : int
        Number of edges before the edit.
    step : int or None
        The training step, where there is one.
    reason : str
        Why: the name of an algorithm, or a user's words.
    transaction : int
        Edits of several edge sets made together share one number.
    dropped_rest, grown_rest : Columns or None
        Attributes that only some of the edges have, or that fit no array.
    """

    dropped: tuple[Array, Array]
    grown: tuple[Array, Array]
    dropped_rows: Array
    grown_rows: Array
    num_before: int
    dropped_columns: Mapping[str, Array] = field(default_factory=dict)
    grown_columns: Mapping[str, Array] = field(default_factory=dict)
    step: int | None = None
    reason: str = ""
    transaction: int = 0
    dropped_rest: Columns | None = None
    grown_rest: Columns | None = None

    @property
    def num_dropped(self) -> int:
        """Number of dropped edges."""
        return len(self.dropped_rows)

    @property
    def num_grown(self) -> int:
        """Number of grown edges."""
        return len(self.grown_rows)

    @property
    def num_after(self) -> int:
        """Number of edges after the edit."""
        return self.num_before - self.num_dropped + self.num_grown

    def gather(self) -> npt.NDArray[np.int64]:
        """Return for each edge after the edit (E,) its row before it, -1 for a grown edge."""
        result = np.empty(self.num_after, np.int64)
        is_new = np.zeros(self.num_after, bool)
        is_new[self.grown_rows] = True
        kept = np.ones(self.num_before, bool)
        kept[self.dropped_rows] = False
        result[is_new] = -1
        result[~is_new] = np.flatnonzero(kept)
        return result

    def inverse(self) -> tuple[tuple[Array, Array], tuple[Array, Array], dict[str, Any]]:
        """Return `(drop, grow, columns of the grown)` that take this edit back."""
        return self.grown, self.dropped, dict(self.dropped_columns)

    def __repr__(self) -> str:
        step = "" if self.step is None else f", step={self.step}"
        reason = f", reason={self.reason!r}" if self.reason else ""
        return f"EdgeEdit(dropped={self.num_dropped}, grown={self.num_grown}{step}{reason})"


class History(Sequence[EdgeEdit]):
    """The edits of a graph or an edge set, oldest first."""

    def __init__(self, edits: Sequence[EdgeEdit] = ()) -> None:
        self._edits = list(edits)

    @overload
    def __getitem__(self, index: int) -> EdgeEdit: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> EdgeEdit | History:
        if isinstance(index, slice):
            return History(self._edits[index])
        return self._edits[index]

    def __len__(self) -> int:
        return len(self._edits)

    def __iter__(self) -> Iterator[EdgeEdit]:
        return iter(self._edits)

    def append(self, edit: EdgeEdit) -> None:
        """Add the newest edit."""
        self._edits.append(edit)

    def pop(self) -> EdgeEdit:
        """Remove and return the newest edit."""
        return self._edits.pop()

    def clear(self) -> None:
        """Forget all edits."""
        self._edits.clear()

    @property
    def num_dropped(self) -> int:
        """Edges dropped over all edits."""
        return sum(edit.num_dropped for edit in self._edits)

    @property
    def num_grown(self) -> int:
        """Edges grown over all edits."""
        return sum(edit.num_grown for edit in self._edits)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Later edits of this process must count as later than those of the process that wrote the history.
        _serial.rise_above(max((edit.transaction for edit in self._edits), default=0))

    def __repr__(self) -> str:
        return f"History({len(self)} edits, {self.num_dropped} edges dropped, {self.num_grown} grown)"

"""What was edited and when: one `EdgeEdit` an edit, a `History` of them."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.graph.history_queries import EdgeDiff, Lifetimes, edge_lifetimes, edit_steps, net_change
from deepgraph.graph.packed_edits import PackedEdits
from deepgraph.graph.row_moves import RowMoves

if TYPE_CHECKING:
    from deepgraph.graph.array_graph import ArrayGraph
    from deepgraph.graph.columns import Columns

__all__ = ["EdgeEdit", "History", "block_of_transactions", "next_transaction"]


BLOCK = 256
"""Edits that are packed together; at least as many of the newest are kept as they are."""


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

    def moves(self) -> RowMoves:
        """Return where the edit leaves the rows of the edges; columns follow with `moves().apply(column)`."""
        return RowMoves(self.dropped_rows, self.grown_rows, self.num_before)

    def gather(self) -> Array:
        """Return for each edge after the edit (E,) its row before it, -1 for a grown edge; int32 where that fits."""
        return self.moves().gather()

    def inverse(self) -> tuple[tuple[Array, Array], tuple[Array, Array], dict[str, Any]]:
        """Return `(drop, grow, columns of the grown)` that take this edit back."""
        return self.grown, self.dropped, dict(self.dropped_columns)

    def __repr__(self) -> str:
        step = "" if self.step is None else f", step={self.step}"
        reason = f", reason={self.reason!r}" if self.reason else ""
        return f"EdgeEdit(dropped={self.num_dropped}, grown={self.num_grown}{step}{reason})"


class History(Sequence[EdgeEdit]):
    """The edits of a graph or an edge set, oldest first.

    Old edits are packed: an algorithm that edits at every step costs some hundred bytes for each. A packed edit that is
    asked for is a new object, equal in everything to the one that was made.

    Parameters
    ----------
    edits : iterable of EdgeEdit

    Attributes
    ----------
    removals : int
        How often edits were taken out; while it stays, the history has only grown.
    """

    def __init__(self, edits: Iterable[EdgeEdit] = ()) -> None:
        self.removals = 0
        self._blocks: list[PackedEdits | list[EdgeEdit]] = []
        self._starts: list[int] = []
        self._recent: list[EdgeEdit] = []
        self._opened: tuple[int, list[EdgeEdit]] | None = None
        for edit in edits:
            self.append(edit)

    @overload
    def __getitem__(self, index: int) -> EdgeEdit: ...
    @overload
    def __getitem__(self, index: slice) -> History: ...
    def __getitem__(self, index: int | slice) -> EdgeEdit | History:
        if isinstance(index, slice):
            return History(self[at] for at in range(*index.indices(len(self))))
        at = range(len(self))[index]
        packed = self._packed_count()
        if at >= packed:
            return self._recent[at - packed]
        block = bisect_right(self._starts, at) - 1
        return self._block(block)[at - self._starts[block]]

    def __len__(self) -> int:
        return self._packed_count() + len(self._recent)

    def __iter__(self) -> Iterator[EdgeEdit]:
        for block in range(len(self._blocks)):
            yield from _unpacked(self._blocks[block])
        yield from self._recent

    def _packed_count(self) -> int:
        return self._starts[-1] + _size(self._blocks[-1]) if self._blocks else 0

    def _block(self, block: int) -> list[EdgeEdit]:
        """Return the edits of a block; the one that was asked for last stays open."""
        if self._opened is None or self._opened[0] != block:
            self._opened = block, _unpacked(self._blocks[block])
        return self._opened[1]

    def append(self, edit: EdgeEdit) -> None:
        """Add the newest edit."""
        self._recent.append(edit)
        if len(self._recent) == 2 * BLOCK:
            old = self._recent[:BLOCK]
            self._starts.append(self._packed_count())
            self._blocks.append(PackedEdits(old) if PackedEdits.fits(old) else old)
            self._recent = self._recent[BLOCK:]

    def pop(self) -> EdgeEdit:
        """Remove and return the newest edit."""
        self.removals += 1
        if not self._recent and self._blocks:
            self._opened = None
            self._starts.pop()
            self._recent = _unpacked(self._blocks.pop())
        return self._recent.pop()

    def clear(self) -> None:
        """Forget all edits."""
        self.removals += 1
        self._blocks, self._starts, self._recent, self._opened = [], [], [], None

    def copy(self) -> History:
        """Return a history of the same edits; packed ones, which never change, are shared."""
        result = History()
        result._blocks, result._starts, result._recent = list(self._blocks), list(self._starts), list(self._recent)
        return result

    @property
    def num_dropped(self) -> int:
        """Edges dropped over all edits."""
        return self._total("num_dropped")

    @property
    def num_grown(self) -> int:
        """Edges grown over all edits."""
        return self._total("num_grown")

    def _total(self, name: str) -> int:
        parts: list[Any] = []
        for block in self._blocks:
            parts.extend([block] if isinstance(block, PackedEdits) else block)
        return sum(getattr(one, name) for one in (*parts, *self._recent))

    # -- questions ----------------------------------------------------------------------------------------------

    def diff(self, first: int | None = None, last: int | None = None) -> EdgeDiff:
        """Return `(dropped, grown)`, the net change of edges from the end of one step to the end of another.

        Parameters
        ----------
        first, last : int, optional
            Steps; default from before the first edit, and to after the newest. An edit without a step counts with
            the edit before it; where no edit has one, the number of the edit, from 0, is its step.

        Raises
        ------
        ArgumentError
            If `last` is before `first`.

        Examples
        --------
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> g = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
        >>> _ = g.edit(grow=([1], [2]), step=10), g.edit(drop=([0], [2]), step=20), g.edit(grow=([0], [2]), step=30)
        >>> g.history.diff(10, 20).dropped[0].tolist(), g.history.diff(10, 20).dropped[1].tolist()
        ([0], [2])
        >>> g.history.diff(10, 30).dropped[0].tolist()
        []
        """
        if first is not None and last is not None and last < first:
            raise ArgumentError(f"diff: expected the later step last, got first={first}, last={last}; swap them")
        steps = edit_steps(self)
        start = 0 if first is None else int(np.searchsorted(steps, first, side="right"))
        end = len(self) if last is None else int(np.searchsorted(steps, last, side="right"))
        return net_change(self[start:end])

    def lifetimes(self) -> Lifetimes:
        """Return `(birth, death, src, dst)`, each (K,): when the edges that some edit changed came and went.

        An edge that came back has a row for each span of its life. Births before the history and deaths that did not
        happen are -1; edges that no edit changed have no row. Steps are those of `diff`.

        Examples
        --------
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> g = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
        >>> _ = g.edit(drop=([0], [2]), step=20), g.edit(grow=([0], [2]), step=30)
        >>> birth, death, src, dst = g.history.lifetimes()
        >>> birth.tolist(), death.tolist(), src.tolist(), dst.tolist()
        ([-1, 30], [20, -1], [0, 0], [2, 2])
        """
        return edge_lifetimes(self, edit_steps(self))

    def replay(self, graph: ArrayGraph) -> ArrayGraph:
        """Make all edits in another graph, with their steps, reasons and columns, and return that graph.

        Parameters
        ----------
        graph : CachedLayeredGraph
            It has the edges that the history began with, and is changed; if an edit fails, those before it are undone.

        Raises
        ------
        EdgeError, CycleError, ArgumentError
            If an edit does not fit the graph.
        EditRefusedError
            If the graph is a view, or a module cannot follow.

        Examples
        --------
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> g = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
        >>> before = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
        >>> _ = g.edit(drop=([0], [2]), grow=([1], [2]), step=20)
        >>> list(g.history.replay(before).edges)
        [(0, 1), (1, 2)]
        """
        made = 0
        try:
            # A list of its own, since the history may be the one that the graph adds to.
            for edit in list(self):
                graph.repeat(edit)
                made += 1
        except Exception:
            for _ in range(made):
                graph.undo()
            raise
        return graph

    # -- files --------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the edits to a file of their own, at once or not at all: arrays in a zip, some bytes an edge.

        Raises
        ------
        DtypeError
            If a value of an attribute is of a kind that no file holds.

        Examples
        --------
        >>> import tempfile
        >>> from deepgraph.graph import CachedLayeredGraph
        >>> g = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
        >>> _ = g.edit(drop=([0], [2]), step=20)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     g.history.save(f"{folder}/edits.dg")
        ...     History.load(f"{folder}/edits.dg")[0]
        EdgeEdit(dropped=1, grown=0, step=20)
        """
        from deepgraph.graph.files import save_history

        save_history(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> History:
        """Return the history that `save` wrote; FileFormatError if the file is another."""
        from deepgraph.graph.files import load_history

        return load_history(path)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Later edits of this process must count as later than those of the process that wrote the history.
        plain = [edit for block in self._blocks if isinstance(block, list) for edit in block]
        packed = [block.last_transaction for block in self._blocks if isinstance(block, PackedEdits)]
        _serial.rise_above(max((*packed, *(edit.transaction for edit in (*plain, *self._recent))), default=0))

    def __repr__(self) -> str:
        return f"History({len(self)} edits, {self.num_dropped} edges dropped, {self.num_grown} grown)"


def _size(block: PackedEdits | list[EdgeEdit]) -> int:
    return block.count if isinstance(block, PackedEdits) else len(block)


def _unpacked(block: PackedEdits | list[EdgeEdit]) -> list[EdgeEdit]:
    return block.unpack(EdgeEdit) if isinstance(block, PackedEdits) else list(block)

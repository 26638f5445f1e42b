"""`RowMoves`: where an edit leaves the rows of the edges, and how a column follows."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from deepgraph.graph.arrays import Array
from deepgraph.graph.merging import loop_for

__all__ = ["GATHERED", "RowMoves"]

# Rows that are moved at once: what a block needs besides the column and its result stays in the processor's cache.
_BLOCK = 2**16
# Up to so many rows an index of them, which all columns then follow, costs little memory.
GATHERED = 2**21


class RowMoves:
    """Where each edge stands after an edit: dropped rows go, the others close up, grown rows come in between.

    Parameters
    ----------
    dropped : (K,) int64
        Rows before the edit, ascending.
    grown : (G,) int64
        Rows after the edit, ascending.
    num_before : int
        Number of rows before the edit.
    gather : (num_after,) int, optional
        What `gather` returns, where it is known.

    Examples
    --------
    Rows 0 and 3 of four go, and one comes in front of what is left:

    >>> moves = RowMoves(np.array([0, 3]), np.array([0]), 4)
    >>> moves.apply(np.array([1.0, 2.0, 3.0, 4.0]), fill=9).tolist()
    [9.0, 2.0, 3.0]
    >>> moves.gather().tolist(), moves.new_rows(np.array([1, 2])).tolist()
    ([-1, 1, 2], [1, 2])
    """

    def __init__(self, dropped: Array, grown: Array, num_before: int, gather: Array | None = None) -> None:
        self.dropped, self.grown, self.num_before = dropped, grown, num_before
        self.num_after = num_before - len(dropped) + len(grown)
        self._gather = gather

    @cached_property
    def _kept_below(self) -> Array:
        """Return how many rows that stay are below each grown one."""
        below: Array = self.grown - np.arange(len(self.grown))
        return below

    def new_rows(self, rows: Array) -> Array:
        """Return the rows after the edit of rows (K,) before it that were not dropped."""
        kept: Array = rows - np.searchsorted(self.dropped, rows)
        return kept + np.searchsorted(self._kept_below, kept, side="right")

    def apply(self, column: Array, fill: Any = 0, out: Array | None = None) -> Array:
        """Return a column (num_after,) of `column` (num_before,) after the edit; grown rows take `fill`.

        Parameters
        ----------
        column : (num_before,)
        fill : scalar
        out : (num_after,), optional
            Where to write the result; it must not overlap `column`.

        Notes
        -----
        O(E) copying in blocks: a block that the edit does not touch is copied as it is, and no index of all rows is
        made, whose memory would cost more than the moves. Where there is one already, it is followed.
        """
        result = np.empty(self.num_after, column.dtype) if out is None else out
        loop = loop_for("take", self.num_after) if self._gather is not None and self.num_before else None
        if loop is not None and column.dtype.kind in "iuf":
            loop(column, self._gather, result.dtype.type(fill), result)
            return result
        bounds = np.append(np.arange(0, self.num_before, _BLOCK), self.num_before)
        drops = np.searchsorted(self.dropped, bounds)
        kept = bounds - drops
        starts = kept + np.searchsorted(self._kept_below, kept, side="right")
        grows = np.searchsorted(self.grown, starts)
        result[: starts[0]] = fill
        plan = zip(*(ends[:-1].tolist() for ends in (bounds, drops, starts, grows)), strict=True)
        following = zip(*(ends[1:].tolist() for ends in (bounds, drops, starts, grows)), strict=True)
        for (row, drop, start, grow), (row_end, drop_end, end, grow_end) in zip(plan, following, strict=True):
            piece, place = column[row:row_end], result[start:end]
            if drop < drop_end:
                piece = piece[_all_but(len(piece), self.dropped[drop:drop_end] - row)]
            if grow < grow_end:
                new = self.grown[grow:grow_end] - start
                place[_all_but(len(place), new)] = piece
                place[new] = fill
            else:
                place[:] = piece
        return result

    def gather(self) -> Array:
        """Return for each row after the edit (num_after,) its row before it, -1 for a grown one; int32 if that fits."""
        if self._gather is None:
            kind = np.int32 if self.num_before < 2**31 else np.int64
            self._gather = self.apply(np.arange(self.num_before, dtype=kind), -1)
        return self._gather


def _all_but(count: int, rows: Array) -> Array:
    """Return a mask (count,) of all rows but `rows`."""
    mask = np.ones(count, bool)
    mask[rows] = False
    return mask

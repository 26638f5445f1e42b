"""`RowLayout`: the edges that an edit leaves, as compressed rows, and where each of them stood before."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deepgraph.errors import EdgeError
from deepgraph.graph import arrays as ea
from deepgraph.graph.arrays import Array
from deepgraph.graph.merging import loop_for
from deepgraph.graph.row_moves import GATHERED, RowMoves

if TYPE_CHECKING:
    from deepgraph.graph.edge_set import EdgeSet

__all__ = ["RowLayout", "laid_out"]


class RowLayout(NamedTuple):
    """What an edit leaves: compressed rows `indptr` (R + 1,) and `dst` (E,), and how columns follow."""

    indptr: Array
    dst: Array
    moves: RowMoves


def laid_out(edges: EdgeSet, dropped: Array, starts: Array, targets: Array) -> RowLayout:
    """Return the layout after some rows are dropped and pairs are grown.

    Parameters
    ----------
    edges : EdgeSet
    dropped : (K,) int64
        Rows, ascending.
    starts : (R + 1,) int64
    targets : (G,) int32
        The grown pairs as compressed rows.

    Raises
    ------
    EdgeError
        If a grown pair is an edge that stays.
    """
    before, after = edges.num_edges, edges.num_edges - len(dropped) + len(targets)
    loop = loop_for("merge", len(dropped) + len(targets)) if max(before, after) <= GATHERED else None
    if loop is not None:
        gone, indptr = np.zeros(before, np.uint8), np.empty(len(edges.indptr), np.int64)
        gone[dropped] = 1
        dst, gather = (np.empty(after + 1, np.int32) for _ in range(2))
        grown = np.empty(len(targets), np.int64)
        if not loop(edges.indptr, edges.dst, gone, starts, targets, grown, indptr, dst, gather):
            return RowLayout(indptr, dst[:after], RowMoves(dropped, ea.read_only(grown), before, gather[:after]))
    sources = ea.expand(starts)
    at = ea.lower_bound(edges.indptr, edges.dst, sources, targets)
    _refuse_existing(edges, sources, targets, at, dropped)
    # A grown edge stands behind the surviving edges below it and the grown edges before it.
    grown = at - np.searchsorted(dropped, at) + np.arange(len(at))
    moves = RowMoves(dropped, ea.read_only(grown), before)
    dst = moves.apply(edges.dst)
    dst[grown] = targets
    counts = np.bincount(ea.sources_of(edges.indptr, dropped), minlength=edges.num_sources)
    indptr = edges.indptr + starts - np.concatenate([[0], np.cumsum(counts)])
    return RowLayout(indptr, dst, moves)


def _refuse_existing(edges: EdgeSet, src: Array, dst: Array, at: Array, dropped: Array) -> None:
    """Raise `EdgeError` if a pair is an edge that is not dropped; `at` is where each pair stands or would stand."""
    exists = at < edges.indptr[src + 1]
    exists[exists] = edges.dst[at[exists]] == dst[exists]
    if len(dropped):
        here = at[exists]
        exists[exists] = dropped[np.minimum(np.searchsorted(dropped, here), len(dropped) - 1)] != here
    if exists.any():
        raise EdgeError(
            f"{edges.name}: grow: expected pairs that are no edges, got {int(exists.sum())} that exist: "
            f"{ea.show_pairs(src[exists], dst[exists])}"
        )

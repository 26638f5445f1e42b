"""What a history says as arrays: the net change between two steps, and when each edge lived."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from deepgraph.graph.arrays import Array, read_only

if TYPE_CHECKING:
    from deepgraph.graph.history import EdgeEdit

__all__ = ["EdgeDiff", "Lifetimes", "edge_lifetimes", "edit_steps", "net_change"]


class EdgeDiff(NamedTuple):
    """Edges that differ between two moments, each end as `(src, dst)`, (K,) int32 in canonical order."""

    dropped: tuple[Array, Array]
    grown: tuple[Array, Array]


class Lifetimes(NamedTuple):
    """Spans of life, one row each, in canonical order of the edges and each edge's spans in order of time.

    Attributes
    ----------
    birth : (K,) int64
        Step of the edit that grew the edge; -1 if it was there before the history began.
    death : (K,) int64
        Step of the edit that dropped it; -1 if it lives.
    src, dst : (K,) int32
        The edge, in positions.
    """

    birth: npt.NDArray[np.int64]
    death: npt.NDArray[np.int64]
    src: Array
    dst: Array


def edit_steps(edits: Iterable[EdgeEdit]) -> npt.NDArray[np.int64]:
    """Return the step of each edit (M,), ascending: the highest so far; the number of the edit if none has a step.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> g = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
    >>> _ = g.edit(grow=([1], [2]), step=10), g.edit(drop=([0], [2]))
    >>> edit_steps(g.history)
    array([10, 10])
    """
    steps = [edit.step for edit in edits]
    if all(step is None for step in steps):
        return np.arange(len(steps), dtype=np.int64)
    return np.maximum.accumulate(np.array([0 if step is None else step for step in steps], np.int64))


def _events(edits: Iterable[EdgeEdit]) -> tuple[Array, Array, Array]:
    """Return edge keys (V,), +1 for grown and -1 for dropped, and the number of the edit, in order of time."""
    keys, signs, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int8)], [np.empty(0, np.int64)]
    for number, edit in enumerate(edits):
        # An edge may be dropped and grown by the same edit, in that order.
        for (src, dst), sign in ((edit.dropped, -1), (edit.grown, 1)):
            keys.append(src.astype(np.int64) << 32 | dst)
            signs.append(np.full(len(src), sign, np.int8))
            numbers.append(np.full(len(src), number, np.int64))
    return np.concatenate(keys), np.concatenate(signs), np.concatenate(numbers)


def _ends(keys: Array) -> tuple[Array, Array]:
    return read_only((keys >> 32).astype(np.int32)), read_only((keys & 0xFFFFFFFF).astype(np.int32))


def net_change(edits: Iterable[EdgeEdit]) -> EdgeDiff:
    """Return what successive edits change when taken together; O(V log V) for V edges dropped and grown.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> g = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
    >>> _ = g.edit(grow=([1], [2])), g.edit(drop=([0, 1], [1, 2]))
    >>> net_change(g.history).dropped[1].tolist(), net_change(g.history).grown[1].tolist()
    ([1], [])
    """
    keys, signs, _ = _events(edits)
    edges, inverse = np.unique(keys, return_inverse=True)
    net = np.bincount(inverse, signs, minlength=len(edges))
    return EdgeDiff(_ends(edges[net < 0]), _ends(edges[net > 0]))


def edge_lifetimes(edits: Iterable[EdgeEdit], steps: npt.NDArray[np.int64]) -> Lifetimes:
    """Return the spans of life of all edges that edits speak of; `steps` (M,) are the edits' steps.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> g = CachedLayeredGraph.from_arrays([0, 0], [1, 2])
    >>> _ = g.edit(grow=([1], [2]))
    >>> edge_lifetimes(g.history, np.array([7])).birth
    array([7])
    """
    keys, signs, numbers = _events(edits)
    order = np.argsort(keys, kind="stable")
    keys, grows, when = keys[order], signs[order] > 0, steps[numbers[order]]
    # Events of an edge alternate, so the event behind a growth, if it is of the same edge, is its end.
    first = np.ones(len(keys), bool)
    first[1:] = keys[1:] != keys[:-1]
    death = np.full(len(keys), -1, np.int64)
    ended = np.flatnonzero(grows[:-1] & ~first[1:])
    death[ended] = when[ended + 1]
    born_before = first & ~grows
    death[born_before] = when[born_before]
    rows = grows | born_before
    birth = np.where(grows, when, -1)[rows]
    return Lifetimes(birth, death[rows], *_ends(keys[rows]))

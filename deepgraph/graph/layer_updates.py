"""Layers after an edit, from the layers before it: only nodes that the edit can have moved are looked at."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from deepgraph.graph.arrays import Array
from deepgraph.graph.layers import layer_index

__all__ = ["critical_counts", "updated_layers"]

Pairs = tuple[Array, Array]

# Fewer pending nodes than this are walked one by one: numpy's cost per call would exceed the work.
_NARROW = 64

# Edges that are looked at together.
_BLOCK = 2**18


def critical_counts(indptr: Array, dst: Array, layer: Array) -> Array:
    """Return for every node (N,) int32 how many of its predecessors lie in the layer just below its own.

    Examples
    --------
    >>> critical_counts(np.array([0, 2, 3, 3]), np.array([1, 2, 2]), np.array([0, 1, 2])).tolist()
    [0, 1, 1]
    """
    counted = np.zeros(len(layer), np.int32)
    # Block by block of edges, so that nothing of their number is made.
    bounds = np.searchsorted(indptr, np.arange(0, len(dst), _BLOCK), side="right") - 1
    for first, last in pairwise([*np.unique(bounds).tolist(), len(layer)]):
        targets = dst[indptr[first] : indptr[last]]
        below = np.repeat(layer[first:last] + 1, np.diff(indptr[first : last + 1])) == layer[targets]
        targets = targets[below]
        if targets.size:
            low = int(targets.min())
            here = np.bincount(targets - low)
            counted[low : low + len(here)] += here.astype(np.int32)
    return counted


def updated_layers(
    layer: Array,
    critical: Array,
    dropped: Pairs,
    grown: Pairs,
    indptr: Array,
    dst: Array,
    label: Callable[[int], object] = int,
) -> tuple[Array, Array]:
    """Return `(layer, critical)`, each (N,), after an edit; what is passed in stays as it is.

    Parameters
    ----------
    layer, critical : (N,)
        Before the edit; `critical` is what `critical_counts` gives.
    dropped, grown : (src, dst), each (K,)
        The edit.
    indptr : (N + 1,)
    dst : (E,)
        Compressed rows of the graph after the edit.
    label : callable
        What a message calls a position.

    Raises
    ------
    CycleError
        If the grown edges close a directed cycle; the message names one.

    Notes
    -----
    A grown edge that goes up in layer closes no cycle and moves no layer; a dropped edge moves one only if it was the
    last from the layer just below. Otherwise the nodes that can be reached from those heads are recomputed, or the
    whole graph when more than half of its edges leave such nodes. A few numpy calls on N and E, and work on the rest
    in proportion to what is recomputed.

    Examples
    --------
    The path 0, 1, 2 loses its first edge:

    >>> none = np.empty(0, np.int64)
    >>> layer, critical = np.array([0, 1, 2]), np.array([0, 1, 1])
    >>> one, two = np.array([0]), np.array([1])
    >>> updated_layers(layer, critical, (one, two), (none, none), np.array([0, 0, 1, 1]), np.array([2]))[0].tolist()
    [0, 0, 1]
    """
    counted = critical.copy()
    for (src, ends), sign in ((dropped, -1), (grown, 1)):
        np.add.at(counted, ends[layer[src] == layer[ends] - 1], sign)
    lower = dropped[1][(counted[dropped[1]] == 0) & (layer[dropped[1]] > 0)]
    higher = grown[1][layer[grown[0]] >= layer[grown[1]]]
    seeds = np.union1d(lower, higher).astype(np.int64)
    if not seeds.size:
        return layer, counted
    cone = _reached(indptr, dst, seeds, len(dst) // 2)
    recomputed = None if cone is None else _recompute(layer, counted, cone, indptr, dst, label)
    if recomputed is None:
        full = layer_index(indptr, dst, len(layer), label)
        return full, critical_counts(indptr, dst, full)
    return recomputed


def _reached(indptr: Array, dst: Array, seeds: Array, limit: int) -> Array | None:
    """Return a mask (N,) of `seeds` and all nodes reached from them; None if more than `limit` edges leave these."""
    seen = np.zeros(len(indptr) - 1, bool)
    seen[seeds] = True
    pending, work = seeds, 0
    bounds, targets, marks = indptr.data, dst.data, seen.data
    while pending.size:
        if pending.size < _NARROW:
            stack = pending.tolist()
            while 0 < len(stack) < _NARROW and work <= limit:
                u = stack.pop()
                start, stop = bounds[u], bounds[u + 1]
                work += stop - start
                for v in targets[start:stop]:
                    if not marks[v]:
                        marks[v] = True
                        stack.append(v)
            pending = np.array(stack, np.int64)
        else:
            rows = _rows_of(indptr, pending)
            work += len(rows)
            ends = dst[rows]
            pending = np.unique(ends[~seen[ends]]).astype(np.int64)
            seen[pending] = True
        if work > limit:
            return None
    return seen


def _rows_of(indptr: Array, nodes: Array) -> Array:
    """Return the rows (K,) of all edges that leave `nodes`, joined."""
    count = indptr[nodes + 1] - indptr[nodes]
    ends = np.cumsum(count)
    rows: Array = np.arange(int(count.sum())) + np.repeat(indptr[nodes] - (ends - count), count)
    return rows


def _recompute(
    layer: Array, critical: Array, cone: Array, indptr: Array, dst: Array, label: Callable[[int], object]
) -> tuple[Array, Array] | None:
    """Return `(layer, critical)` with the nodes of `cone` (N,) computed anew; None if a full pass is cheaper.

    Predecessors outside the cone keep their layers. They are stood for by a chain of nodes, one a layer, so that the
    longest paths in the cone are again the layers of a graph, a smaller one.
    """
    nodes = np.flatnonzero(cone)
    place = np.zeros(len(layer), np.int64)
    place[nodes] = np.arange(len(nodes))
    entering = np.flatnonzero(cone[dst])
    src = np.searchsorted(indptr, entering, side="right") - 1
    ends = place[dst[entering]]
    outside = ~cone[src]
    base = np.full(len(nodes), -1, np.int64)
    np.maximum.at(base, ends[outside], layer[src[outside]].astype(np.int64))
    fed = np.flatnonzero(base >= 0)
    # A node without any predecessor is in layer 0, below every chain.
    free = np.bincount(ends, minlength=len(nodes)) == 0
    low = 0 if free.any() or not fed.size else int(base[fed].min())
    length = int(base[fed].max()) - low + 1 if fed.size else 0
    inner = ~outside
    if int(inner.sum()) + length > len(dst) // 2:
        return None
    starts = np.concatenate(
        [place[src[inner]], len(nodes) + np.arange(max(length - 1, 0)), len(nodes) + base[fed] - low]
    )
    stops = np.concatenate([ends[inner], len(nodes) + np.arange(1, max(length, 1)), fed])
    order = np.argsort(starts, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(starts, minlength=len(nodes) + length))]).astype(np.int64)
    found = layer_index(bounds, stops[order], len(nodes) + length, lambda k: label(int(nodes[k])))
    result, counted = layer.copy(), critical.copy()
    result[nodes] = found[: len(nodes)] + low
    counted[nodes] = np.bincount(ends[result[src] == result[dst[entering]] - 1], minlength=len(nodes))
    return result, counted

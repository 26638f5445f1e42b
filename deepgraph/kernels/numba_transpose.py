"""The compiled loops that follow an edit: edges by target, and where panels begin. Importing it imports numba."""

from __future__ import annotations

from typing import Any

from deepgraph.kernels.numba_compile import compiled

__all__ = ["join", "panel_bounds", "transpose"]


def _transpose_loop(indptr: Any, target: Any, order: Any, bounds: Any, perm: Any, step: Any) -> None:
    """Fill bounds (N + 1,), perm (E,) and step (E,): the edges by the rank of their target, sources ascending.

    `step` is the rank of an edge's source minus that of its target; `target` (E,) are the ranks of targets in canonical
    order, of which those of position u are indptr[u]:indptr[u + 1]; `order` (N,) are positions by rank.
    """
    count = order.shape[0]
    bounds[:] = 0
    for e in range(target.shape[0]):
        bounds[target[e] + 1] += 1
    for rank in range(count):
        bounds[rank + 1] += bounds[rank]
    # While edges are written bounds[r] is where the next one into rank r goes; then it is where the next rank begins.
    for rank in range(count):
        for e in range(indptr[order[rank]], indptr[order[rank] + 1]):
            at = bounds[target[e]]
            perm[at], step[at] = e, rank - target[e]
            bounds[target[e]] = at + 1
    for rank in range(count, 0, -1):
        bounds[rank] = bounds[rank - 1]
    bounds[0] = 0


transpose = compiled(_transpose_loop)


def _join_loop(
    indptr: Any, dst: Any, row: int, column: int, begin: int, to: Any, up: Any, bounds: Any, perm: Any, down: Any
) -> None:
    """Write the edges of one set, compressed rows, from edge `begin` of the whole on, whose positions are ranks.

    In canonical order `to` (E,) are their targets and `up` (E,) the targets minus the sources. By target, sources
    ascending, `perm` (E,) are their numbers in canonical order and `down` (E,) the sources minus the targets.
    `bounds` (C + 1,) is where each of the set's targets, the first of which is `column`, begins in these two.
    """
    bounds[:] = 0
    for e in range(dst.shape[0]):
        bounds[dst[e] + 1] += 1
    bounds[0] = begin
    for v in range(1, bounds.shape[0]):
        bounds[v] += bounds[v - 1]
    # As in `transpose`, while edges are written bounds[v] is where the next one into v goes.
    for u in range(indptr.shape[0] - 1):
        for e in range(indptr[u], indptr[u + 1]):
            v, edge = dst[e], begin + e
            step, at = v + column - u - row, bounds[v]
            to[edge], up[edge] = v + column, step
            perm[at], down[at] = edge, -step
            bounds[v] = at + 1
    for v in range(bounds.shape[0] - 1, 0, -1):
        bounds[v] = bounds[v - 1]
    bounds[0] = begin


join = compiled(_join_loop)


def _panel_loop(indptr: Any, other: Any, begins: Any, rows: int, out: Any) -> None:
    """Fill out (N, P + 1): where the edges of each node whose `other` is at least begins[node] + p * rows begin.

    `other` (E,) ascends for each node, whose edges are indptr[node]:indptr[node + 1].
    """
    for node in range(out.shape[0]):
        at, end = indptr[node], indptr[node + 1]
        out[node, 0] = at
        for p in range(1, out.shape[1]):
            limit, below = begins[node] + p * rows, 0
            # Counting takes all at once; a search among so few would wait for each comparison.
            for e in range(at, end):
                below += other[e] < limit
            at += below
            out[node, p] = at


panel_bounds = compiled(_panel_loop)

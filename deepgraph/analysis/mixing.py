"""Who is joined to whom: the degrees at the two ends of an edge, and the club of the richest nodes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from deepgraph.analysis.degrees import degrees
from deepgraph.analysis.edges import FloatArray, IntArray, arrays_of
from deepgraph.errors import ArgumentError

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = ["assortativity", "rich_club", "rich_club_curve", "rich_nodes"]


def assortativity(graph: Source, source: str = "total", target: str = "total", weight: str | None = None) -> float:
    """Return the correlation in [-1, 1] of the degrees at the two ends of an edge; NaN where either never varies. O(E).

    Undirected with the default "total": every edge counts in both directions. With "in" or "out" the edge is
    directed, and the `source` degree of its source meets the `target` degree of its target.

    Parameters
    ----------
    source, target : {"in", "out", "total"}
        Which degree counts at either end.
    weight : None, "weight" or "abs"
        Degrees, or strengths: summed weights or magnitudes.

    Raises
    ------
    ArgumentError
        If `source`, `target` or `weight` is not one of these.
    MissingColumnError
        If the graph has no weights and they are asked for.

    References
    ----------
    Newman, "Mixing patterns in networks", Phys. Rev. E 67 (2003), 026126, equation 21.

    Examples
    --------
    A star is as disassortative as can be:

    >>> from deepgraph.analysis import EdgeArrays
    >>> round(assortativity(EdgeArrays.from_arrays([0, 0, 3], [1, 2, 0], 4)), 9)
    -1.0
    """
    view = arrays_of(graph)
    near, far = degrees(view, source, weight)[view.src], degrees(view, target, weight)[view.dst]
    if source == target == "total":
        near, far = np.concatenate([near, far]), np.concatenate([far, near])
    if near.size == 0:
        return math.nan
    near, far = near - near.mean(), far - far.mean()
    spread = float(near @ near) * float(far @ far)
    return float(near @ far) / math.sqrt(spread) if spread > 1e-20 * near.size**2 else math.nan


def rich_club_curve(graph: Source) -> tuple[IntArray, FloatArray]:
    """Return the degrees k (K,) and the density (K,) in [0, 1] among the nodes of total degree above k. Undirected.

    Only k that leave at least two nodes are listed.

    References
    ----------
    Colizza, Flammini, Serrano & Vespignani, Nature Physics 2 (2006), 110-115.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> k, club = rich_club_curve(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4))
    >>> k.tolist(), club.tolist()
    ([0, 1], [0.6666666666666666, 1.0])
    """
    view = arrays_of(graph)
    highest = int(view.degree.max(initial=0))
    ends = np.minimum(view.degree[view.src], view.degree[view.dst])
    above = _tail_counts(view.degree, highest)
    inside = _tail_counts(ends, highest)
    kept = np.flatnonzero(above > 1)
    size = above[kept].astype(np.float64)
    return kept, 2.0 * inside[kept] / (size * (size - 1))


def _tail_counts(values: IntArray, highest: int) -> IntArray:
    """Return how many of `values` exceed each k in 0..highest, (highest + 1,)."""
    counts = np.bincount(values, minlength=highest + 1)
    tail: IntArray = len(values) - np.cumsum(counts)
    return tail


def rich_club(graph: Source, share: float = 0.1) -> float:
    """Return the density in [0, 1] among the richest nodes: those of highest degree, at least `share` of all.

    Undirected. The club is cut at a degree, so that ties are in together. NaN with fewer than two nodes in it.
    To be read against its value in a null model; a report gives both. Where the richest nodes all lie in one stage, as
    in many layered nets, it is 0 by construction, and a report leaves it out and says so.

    Parameters
    ----------
    share : float
        Share of the nodes in (0, 1] that the club must hold.

    Raises
    ------
    ArgumentError
        If `share` is outside (0, 1].

    References
    ----------
    Colizza, Flammini, Serrano & Vespignani, Nature Physics 2 (2006), 110-115.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> rich_club(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4), share=0.5)
    1.0
    """
    view = arrays_of(graph)
    club = rich_nodes(view, share)
    if len(club) < 2:
        return math.nan
    inside = np.zeros(view.num_nodes, np.bool_)
    inside[club] = True
    return 2.0 * int(np.count_nonzero(inside[view.src] & inside[view.dst])) / (len(club) * (len(club) - 1))


def rich_nodes(graph: Source, share: float = 0.1) -> IntArray:
    """Return the positions (K,) of the nodes of highest total degree: at least `share` of all and two, ties included.

    Raises
    ------
    ArgumentError
        If `share` is outside (0, 1].

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> rich_nodes(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4), share=0.5).tolist()
    [0, 1, 2]
    """
    if not 0.0 < share <= 1.0:
        raise ArgumentError(f"share must be in (0, 1], got {share}")
    view = arrays_of(graph)
    if view.num_nodes < 2:
        return np.arange(view.num_nodes)
    wanted = max(2, math.ceil(share * view.num_nodes))
    limit = int(np.partition(view.degree, view.num_nodes - wanted)[view.num_nodes - wanted])
    return np.flatnonzero(view.degree >= limit)

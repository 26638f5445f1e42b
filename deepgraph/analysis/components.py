"""Undirected connectivity: weakly connected components and k-cores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csgraph

from deepgraph.analysis.edges import BoolArray, IntArray, arrays_of

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = [
    "component_labels",
    "components",
    "core_numbers",
    "core_share",
    "largest_component",
    "largest_component_share",
    "max_core",
]

# A peel that touches fewer edge ends than this is walked one by one: numpy's cost per call would exceed the work.
_NARROW = 256


def component_labels(graph: Source) -> IntArray:
    """Return the weakly connected component of every node (N,), numbered from 0.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> component_labels(EdgeArrays.from_arrays([0], [1], 3)).tolist()
    [0, 0, 1]
    """
    view = arrays_of(graph)
    return view.once(
        "components", lambda: csgraph.connected_components(view.out_csr, directed=True, connection="weak")[1]
    )


def components(graph: Source) -> int:
    """Return the number of weakly connected components; an isolated node is one.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> components(EdgeArrays.from_arrays([0], [1], 3))
    2
    """
    return int(component_labels(graph).max(initial=-1)) + 1


def largest_component(graph: Source) -> BoolArray:
    """Return for every node (N,) whether it is in the largest component; of equals, in the one of the first node.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> largest_component(EdgeArrays.from_arrays([0], [1], 3)).tolist()
    [True, True, False]
    """
    labels = component_labels(graph)
    if labels.size == 0:
        return np.zeros(0, dtype=np.bool_)
    sizes = np.bincount(labels)
    tied = sizes[labels] == sizes.max()
    largest: BoolArray = labels == labels[np.argmax(tied)]
    return largest


def largest_component_share(graph: Source) -> float:
    """Return the share in [0, 1] of nodes in the largest component; NaN without nodes.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> largest_component_share(EdgeArrays.from_arrays([0], [1], 4))
    0.5
    """
    members = largest_component(graph)
    return float(members.mean()) if members.size else math.nan


def core_numbers(graph: Source) -> IntArray:
    """Return for every node (N,) the largest k such that it is in a subgraph of minimal degree k. Undirected.

    References
    ----------
    Seidman, Social Networks 5 (1983), 269-287; peeling as in Batagelj & Zaversnik (2003).

    Notes
    -----
    Nodes of degree at most k are peeled off in rounds; wide rounds take a few numpy calls, narrow ones a plain loop,
    so that long chains cost no numpy call per node.

    Examples
    --------
    A triangle with a tail:

    >>> from deepgraph.analysis import EdgeArrays
    >>> core_numbers(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4)).tolist()
    [2, 2, 2, 1]
    """
    view = arrays_of(graph)

    def build() -> IntArray:
        adjacency = view.both_csr
        left = view.degree.astype(np.int64)
        core = np.full(view.num_nodes, -1, dtype=np.int64)
        waiting = np.arange(view.num_nodes)
        k = 0
        while waiting.size:
            k = max(k, int(left[waiting].min()))
            _peel(adjacency.indptr, adjacency.indices, left, core, waiting[left[waiting] <= k], k)
            waiting = waiting[core[waiting] < 0]
        return core

    return view.once("core", build)


def _peel(indptr: IntArray, indices: IntArray, left: IntArray, core: IntArray, frontier: IntArray, k: int) -> None:
    """Give core number `k` to the frontier and to all that falls to degree k with it, in place."""
    while frontier.size:
        core[frontier] = k
        count = indptr[frontier + 1] - indptr[frontier]
        total = int(count.sum())
        if total < _NARROW:
            frontier = _peel_narrow(indptr, indices, left, core, frontier.tolist(), k)
            continue
        ends = np.cumsum(count)
        touched = indices[np.arange(total) + np.repeat(indptr[frontier] - (ends - count), count)]
        touched, times = np.unique(touched[core[touched] < 0], return_counts=True)
        left[touched] -= times
        frontier = touched[left[touched] <= k]


def _peel_narrow(
    indptr: IntArray, indices: IntArray, left: IntArray, core: IntArray, frontier: list[int], k: int
) -> IntArray:
    """Peel node by node while the frontier is narrow; return the next wide frontier."""
    bounds, ends, remaining, given = (array.data for array in (indptr, indices, left, core))
    while frontier and len(frontier) < _NARROW:
        following: list[int] = []
        for u in frontier:
            for v in ends[bounds[u] : bounds[u + 1]]:
                if given[v] < 0:
                    remaining[v] -= 1
                    if remaining[v] <= k:
                        given[v] = k
                        following.append(v)
        frontier = following
    return np.array(frontier, dtype=np.int64)


def max_core(graph: Source) -> int:
    """Return the largest k for which the undirected graph has a k-core; 0 without edges.

    References
    ----------
    Seidman, Social Networks 5 (1983), 269-287.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> max_core(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4))
    2
    """
    return int(core_numbers(graph).max(initial=0))


def core_share(graph: Source) -> float:
    """Return the share in (0, 1] of nodes in the innermost core; NaN without nodes.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> core_share(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4))
    0.75
    """
    core = core_numbers(graph)
    return float((core == core.max()).mean()) if core.size else math.nan

"""Undirected connectivity: weakly connected components and k-cores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from deepgraph.analysis.edges import BoolArray, IntArray, arrays_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deepgraph.analysis.edges import Source

    Words = npt.NDArray[np.uint64]

__all__ = [
    "component_labels",
    "components",
    "core_numbers",
    "core_share",
    "in_largest",
    "largest_component",
    "largest_component_share",
    "max_core",
]

# A peel that touches fewer edge ends than this is walked one by one: numpy's cost per call would exceed the work.
_NARROW = 256
# Rounds of colours that tell components of one size apart.
_ROUNDS = 3


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
    """Return for every node (N,) whether it is in the largest component, the one with most nodes, then edges.

    Of equals the structure decides, not the numbering of nodes; of equal structures, the first node.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> largest_component(EdgeArrays.from_arrays([0], [1], 3)).tolist()
    [True, True, False]
    """
    view = arrays_of(graph)
    labels = component_labels(graph)
    return view.once("largest", lambda: in_largest(labels, np.zeros_like(labels), view.both_csr))


def in_largest(
    label: IntArray,
    group: IntArray,
    adjacency: sparse.csr_array,
    kind: IntArray | None = None,
    then: Sequence[npt.NDArray[np.generic]] = (),
) -> BoolArray:
    """Return for every node (N,) whether it is in the largest component of its group.

    Parameters
    ----------
    label : np.ndarray, shape (N,), int64
        Components, numbered from 0.
    group : np.ndarray, shape (N,), int64
        The same number in all nodes of a component.
    adjacency : csr_array, shape (N, N)
        Symmetric.
    kind : np.ndarray, shape (N,), int64, optional
        What tells nodes apart but for their edges.
    then : sequence of np.ndarray, shape (C,)
        What decides between components with as many nodes and edges, the most important first. After it comes a
        signature of their structure, so that the choice does not depend on the numbering of nodes.
    """
    size = np.bincount(label)
    degree = np.diff(adjacency.indptr)
    keys = [size, np.bincount(label, weights=degree), *then]
    group_of = np.zeros(len(size), dtype=np.int64)
    group_of[label] = group
    order = np.lexsort([*(-key for key in reversed(keys)), group_of])
    first = np.diff(group_of[order], prepend=-1) != 0
    # A component that equals the one before it in all keys may tie with the first one of its group.
    same = ~first & np.all([np.diff(key[order], prepend=0) == 0 for key in keys], axis=0)
    tied = np.zeros(len(size), dtype=np.bool_)
    tied[order] = same | np.append(same[1:], False)
    if tied.any():
        signature = np.zeros(len(size), dtype=np.uint64)
        nodes = np.flatnonzero(tied[label])
        colour = _colours(adjacency[nodes][:, nodes], None if kind is None else kind[nodes])
        np.add.at(signature, label[nodes], colour)
        order = np.lexsort([signature, *(-key for key in reversed(keys)), group_of])
    kept = np.zeros(len(size), dtype=np.bool_)
    kept[order[first]] = True
    found: BoolArray = kept[label]
    return found


def _colours(adjacency: sparse.csr_array, kind: IntArray | None) -> Words:
    """Return a number (N,) for the neighbourhood of each node, the same in every numbering (Weisfeiler and Leman)."""
    colour = _mixed(np.diff(adjacency.indptr).astype(np.uint64))
    if kind is not None:
        colour = _mixed(colour + kind.astype(np.uint64))
    ones = sparse.csr_array(
        (np.ones(adjacency.nnz, dtype=np.uint64), adjacency.indices, adjacency.indptr), shape=adjacency.shape
    )
    for _ in range(_ROUNDS):
        around: Words = np.asarray(ones @ colour)
        colour = _mixed(colour ^ _mixed(around))
    return colour


def _mixed(words: Words) -> Words:
    """Return uint64 words whose bits depend on all bits of those given (splitmix64, Steele et al. 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


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

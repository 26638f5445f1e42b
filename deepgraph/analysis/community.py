"""Modularity of the best partition that Louvain finds."""

from __future__ import annotations

import importlib
import importlib.util
import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from deepgraph.analysis.dense import DENSE_LIMIT, without_dense_pairs
from deepgraph.analysis.edges import EdgeArrays, FloatArray, IntArray, arrays_of
from deepgraph.errors import ArgumentError, MissingDependencyError, TooLargeError
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source
    from deepgraph.graph.sampling import Seed

__all__ = ["LOUVAIN_LIMIT", "louvain", "modularity", "modularity_of"]

LOUVAIN_LIMIT = 200_000
# A pass over all nodes that gains less modularity than this is the last of its level.
_SMALLEST_GAIN = 1e-6


def modularity(
    graph: Source,
    weight: str | None = None,
    seed: Seed = None,
    dense_limit: float = DENSE_LIMIT,
    library: str = "deepgraph",
) -> float:
    """Return the modularity in [-1/2, 1] of the partition that Louvain finds; NaN without edges.

    Undirected. Stage pairs denser than `dense_limit` are left out.

    Parameters
    ----------
    weight : None, "weight" or "abs"
        What an edge counts; weights must not be negative.
    library : {"deepgraph", "networkit"}
        Louvain as implemented here takes up to 200,000 edges; networkit's Leiden, where installed, any number. They
        find different partitions of nearly the same modularity, so one study should use one of them throughout.

    Raises
    ------
    ArgumentError
        If a weight is negative, or `library` is neither.
    TooLargeError
        If more than 200,000 edges are to be partitioned here.
    MissingDependencyError
        If networkit is asked for and not installed.

    References
    ----------
    Blondel, Guillaume, Lambiotte & Lefebvre, J. Stat. Mech. (2008), P10008.

    Examples
    --------
    Two separate edges are two communities:

    >>> from deepgraph.analysis import EdgeArrays
    >>> modularity(EdgeArrays.from_arrays([0, 2], [1, 3], 4), seed=0)
    0.5
    """
    if library not in ("deepgraph", "networkit"):
        raise ArgumentError(f'library must be "deepgraph" or "networkit", got {library!r}')
    view, _ = without_dense_pairs(arrays_of(graph), dense_limit)
    values = view.amounts(weight)
    if not values.any():
        return math.nan
    number = int(as_generator(seed).integers(2**31))
    if library == "networkit":
        return _by_networkit(view, values, number)
    return modularity_of(view, louvain(view, weight, number), weight)


def louvain(graph: Source, weight: str | None = None, seed: Seed = None) -> IntArray:
    """Return the community (N,), numbered from 0, of every node in the partition that Louvain finds. Undirected.

    Every move raises the modularity, so that the search ends on every graph; networkx 3.6 circles on some.

    Raises
    ------
    ArgumentError
        If a weight is negative.
    TooLargeError
        If there are more than 200,000 edges.

    References
    ----------
    Blondel, Guillaume, Lambiotte & Lefebvre, J. Stat. Mech. (2008), P10008, section 2.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> louvain(EdgeArrays.from_arrays([0, 0, 1, 3, 3, 4, 2], [1, 2, 2, 4, 5, 5, 3], 6), seed=0).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    view = arrays_of(graph)
    if view.num_edges > LOUVAIN_LIMIT:
        raise TooLargeError(
            f"expected at most {LOUVAIN_LIMIT:,} edges to partition, got {view.num_edges:,}; "
            'install networkit and take modularity(graph, library="networkit")'
        )
    rng, size = as_generator(seed), view.num_nodes
    half = sparse.csr_array((view.amounts(weight), (view.src, view.dst)), shape=(size, size))
    adjacency = sparse.csr_array(half + half.T)
    community = np.arange(size)
    while adjacency.sum() > 0:
        moved = np.array(_move_nodes(adjacency, rng.permutation(adjacency.shape[0]).tolist()))
        names, merged = np.unique(moved, return_inverse=True)
        community = merged[community]
        if len(names) == adjacency.shape[0]:
            break
        join = sparse.csr_array(
            (np.ones(len(merged)), (merged, np.arange(len(merged)))), shape=(len(names), len(merged))
        )
        adjacency = sparse.csr_array(join @ adjacency @ join.T)
    # Numbered by first member, whatever the order of the search.
    _, first, number = np.unique(community, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    renamed: IntArray = rank[number]
    return renamed


def _move_nodes(adjacency: sparse.csr_array, order: list[int]) -> list[int]:
    """Return the community of each node after moving nodes, in `order`, to where modularity gains most.

    A plain loop: each move depends on all moves before it.
    """
    strength = np.asarray(adjacency.sum(axis=1)).tolist()
    total = float(adjacency.sum())
    bounds, ends, weights = (part.tolist() for part in (adjacency.indptr, adjacency.indices, adjacency.data))
    community = list(range(len(strength)))
    mass = list(strength)
    gained = math.inf
    while gained > _SMALLEST_GAIN * total:
        gained = 0.0
        for u in order:
            links: dict[int, float] = {}
            for at in range(bounds[u], bounds[u + 1]):
                v = ends[at]
                if v != u:
                    links[community[v]] = links.get(community[v], 0.0) + weights[at]
            own, share = community[u], strength[u] / total
            mass[own] -= strength[u]
            stay = best = links.get(own, 0.0) - share * mass[own]
            target = own
            for other, weight in links.items():
                worth = weight - share * mass[other]
                if worth > best + 1e-12 * total:
                    best, target = worth, other
            mass[target] += strength[u]
            community[u] = target
            gained += 2.0 * (best - stay)
    return community


def modularity_of(graph: Source, community: IntArray, weight: str | None = None) -> float:
    """Return the modularity in [-1/2, 1] of a partition given as the community (N,) of every node; NaN without edges.

    Raises
    ------
    ArgumentError
        If `community` has not one entry per node, or a weight is negative.

    References
    ----------
    Newman, Phys. Rev. E 69 (2004), 066133, equation 7.

    Examples
    --------
    >>> import numpy as np
    >>> from deepgraph.analysis import EdgeArrays
    >>> modularity_of(EdgeArrays.from_arrays([0, 2], [1, 3], 4), np.array([0, 0, 1, 1]))
    0.5
    """
    view = arrays_of(graph)
    if np.shape(community) != (view.num_nodes,):
        raise ArgumentError(
            f"community must have one entry per node ({view.num_nodes},), got shape {np.shape(community)}"
        )
    values = view.amounts(weight)
    total = float(values.sum())
    if total == 0.0:
        return math.nan
    number = np.unique(community, return_inverse=True)[1]
    near, far = number[view.src], number[view.dst]
    inside = float(values[near == far].sum()) / total
    ends = np.bincount(near, weights=values, minlength=view.num_nodes)
    ends += np.bincount(far, weights=values, minlength=view.num_nodes)
    return inside - float(((ends / (2 * total)) ** 2).sum())


def _by_networkit(view: EdgeArrays, values: FloatArray, seed: int) -> float:
    """Return the modularity that networkit's Leiden finds, on one thread so that the seed decides."""
    if importlib.util.find_spec("networkit") is None:
        raise MissingDependencyError(
            'library="networkit" needs networkit, which is not installed; pip install networkit, or leave library out'
        )
    networkit = importlib.import_module("networkit")
    threads = networkit.getMaxNumberOfThreads()
    networkit.setNumberOfThreads(1)
    try:
        networkit.setSeed(seed, False)
        ends = (view.src.astype(np.uint64), view.dst.astype(np.uint64))
        undirected = networkit.GraphFromCoo((values, ends), n=view.num_nodes, weighted=True)
        # Not its Louvain: that visits nodes in stored order and finds .50 where .64 is there, on a small world.
        search = networkit.community.ParallelLeiden(undirected, randomize=True)
        search.run()
        return float(networkit.community.Modularity().getQuality(search.getPartition(), undirected))
    finally:
        networkit.setNumberOfThreads(threads)

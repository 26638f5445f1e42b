"""Which nodes matter: betweenness and closeness from sampled sources with a stated bound, PageRank."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from deepgraph.analysis.components import largest_component
from deepgraph.analysis.edges import EdgeArrays, FloatArray, IntArray, arrays_of, ratio
from deepgraph.errors import ArgumentError, TooLargeError
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source
    from deepgraph.graph.sampling import Seed

__all__ = ["Centrality", "betweenness", "closeness", "pagerank"]

# Searches that run at once, and the edges that these may walk: about 40 bytes each.
_BATCH, _BATCH_EDGES = 32, 8_000_000
# Edges that all searches together may walk: some minutes of one core.
_WORK_LIMIT = 10**10
_DEEPEST = 20_000


@dataclass(frozen=True, eq=False)
class Centrality:
    """A centrality of every node, from all sources or from a sample of them.

    Attributes
    ----------
    values : (N,) float
        NaN for nodes that it is not defined for.
    error : (N,) float
        Standard error of each value from the sampling of sources; 0 where every node was a source.
    bound : float
        With probability .95 no value is farther than this from the exact one (for closeness: no mean distance).
    sources : int
        Sources searched from.
    nodes : int
        Nodes there were to search from.
    """

    values: FloatArray
    error: FloatArray
    bound: float
    sources: int
    nodes: int


def betweenness(graph: Source, sources: int = 256, seed: Seed = None) -> Centrality:
    """Return the share in [0, 1] of shortest directed paths that pass through each node (N,), ends not counted.

    Averaged over all ordered pairs of other nodes, pairs without a path counting 0, as networkx normalises it.

    Parameters
    ----------
    sources : int
        Number of sources, drawn without replacement; all nodes where there are no more.
    seed : int, Generator or None
        Of the draw.

    Raises
    ------
    ArgumentError
        If `sources` is below 2.
    TooLargeError
        If the sources would walk more than 1e10 edges, or shortest paths have 20,000 edges or more.

    References
    ----------
    .. [1] Brandes, "A faster algorithm for betweenness centrality", J. Math. Sociol. 25 (2001), 163-177.
    .. [2] Brandes & Pich, "Centrality estimation in large networks", Int. J. Bifurcation Chaos 17 (2007): the sample of
       sources and its bound by Hoeffding's inequality, here over all N nodes at once.

    Notes
    -----
    O(E) per source. Up to 32 searches run at once, so that deep graphs take few numpy calls per level.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> chain = betweenness(EdgeArrays.from_arrays([0, 1], [1, 2], 3))
    >>> chain.values.tolist(), chain.bound
    ([0.0, 0.5, 0.0], 0.0)
    """
    view = arrays_of(graph)
    size = view.num_nodes
    chosen = _chosen(size, sources, seed)
    if view.num_edges * len(chosen) > _WORK_LIMIT:
        raise TooLargeError(
            f"expected searches that walk at most {_WORK_LIMIT:.0e} edges, got {len(chosen):,} sources in a graph of "
            f"{view.num_edges:,} edges; take fewer sources"
        )
    total, squares = np.zeros(size), np.zeros(size)
    if size > 2:
        batch = max(1, min(_BATCH, _BATCH_EDGES // max(size, view.num_edges)))
        for low in range(0, len(chosen), batch):
            share = _dependencies(view, chosen[low : low + batch]) / (size - 2)
            total += share.sum(axis=1)
            squares += (share**2).sum(axis=1)
    count = max(len(chosen), 1)
    # A node is never between itself and another: the mean over sources leaves one of them out.
    scale = size / max(size - 1, 1)
    mean = total / count
    variance = np.maximum(squares / count - mean**2, 0.0) * count / max(count - 1, 1)
    error = scale * np.sqrt(variance / count * (1 - count / max(size, 1)))
    bound = 0.0 if count >= size else scale * _hoeffding(size, count)
    return Centrality(scale * mean, error, bound, len(chosen), size)


def _chosen(size: int, sources: int, seed: Seed) -> IntArray:
    """Return the sources, ascending."""
    if sources < 2:
        raise ArgumentError(f"sources must be at least 2, to state an error, got {sources}")
    every = np.arange(size)
    return every if size <= sources else np.sort(as_generator(seed).choice(size, sources, replace=False))


def _hoeffding(values: int, samples: int, probability: float = 0.95) -> float:
    """Return how far a mean of `samples` draws in [0, 1] may be off, for `values` such means at once."""
    return math.sqrt(math.log(2 * values / (1 - probability)) / (2 * samples))


def _dependencies(view: EdgeArrays, sources: IntArray) -> FloatArray:
    """Return for each node and source (N, K) the summed shares of the source's shortest paths that pass the node.

    The searches run as one, over keys search * N + node, and walk each edge once on the way out and once back.
    """
    size, count = view.num_nodes, len(sources)
    level = np.full(count * size, -1, dtype=np.int32)
    place = np.empty(count * size, dtype=np.int32)
    paths, passed = np.zeros(count * size), np.zeros(count * size)
    frontiers: list[IntArray] = [np.arange(count) * size + sources]
    level[frontiers[0]], paths[frontiers[0]] = 0, 1.0
    # Numbers of paths grow exponentially with depth: each level is scaled, and only ratios of neighbours are used.
    scales = [np.ones(count)]
    while True:
        tail, head = _steps_out(view, frontiers[-1])
        fresh = level[head] < 0
        tail, head = tail[fresh], head[fresh]
        if not head.size:
            break
        if len(frontiers) == _DEEPEST:
            raise TooLargeError(
                f"expected shortest paths of fewer than {_DEEPEST:,} edges, got a graph of {view.num_nodes:,} nodes "
                "with longer ones; measure a part of it"
            )
        level[head] = len(frontiers)
        frontier, rank = _distinct(head, place)
        arriving = np.bincount(rank, weights=paths[frontiers[-1]][tail])
        scale = np.zeros(count)
        np.maximum.at(scale, frontier // size, arriving)
        scale[scale == 0] = 1.0  # searches that have ended
        paths[frontier] = arriving / scale[frontier // size]
        frontiers.append(frontier)
        scales.append(scale)
    for depth in range(len(frontiers) - 1, 1, -1):
        frontier = frontiers[depth - 1]
        tail, head = _steps_out(view, frontier)
        onward = level[head] == depth
        tail, head = tail[onward], head[onward]
        share = (1.0 + passed[head]) / (paths[head] * scales[depth][head // size])
        passed[frontier] = paths[frontier] * np.bincount(tail, weights=share, minlength=len(frontier))
    return passed.reshape(count, size).T


def _steps_out(view: EdgeArrays, frontier: IntArray) -> tuple[IntArray, IntArray]:
    """Return the edges (K,) that leave keys (F,): the place in `frontier` of each tail and the key of each head."""
    node = frontier % view.num_nodes
    fan, first = view.fan_out[node], view.out_csr.indptr[node]
    tail = np.repeat(np.arange(len(frontier)), fan)
    edge = np.arange(len(tail)) + (first - (np.cumsum(fan) - fan))[tail]
    return tail, view.dst[edge] + (frontier - node)[tail]


def _distinct(keys: IntArray, place: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct keys (D,), and the place of each key (K,) among them; `place` is scratch for every key."""
    place[keys] = np.arange(len(keys))
    found = keys[place[keys] == np.arange(len(keys))]
    place[found] = np.arange(len(found))
    return found, place[keys]


def closeness(graph: Source, sources: int = 256, seed: Seed = None) -> Centrality:
    """Return the reciprocal of the mean undirected distance (N,) to the others of the largest component; NaN elsewhere.

    Parameters
    ----------
    sources : int
        Number of nodes to which distances are taken, drawn without replacement; all where there are no more.
    seed : int, Generator or None
        Of the draw.

    Raises
    ------
    ArgumentError
        If `sources` is below 2.

    References
    ----------
    Eppstein & Wang, "Fast approximation of centrality", J. Graph Algorithms Appl. 8 (2004), 39-45.

    Notes
    -----
    O(E) per source. The bound is that of the mean distance, in edges.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> closeness(EdgeArrays.from_arrays([0, 1], [1, 2], 4)).values.round(3).tolist()
    [0.667, 1.0, 0.667, nan]
    """
    view = arrays_of(graph)
    values, error = np.full(view.num_nodes, np.nan), np.full(view.num_nodes, np.nan)
    members = np.flatnonzero(largest_component(view))
    size = len(members)
    chosen = _chosen(size, sources, seed)
    if size < 2:
        return Centrality(values, error, 0.0, size, size)
    adjacency = view.both_csr if size == view.num_nodes else sparse.csr_array(view.both_csr[members][:, members])
    total, squares, longest = np.zeros(size), np.zeros(size), 0.0
    for low in range(0, len(chosen), _BATCH):
        far = csgraph.dijkstra(adjacency, unweighted=True, indices=chosen[low : low + _BATCH])
        total += far.sum(axis=0)
        squares += (far**2).sum(axis=0)
        longest = max(longest, float(far.max()))
    count = len(chosen)
    scale = size / (size - 1)  # a node is at distance 0 from itself, which the mean leaves out
    mean = total / count
    distance = scale * mean
    variance = np.maximum(squares / count - mean**2, 0.0) * count / (count - 1)
    spread = scale * np.sqrt(variance / count * (1 - count / size))
    # A sampled node of a tiny sample may be at distance 0 from all that were drawn: itself.
    values[members] = np.divide(1.0, distance, out=np.full(size, np.nan), where=distance > 0)
    error[members] = spread * values[members] ** 2
    # No distance exceeds twice the longest one from any source.
    bound = 0.0 if count == size else scale * 2 * longest * _hoeffding(size, count)
    return Centrality(values, error, bound, count, size)


def pagerank(graph: Source, damping: float = 0.85, tolerance: float = 1e-10, weight: str | None = None) -> FloatArray:
    """Return the PageRank (N,) of every node along directed edges; the values add up to 1.

    Nodes without outgoing edges, or with weights of 0 alone, hand their rank to all.

    Parameters
    ----------
    damping : float
        Share of rank that follows edges, in [0, 1).
    tolerance : float
        Largest summed change of the last step, above 0.
    weight : None, "weight" or "abs"
        What share of a node's rank an edge takes: equal ones, or by weights, which must not be negative, or magnitudes.

    Raises
    ------
    ArgumentError
        If `damping` or `tolerance` is out of range, or a weight is negative.
    MissingColumnError
        If the graph has no weights and they are asked for.

    References
    ----------
    Brin & Page, "The anatomy of a large-scale hypertextual Web search engine", Computer Networks 30 (1998), 107-117.

    Notes
    -----
    Power iteration, O(E) per step; a graph of depth d has converged after d + 2 steps or earlier, but for the rank that
    sinks hand on.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> pagerank(EdgeArrays.from_arrays([0, 1], [2, 2], 3)).round(3).tolist()
    [0.213, 0.213, 0.574]
    """
    if not 0.0 <= damping < 1.0:
        raise ArgumentError(f"damping must be in [0, 1), got {damping}")
    if not tolerance > 0.0:
        raise ArgumentError(f"tolerance must be above 0, got {tolerance}")
    view = arrays_of(graph)
    size = view.num_nodes
    if size == 0:
        return np.zeros(0)
    rank = np.full(size, 1.0 / size)
    amounts = view.amounts(weight)
    out = np.bincount(view.src, weights=amounts, minlength=size)
    sinks = out == 0
    share = ratio(amounts, out[view.src], empty=0.0)  # not rank / out, which overflows for tiny weights
    links = sparse.csr_array((share, (view.dst, view.src)), shape=(size, size))
    while True:
        handed = links @ rank + rank[sinks].sum() / size
        before, rank = rank, damping * handed + (1.0 - damping) / size
        if np.abs(rank - before).sum() < tolerance:
            return np.asarray(rank / rank.sum(), dtype=np.float64)

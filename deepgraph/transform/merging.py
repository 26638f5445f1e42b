"""The last pass over a traced graph: edges between the same two nodes become one. Arrays in, arrays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepgraph.transform.traced import NO_ORIGIN, SEVERAL_ORIGINS, Array, TracedGraph

__all__ = ["MergedEdges", "merge_norms", "merge_parallel"]


@dataclass(frozen=True)
class MergedEdges:
    """Edges in canonical order, one per pair of nodes, with all the parameter entries behind each.

    Parameters
    ----------
    src, dst : np.ndarray, shape (E,), int32
        Sorted by (src, dst), no pair twice.
    weight : np.ndarray, shape (E,), float32 or float64
        Sums over parallel edges.
    origin : np.ndarray, shape (E,), int64
        The parameter entry, -1 for none, -2 for several; at order 1 the number of weights.
    several_edge, several_origin : np.ndarray, shape (S,), int64
        For each edge with origin -2 all its entries: index of the edge, entry.
    """

    src: Array
    dst: Array
    weight: Array
    origin: Array
    several_edge: Array
    several_origin: Array

    @classmethod
    def single(cls, src: Array, dst: Array, weight: Array, origin: Array) -> MergedEdges:
        """Return edges of which none has several entries."""
        none = np.zeros(0, dtype=np.int64)
        return cls(src, dst, weight, origin, none, none)


def merge_parallel(graph: TracedGraph) -> MergedEdges:
    """Return the edges in canonical order, those between the same two nodes added up.

    Parameters
    ----------
    graph : TracedGraph
        Edges in any order.

    Raises
    ------
    None

    Examples
    --------
    >>> from deepgraph.transform.collect import Collector
    >>> trace = Collector()
    >>> x = trace.add_nodes(1, kind="input")
    >>> y = trace.add_nodes(1, kind="neuron")
    >>> trace.add_edges(np.array([x, x]), np.array([y, y]), np.array([1.0, 1.0]))
    >>> merge_parallel(trace.finish(np.array([x]), np.array([y]))).weight.tolist()
    [2.0]
    """
    src, dst, weight, origin, starts = _by_pair(graph)
    if len(starts) == len(src):
        return MergedEdges.single(src, dst, weight, origin)
    edge = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(src))))
    total = np.add.reduceat(weight.astype(np.float64), starts).astype(weight.dtype)
    lowest, highest = np.minimum.reduceat(origin, starts), np.maximum.reduceat(origin, starts)
    several = (lowest != highest) & (highest != NO_ORIGIN)
    listed = several[edge] & (origin != NO_ORIGIN)
    merged = np.where(several, SEVERAL_ORIGINS, highest)
    return MergedEdges(src[starts], dst[starts], total, merged, edge[listed], origin[listed])


def merge_norms(graph: TracedGraph) -> MergedEdges:
    """Return the edges of channels in canonical order: numbers of weights are added up, norms as of one vector.

    Parameters
    ----------
    graph : TracedGraph
        Of order 1.

    Raises
    ------
    None

    Examples
    --------
    >>> from deepgraph.transform.collect import Collector
    >>> trace = Collector()
    >>> x = trace.add_nodes(1, kind="input")
    >>> y = trace.add_nodes(1, kind="neuron")
    >>> trace.add_edges(np.array([x, x]), np.array([y, y]), np.array([3.0, 4.0]), np.array([9, 1]))
    >>> merged = merge_norms(trace.finish(np.array([x]), np.array([y])))
    >>> merged.weight.tolist(), merged.origin.tolist()
    ([5.0], [10])
    """
    src, dst, weight, count, starts = _by_pair(graph)
    if len(starts) == len(src):
        return MergedEdges.single(src, dst, np.abs(weight), count)
    norm = np.sqrt(np.add.reduceat(weight.astype(np.float64) ** 2, starts)).astype(weight.dtype)
    return MergedEdges.single(src[starts], dst[starts], norm, np.add.reduceat(count, starts))


def _by_pair(graph: TracedGraph) -> tuple[Array, Array, Array, Array, Array]:
    """Return src, dst, weight and origin, each (E,), sorted by pair, and where each different pair begins."""
    key = graph.src.astype(np.int64) * graph.num_nodes + graph.dst
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.ones(len(key), dtype=bool)
    first[1:] = key[1:] != key[:-1]
    src, dst, weight, origin = (column[order] for column in (graph.src, graph.dst, graph.weight, graph.origin))
    return src, dst, weight, origin, np.flatnonzero(first)

"""Clustering and the small-world coefficient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from deepgraph.analysis.bipartite import bipartite_clustering, row_chunks
from deepgraph.analysis.dense import DENSE_LIMIT, without_dense_pairs
from deepgraph.analysis.edges import EdgeArrays, FloatArray, IntArray, arrays_of, graph_of, ratio
from deepgraph.analysis.paths import path_lengths
from deepgraph.errors import ArgumentError
from deepgraph.graph.nulls import null_degree, null_er
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source
    from deepgraph.graph import CachedLayeredGraph
    from deepgraph.graph.sampling import Seed

__all__ = [
    "SmallWorld",
    "clustering",
    "has_triangle_stages",
    "local_clustering",
    "null_graph",
    "small_world",
    "small_world_clustering",
    "triangles",
]


def has_triangle_stages(graph: Source) -> bool:
    """Return whether any three stages are joined pairwise; where not, no triangle can exist.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> has_triangle_stages(EdgeArrays.from_arrays([0, 1, 0], [1, 2, 2], 3))
    True
    """
    view = arrays_of(graph)

    def build() -> bool:
        pairs, count = view.pairs, len(view.stages)
        joined = sparse.csr_array((np.ones(len(pairs.edges)), (pairs.source, pairs.target)), shape=(count, count))
        own = np.diff(joined.indptr)
        return any(
            (joined[low:high] @ joined).multiply(joined[low:high]).nnz > 0
            for low, high in row_chunks((joined @ own).astype(np.int64))
        )

    return view.once("triangle stages", build)


def triangles(graph: Source) -> IntArray:
    """Return the number of undirected triangles at every node (N,).

    Raises
    ------
    TooLargeError
        If the products behind it would visit more than 1e10 two-step paths.

    Notes
    -----
    Edges are pointed from lower to higher degree, which bounds the work by O(E^1.5); two masked sparse products
    count each triangle once per corner.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> triangles(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4)).tolist()
    [1, 1, 1, 0]
    """
    view = arrays_of(graph)
    return view.once("triangles", lambda: np.rint(_corner_sums(view, np.ones(view.num_edges))).astype(np.int64))


def _corner_sums(view: EdgeArrays, values: FloatArray) -> FloatArray:
    """Return for every node (N,) the sum over its triangles of the product of the `values` (E,) of their edges."""
    size = view.num_nodes
    total = np.zeros(size)
    if not has_triangle_stages(view):
        return total
    rank = np.empty(size, np.int64)
    rank[np.argsort(view.degree, kind="stable")] = np.arange(size)
    low, high = np.minimum(rank[view.src], rank[view.dst]), np.maximum(rank[view.src], rank[view.dst])
    up = sparse.csr_array((values, (low, high)), shape=(size, size))
    down = sparse.csr_array(up.T)
    for start, end in row_chunks(_paths_of_two(up, up)):
        closed = (up[start:end] @ up).multiply(up[start:end])  # lowest and highest corner
        total[start:end] += closed.sum(axis=1)
        total += closed.sum(axis=0)
    # Not up @ down, which gives the same: hubs have many edges from below and few to above.
    for start, end in row_chunks(_paths_of_two(down, up)):
        total[start:end] += (down[start:end] @ up).multiply(up[start:end]).sum(axis=1)  # middle corner
    return total[rank]


def _paths_of_two(first: sparse.csr_array, second: sparse.csr_array) -> IntArray:
    """Return how many steps of `first` and then of `second` lead on from every row (N,)."""
    ends = np.concatenate([[0], np.cumsum(np.diff(second.indptr)[first.indices])])
    paths: IntArray = ends[first.indptr[1:]] - ends[first.indptr[:-1]]
    return paths


def local_clustering(graph: Source, weight: str | None = None) -> FloatArray:
    """Return the share in [0, 1] of pairs of neighbours that are joined, for every node (N,); 0 below degree 2.

    Parameters
    ----------
    weight : None, "weight" or "abs"
        What a triangle counts: 1, or the cube root of the product of its three weights (magnitudes), each divided by
        the largest magnitude of the graph. With "weight" triangles with one or three negative edges count negative.

    Raises
    ------
    ArgumentError
        If `weight` is unknown.
    MissingColumnError
        If the graph has no weights and they are asked for.
    TooLargeError
        If the products behind it would visit more than 1e10 two-step paths.

    References
    ----------
    .. [1] Watts & Strogatz, Nature 393 (1998), 440-442.
    .. [2] Onnela, Saramaki, Kertesz & Kaski, Phys. Rev. E 71 (2005), 065103: with weights.

    Notes
    -----
    O(E^1.5), as `triangles`.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> local_clustering(EdgeArrays.from_arrays([0, 0, 1, 2], [1, 2, 2, 3], 4)).tolist()
    [1.0, 1.0, 0.3333333333333333, 0.0]
    """
    view = arrays_of(graph)
    pairs = view.degree * (view.degree - 1.0)
    if weight is None:
        return ratio(2.0 * triangles(view), pairs, empty=0.0)
    values = view.values(weight)
    largest = float(np.abs(values).max(initial=0.0)) or 1.0
    return ratio(2.0 * _corner_sums(view, np.cbrt(values / largest)), pairs, empty=0.0)


def clustering(graph: Source, weight: str | None = None) -> float:
    """Return the mean local clustering in [0, 1] over all nodes, undirected; NaN without nodes. O(E^1.5).

    0 by construction in a strictly layered network, which has no triangle: see `bipartite_clustering` for those.

    Parameters
    ----------
    weight : None, "weight" or "abs"
        What a triangle counts; see `local_clustering`.

    Raises
    ------
    ArgumentError
        If `weight` is unknown.
    MissingColumnError
        If the graph has no weights and they are asked for.
    TooLargeError
        If the products behind it would visit more than 1e10 two-step paths.

    References
    ----------
    Watts & Strogatz, Nature 393 (1998), 440-442.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> clustering(EdgeArrays.from_arrays([0, 0, 1], [1, 2, 2], 3))
    1.0
    """
    local = local_clustering(graph, weight)
    return float(local.mean()) if local.size else math.nan


def small_world_clustering(graph: Source) -> float:
    """Return the clustering that a small-world coefficient of this graph is made of.

    `clustering` where stages allow triangles, else `bipartite_clustering`; a null of the graph has the same stages
    and so the same kind.

    Raises
    ------
    TooLargeError
        If the products behind it would visit more than 1e10 two-step paths.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> small_world_clustering(EdgeArrays.from_arrays([0, 0, 1, 1], [2, 3, 2, 3], 4))
    1.0
    """
    view = arrays_of(graph)
    return clustering(view) if has_triangle_stages(view) else bipartite_clustering(view)


@dataclass(frozen=True)
class SmallWorld:
    """The small-world coefficient and what it is made of.

    Attributes
    ----------
    sigma : float
        (clustering / null_clustering) / (path_length / null_path_length); NaN where a null has no clustering.
    clustering, path_length : float
        Of the graph.
    null_clustering, null_path_length : float
        Means over the nulls.
    left_out : tuple of str
        The dense stage pairs that were left out.
    """

    sigma: float
    clustering: float
    path_length: float
    null_clustering: float
    null_path_length: float
    left_out: tuple[str, ...]


def small_world(
    graph: CachedLayeredGraph,
    null: str = "degree",
    nulls: int = 10,
    seed: Seed = None,
    dense_limit: float = DENSE_LIMIT,
) -> SmallWorld:
    """Return the small-world coefficient sigma against the mean of random graphs; above 1 is small-world.

    Undirected, path lengths on the largest component. Stage pairs denser than `dense_limit` are left out of the
    graph and of its nulls. Against Erdos-Renyi alone sigma mostly tells the degree sequence.

    Parameters
    ----------
    null : {"er", "degree"}
        Random edges in each stage pair, or swaps that also keep every fan-in and fan-out.
    nulls : int
        Number of random graphs, at least 1.

    Raises
    ------
    ArgumentError
        If `null`, `nulls` or `dense_limit` is not as above.
    TooLargeError
        If the clustering would visit more than 1e10 two-step paths.

    References
    ----------
    Humphries & Gurney, PLoS ONE 3 (2008), e0002051.
    Differs from the paper: square clustering where stages allow no triangle.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> square = CachedLayeredGraph.from_arrays([0, 0, 1, 1], [2, 3, 2, 3])
    >>> small_world(square, nulls=1, seed=0).sigma
    1.0
    """
    if nulls < 1:
        raise ArgumentError(f"nulls must be at least 1, got {nulls}")
    rng = as_generator(seed)
    own = _parts(EdgeArrays.from_graph(graph_of(graph)), rng, dense_limit)
    parts = [_parts(EdgeArrays.from_graph(null_graph(graph, null, rng)), rng, dense_limit) for _ in range(nulls)]
    null_c, null_l = (float(np.mean(column)) for column in zip(*parts, strict=True))
    _, left_out = without_dense_pairs(graph, dense_limit)
    return SmallWorld(sigma_of(*own, null_c, null_l), *own, null_c, null_l, tuple(left_out))


def sigma_of(clustered: float, length: float, null_clustered: float, null_length: float) -> float:
    """Return (C / C_null) / (L / L_null); NaN where a divisor is 0 or undefined.

    Examples
    --------
    >>> sigma_of(0.4, 2.0, 0.2, 2.0)
    2.0
    """
    if not (null_clustered > 0 and length > 0 and null_length > 0):
        return math.nan
    return (clustered / null_clustered) / (length / null_length)


def _parts(view: EdgeArrays, rng: np.random.Generator, dense_limit: float) -> tuple[float, float]:
    """Return clustering and path length without dense stage pairs."""
    thin, _ = without_dense_pairs(view, dense_limit)
    return small_world_clustering(thin), path_lengths(thin, seed=rng).mean


def null_graph(graph: CachedLayeredGraph, null: str, seed: Seed = None) -> CachedLayeredGraph:
    """Return one random graph of the null model "er" or "degree", with the nodes and stages of `graph`.

    Raises
    ------
    ArgumentError
        If `null` is neither.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> null_graph(CachedLayeredGraph.from_arrays([0, 1], [1, 2]), "er", seed=0).number_of_edges()
    2
    """
    if null not in ("er", "degree"):
        raise ArgumentError(f'null must be "er" (random edges) or "degree" (degrees kept), got {null!r}')
    return null_er(graph, seed=seed) if null == "er" else null_degree(graph, seed=seed)

"""Array versions of networkx's functions: the same results, in the same order.

A function that cannot serve its arguments raises UnsupportedOperationError, which is a NotImplementedError; networkx
then runs its own code, which also says what is wrong with bad arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from deepgraph.errors import CycleError, UnsupportedOperationError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.arrays import Array
from deepgraph.graph.derived import relabelled_nodes

__all__ = [
    "ancestors",
    "dag_longest_path_length",
    "descendants",
    "in_degree_centrality",
    "is_directed_acyclic_graph",
    "is_weakly_connected",
    "number_weakly_connected_components",
    "out_degree_centrality",
    "pagerank",
    "relabel_nodes",
    "weakly_connected_components",
]

# Read where a function is called directly; networkx catches it and runs its own code.
_LEFT = "expected arguments that the array version serves, got others; call the function through networkx"


def is_directed_acyclic_graph(G: CachedLayeredGraph) -> bool:
    """Return whether there is no directed cycle.

    Examples
    --------
    >>> is_directed_acyclic_graph(CachedLayeredGraph.from_arrays([0, 1], [1, 0]))
    False
    """
    try:
        G.layer_array()
    except CycleError:
        return False
    return True


def dag_longest_path_length(G: CachedLayeredGraph, weight: str = "weight", default_weight: int = 1) -> int:
    """Return the number of edges of a longest path, for graphs without the weight that is asked for.

    Examples
    --------
    >>> dag_longest_path_length(CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2]))
    2
    """
    if (
        G.has_column(weight)
        or type(default_weight) is not int
        or default_weight != 1
        or not is_directed_acyclic_graph(G)
    ):
        raise UnsupportedOperationError(_LEFT)
    return int(G.layer_array().max(initial=0))


def descendants(G: CachedLayeredGraph, source: Hashable) -> set[Hashable]:
    """Return the nodes that can be reached from `source`, without it.

    Examples
    --------
    >>> descendants(CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2]), 1)
    {2}
    """
    return _reached(G, source, *G.csr())


def ancestors(G: CachedLayeredGraph, source: Hashable) -> set[Hashable]:
    """Return the nodes from which `source` can be reached, without it.

    Examples
    --------
    >>> ancestors(CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2]), 1)
    {0}
    """
    return _reached(G, source, *G.csc()[:2])


# A narrower frontier is walked node by node: numpy's cost per call would exceed the work.
_NARROW = 64


def _reached(g: CachedLayeredGraph, source: Hashable, indptr: Array, ids: Array) -> set[Hashable]:
    if source not in g:
        raise UnsupportedOperationError(_LEFT)
    start = int(g.positions([source])[0])
    seen = np.zeros(len(g), bool)
    seen[start] = True
    frontier: Any = np.array([start], np.int64)
    while len(frontier):
        if len(frontier) < _NARROW:
            found: Any = []
            for u in frontier:
                row = ids[indptr[u] : indptr[u + 1]]
                fresh = row[~seen[row]]
                seen[fresh] = True
                found.extend(fresh.tolist())
            frontier = found
            continue
        nodes = np.asarray(frontier, np.int64)
        count = indptr[nodes + 1] - indptr[nodes]
        ends = np.cumsum(count)
        row = ids[np.arange(ends[-1]) + np.repeat(indptr[nodes] - (ends - count), count)]
        frontier = np.unique(row[~seen[row]])
        seen[frontier] = True
    seen[start] = False
    return set(g.labels(np.flatnonzero(seen)))


def _components(g: CachedLayeredGraph) -> tuple[int, Array]:
    if len(g) == 0:
        return 0, np.empty(0, np.int32)
    count, label = connected_components(g.to_scipy(), directed=True, connection="weak")
    return int(count), label


def weakly_connected_components(G: CachedLayeredGraph) -> Iterator[set[Hashable]]:
    """Return an iterator over the weakly connected components, by their first node.

    Examples
    --------
    >>> list(weakly_connected_components(CachedLayeredGraph.from_arrays([0, 1], [2, 3])))
    [{0, 2}, {1, 3}]
    """
    count, label = _components(G)
    _, first = np.unique(label, return_index=True)
    order = np.argsort(label, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1]) if count else []
    return (set(G.labels(parts[k])) for k in np.argsort(first))


def number_weakly_connected_components(G: CachedLayeredGraph) -> int:
    """Return the number of weakly connected components.

    Examples
    --------
    >>> number_weakly_connected_components(CachedLayeredGraph.from_arrays([0, 1], [2, 3]))
    2
    """
    return _components(G)[0]


def is_weakly_connected(G: CachedLayeredGraph) -> bool:
    """Return whether there is one weakly connected component.

    Examples
    --------
    >>> is_weakly_connected(CachedLayeredGraph.from_arrays([0, 1], [2, 3]))
    False
    """
    if len(G) == 0:
        raise UnsupportedOperationError(_LEFT)
    return _components(G)[0] == 1


def _degree_centrality(g: CachedLayeredGraph, degree: Array) -> dict[Hashable, float]:
    if len(g) <= 1:
        return dict.fromkeys(g, 1)
    return dict(zip(g.labels(), (degree * (1.0 / (len(g) - 1.0))).tolist(), strict=True))


def in_degree_centrality(G: CachedLayeredGraph) -> dict[Hashable, float]:
    """Return for each node the fraction of other nodes with an edge to it.

    Examples
    --------
    >>> in_degree_centrality(CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2]))
    {0: 0.0, 1: 0.5, 2: 1.0}
    """
    return _degree_centrality(G, np.bincount(G.csr()[1], minlength=len(G)))


def out_degree_centrality(G: CachedLayeredGraph) -> dict[Hashable, float]:
    """Return for each node the fraction of other nodes that it has an edge to.

    Examples
    --------
    >>> out_degree_centrality(CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2]))
    {0: 1.0, 1: 0.5, 2: 0.0}
    """
    return _degree_centrality(G, np.diff(G.csr()[0]))


def pagerank(
    G: CachedLayeredGraph,
    alpha: float = 0.85,
    personalization: Any = None,
    max_iter: int = 100,
    tol: float = 1e-6,
    nstart: Any = None,
    weight: str | None = "weight",
    dangling: Any = None,
) -> dict[Hashable, float]:
    """Return the stationary probability of each node of a walk that starts anew with probability 1 - alpha.

    Examples
    --------
    >>> ranks = pagerank(CachedLayeredGraph.from_arrays([0, 1], [1, 0]))
    >>> round(ranks[0], 6)
    0.5
    """
    if personalization is not None or nstart is not None or dangling is not None or len(G) == 0:
        raise UnsupportedOperationError(_LEFT)
    weighted = weight is not None and G.has_column(weight)
    if weighted and (
        G.column(str(weight), np.nan).dtype.kind not in "iuf" or np.isnan(G.column(str(weight), np.nan)).any()
    ):
        raise UnsupportedOperationError(_LEFT)
    matrix = G.to_scipy(weight if weighted else None).astype(np.float64)
    total = np.asarray(matrix.sum(axis=1)).ravel()
    share = np.divide(1.0, total, out=np.zeros_like(total), where=total != 0)
    stuck, nodes = total == 0, len(G)
    turned = matrix.T.tocsr()
    rank = np.full(nodes, 1.0 / nodes)
    for _ in range(max_iter):
        following = alpha * (turned @ (rank * share) + rank[stuck].sum() / nodes) + (1 - alpha) / nodes
        moved = np.abs(following - rank).sum()
        rank = following
        if moved < nodes * tol:
            return dict(zip(G.labels(), rank.tolist(), strict=True))
    raise UnsupportedOperationError(_LEFT)


def relabel_nodes(
    G: CachedLayeredGraph, mapping: Mapping[Hashable, Hashable] | Callable[[Hashable], Hashable], copy: bool = True
) -> CachedLayeredGraph:
    """Return a graph with other labels; relabelling in place, and merging nodes, are left to networkx.

    Examples
    --------
    >>> list(relabel_nodes(CachedLayeredGraph.from_arrays([0], [1]), {1: "b"}).edges)
    [(0, 'b')]
    """
    nodes = relabelled_nodes(G._arrays().nodes, mapping) if copy else None
    if nodes is None:
        raise UnsupportedOperationError(_LEFT)
    return G._from_parts_of_class(nodes, G._arrays().edges.copy(), dict(G.graph))

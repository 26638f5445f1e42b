"""Rings: nodes on a circle, each joined to those at given distances."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

import numpy as np

from deepgraph.errors import ArgumentError, DtypeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed
from deepgraph.priors.orientation import Orientation, oriented

__all__ = ["circulant", "ring"]


def circulant(
    n: int, offsets: Sequence[int], *, seed: Seed = None, orientation: Orientation = "auto"
) -> CachedLayeredGraph:
    """Return the circulant graph: node i is joined to i + d and i - d on the circle, for each offset d.

    Parameters
    ----------
    n : int
        Nodes N, >= 1.
    offsets : sequence of int
        Distances on the circle, each in [1, n / 2], no two the same.
    seed : int, Generator or None
        Read by the random orientation only: the undirected graph is always the same.
    orientation : as in `from_networkx`
        "auto" is a random order. In "stored" order a ring is one long chain with a single sink.

    Returns
    -------
    CachedLayeredGraph
        N nodes 0..n-1, N edges for each offset but N / 2 for the offset n / 2; node column `stage` (= layer);
        `graph["orientation"]` as in `from_networkx`.

    Raises
    ------
    ArgumentError
        When `n` < 1, an offset is out of range or given twice, or the orientation is not valid.
    DtypeError
        When an offset is no int.

    Notes
    -----
    O(E log E). The undirected edges are those of `networkx.circulant_graph(n, offsets)`.

    References
    ----------
    .. [1] B. Elspas, J. Turner, "Graphs with circulant adjacency matrices", Journal of Combinatorial Theory 9, 1970.

    Examples
    --------
    >>> g = circulant(6, [1, 3], orientation="stored")
    >>> sorted(g.edges)
    [(0, 1), (0, 3), (0, 5), (1, 2), (1, 4), (2, 3), (2, 5), (3, 4), (4, 5)]
    """
    if n < 1:
        raise ArgumentError(f"n must be at least 1, the number of nodes; got {n}")
    try:
        distance = [index(offset) for offset in offsets]
    except TypeError:
        raise DtypeError(f"offsets must be ints, distances on the circle; got {offsets!r:.80}") from None
    if len(set(distance)) != len(distance) or any(not 1 <= d <= n // 2 for d in distance):
        raise ArgumentError(f"offsets must be distinct and lie in [1, {n // 2}], half of n={n}; got {distance}")
    src = np.tile(np.arange(n), len(distance))
    step = np.repeat(np.array(distance, dtype=np.int64), n)
    # The offset n / 2 meets every edge from both of its ends.
    once = (2 * step < n) | (src < n // 2)
    src, step = src[once], step[once]
    return oriented(n, src, (src + step) % n, orientation, seed=seed)


def ring(n: int, k: int = 2, *, seed: Seed = None, orientation: Orientation = "auto") -> CachedLayeredGraph:
    """Return the ring lattice: every node is joined to its `k` nearest nodes on a circle.

    Parameters
    ----------
    n : int
        Nodes N, >= 1.
    k : int
        Neighbours of each node, even, 0 <= k < n.
    seed : int, Generator or None
        Read by the random orientation only.
    orientation : as in `from_networkx`
        "auto" is a random order; "bfs" starts at one node and goes round both ways.

    Returns
    -------
    CachedLayeredGraph
        N nodes 0..n-1 and n * k / 2 edges, node column `stage` (= layer); `graph["orientation"]` as in
        `from_networkx`.

    Raises
    ------
    ArgumentError
        When `n` < 1, `k` is odd or out of range, or the orientation is not valid.

    Notes
    -----
    O(N k). The start of `watts_strogatz`, which is this graph for p = 0.

    References
    ----------
    .. [1] D. J. Watts, S. H. Strogatz, "Collective dynamics of 'small-world' networks", Nature 393, 1998, figure 1.

    Examples
    --------
    >>> sorted(ring(6, orientation="bfs").edges)
    [(0, 1), (0, 5), (1, 2), (2, 3), (4, 3), (5, 4)]
    """
    if n < 1 or k % 2 or not 0 <= k < n:
        raise ArgumentError(f"a ring needs n >= 1 nodes and an even k in [0, n) neighbours of each; got n={n}, k={k}")
    return circulant(n, range(1, k // 2 + 1), seed=seed, orientation=orientation)

"""Small worlds: rings whose edges are rewired or complemented at random.

The random draws are those of networkx, one by one in the same order, so that results compare with the field's: the
loops over edges below cannot be arrays. They touch a set of integers instead of dictionaries of dictionaries.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed
from deepgraph.priors.orientation import Orientation, oriented, seed_number

__all__ = ["newman_watts_strogatz", "watts_strogatz", "ws_flex"]

IntArray: TypeAlias = npt.NDArray[np.int64]


def _check(n: int, k: int, p: float) -> None:
    """Raise ArgumentError unless a ring of `n` nodes can have `k` neighbours each and `p` is a probability."""
    if n < 1:
        raise ArgumentError(f"n must be at least 1, the number of nodes; got {n}")
    if not 0 <= k < n:
        raise ArgumentError(f"k must lie in [0, n), the neighbours of a node on the ring; got k={k} with n={n}")
    if not 0 <= p <= 1:
        raise ArgumentError(f"p must lie in [0, 1], a probability; got {p}")


def _keys(n: int, src: IntArray, dst: IntArray) -> set[int]:
    """Return the undirected edges as numbers smaller * n + larger."""
    return set((np.minimum(src, dst) * n + np.maximum(src, dst)).tolist())


def _free_end(u: int, nodes: range, edges: set[int], degree: list[int], draw: random.Random) -> int | None:
    """Return a random node that `u` is not joined to; None when it has no place left, noticed as networkx does."""
    n = len(nodes)
    w = draw.choice(nodes)
    while w == u or (u * n + w if u < w else w * n + u) in edges:
        w = draw.choice(nodes)
        # networkx asks only after a second draw, and then gives up even if that one is free.
        if degree[u] >= n - 1:
            return None
    return w


def _rewired(n: int, src: IntArray, dst: IntArray, p: float, seed: int) -> tuple[IntArray, IntArray]:
    """Return the edges of a ring on n nodes after each has moved its far end `dst` with probability p, in order."""
    draw, nodes = random.Random(seed), range(n)
    edges = _keys(n, src, dst)
    degree = np.bincount(np.concatenate([src, dst]), minlength=n).tolist()
    chance = draw.random
    for u, v in zip(src.tolist(), dst.tolist(), strict=True):
        if chance() < p and (w := _free_end(u, nodes, edges, degree, draw)) is not None:
            edges.remove(u * n + v if u < v else v * n + u)
            edges.add(u * n + w if u < w else w * n + u)
            degree[v] -= 1
            degree[w] += 1
    return _pairs(n, edges)


def _pairs(n: int, edges: Iterable[int]) -> tuple[IntArray, IntArray]:
    """Return the two ends of numbered edges, sorted by number."""
    low, high = np.divmod(np.sort(np.fromiter(edges, dtype=np.int64)), max(n, 1))
    return low, high


def watts_strogatz(
    n: int, k: int, p: float, *, seed: Seed = None, orientation: Orientation = "auto"
) -> CachedLayeredGraph:
    """Return a Watts-Strogatz small world: a ring in which every edge moves its far end with probability `p`.

    Parameters
    ----------
    n : int
        Nodes N, >= 1.
    k : int
        Neighbours of each node on the ring, 0 <= k < n; an odd k acts as k - 1.
    p : float
        Probability that an edge is rewired, in [0, 1]: 0 is the ring, 1 nearly random.
    seed : int, Generator or None
    orientation : as in `from_networkx`
        "auto" is a random order. In "stored" order the ring is one long chain with a single sink.

    Returns
    -------
    CachedLayeredGraph
        N nodes 0..n-1 and n * (k // 2) edges, node column `stage` (= layer); `graph["orientation"]` as in
        `from_networkx`. With an int seed it is
        `from_networkx(networkx.watts_strogatz_graph(n, k, p, seed=seed), orientation, seed=seed)`.

    Raises
    ------
    ArgumentError
        When `n`, `k` or `p` is out of range, or the orientation is not valid.

    Notes
    -----
    O(N k) in Python, about .5 s per million edges.

    References
    ----------
    .. [1] D. J. Watts, S. H. Strogatz, "Collective dynamics of 'small-world' networks", Nature 393, 1998.

    Examples
    --------
    >>> g = watts_strogatz(6, 2, 0.0, seed=0, orientation="stored")
    >>> sorted(g.edges)
    [(0, 1), (0, 5), (1, 2), (2, 3), (3, 4), (4, 5)]
    >>> watts_strogatz(100, 8, 0.3, seed=0).number_of_edges()
    400
    """
    _check(n, k, p)
    number = seed_number(seed)
    src = np.tile(np.arange(n), k // 2)
    dst = (src + np.repeat(np.arange(1, k // 2 + 1), n)) % n
    return oriented(n, *_rewired(n, src, dst, p, number), orientation, seed=number)


def newman_watts_strogatz(
    n: int, k: int, p: float, *, seed: Seed = None, orientation: Orientation = "auto"
) -> CachedLayeredGraph:
    """Return a Newman-Watts small world: a ring that gains a random edge per ring edge with probability `p`.

    Parameters
    ----------
    n : int
        Nodes N, >= 1.
    k : int
        Neighbours of each node on the ring, 0 <= k < n; an odd k acts as k - 1.
    p : float
        Probability that an edge of the ring brings a random edge with it, in [0, 1].
    seed : int, Generator or None
    orientation : as in `from_networkx`
        "auto" is a random order.

    Returns
    -------
    CachedLayeredGraph
        N nodes 0..n-1, node column `stage` (= layer); `graph["orientation"]` as in `from_networkx`. With an int seed it
        is `from_networkx(networkx.newman_watts_strogatz_graph(n, k, p, seed=seed), orientation, seed=seed)`.

    Raises
    ------
    ArgumentError
        When `n`, `k` or `p` is out of range, or the orientation is not valid.

    Notes
    -----
    O(N k) in Python, about .5 s per million edges. No edge of the ring is ever removed, so the undirected graph is
    connected for k >= 2.

    References
    ----------
    .. [1] M. E. J. Newman, D. J. Watts, "Renormalization group analysis of the small-world network model", Physics
       Letters A 263, 1999.

    Examples
    --------
    >>> g = newman_watts_strogatz(100, 4, 0.5, seed=0)
    >>> g.number_of_nodes(), g.number_of_edges() >= 200
    (100, True)
    """
    _check(n, k, p)
    number = seed_number(seed)
    # networkx goes through the edges from their smaller end; there, neighbours stand as the ring was laid: one step
    # forward, one step back (larger only across the end of the ring), two steps forward, and so on.
    node, step = np.arange(n)[:, None], np.arange(1, k // 2 + 1)
    ahead = np.stack([node + step, node - step + n], axis=2)
    exists = np.stack([node + step < n, node < step], axis=2)
    src = np.broadcast_to(node[:, :, None], ahead.shape)[exists]
    edges = _keys(n, src, ahead[exists])
    degree = np.bincount(np.concatenate([src, ahead[exists]]), minlength=n).tolist()
    draw, nodes = random.Random(number), range(n)
    chance = draw.random
    for u in src.tolist():
        if chance() < p and (w := _free_end(u, nodes, edges, degree, draw)) is not None:
            edges.add(u * n + w if u < w else w * n + u)
            degree[u] += 1
            degree[w] += 1
    return oriented(n, *_pairs(n, edges), orientation, seed=number)


def ws_flex(n: int, k: float, p: float, *, seed: Seed = None, orientation: Orientation = "auto") -> CachedLayeredGraph:
    """Return a WS-flex graph: Watts-Strogatz with any average degree `k`, not only even ones.

    Parameters
    ----------
    n : int
        Nodes N, >= 3.
    k : float
        Average degree, in [2, n - 1]: M = round(k n / 2) edges, Python's rounding. The first M mod N nodes have one
        neighbour more ahead of them on the ring than the others, M div N.
    p : float
        Probability that an edge is rewired, in [0, 1].
    seed : int, Generator or None
    orientation : as in `from_networkx`
        "auto" is a random order.

    Returns
    -------
    CachedLayeredGraph
        N nodes 0..n-1 and M edges, node column `stage` (= layer); `graph["orientation"]` as in `from_networkx`.

    Raises
    ------
    ArgumentError
        When `n`, `k` or `p` is out of range, or the orientation is not valid.

    Notes
    -----
    O(N k) in Python. With an int seed the undirected edges are those of the authors' generator, whose draws are
    Python's `random.Random(seed)`: for each node and each of its neighbours ahead one `random() < p`, then
    `choice(nodes)` until a node is free.
    Differs from the paper: the authors draw again with other seeds until the graph is connected; here it is drawn once.

    References
    ----------
    .. [1] J. You, J. Leskovec, K. He, S. Xie, "Graph structure of neural networks", ICML 2020, arXiv 2007.06559,
       section 3.2.

    Examples
    --------
    >>> import networkx as nx
    >>> G = ws_flex(64, 64 * 0.133, 0.0, seed=24).to_undirected()
    >>> round(nx.average_clustering(G), 3), round(nx.average_shortest_path_length(G), 3)
    (0.651, 4.245)
    """
    if n < 3:
        raise ArgumentError(f"n must be at least 3, the number of nodes; got {n}")
    if not 2 <= k <= n - 1:
        raise ArgumentError(f"k must lie in [2, n - 1], the average degree; got k={k} with n={n}")
    if not 0 <= p <= 1:
        raise ArgumentError(f"p must lie in [0, 1], a probability; got {p}")
    number = seed_number(seed)
    each, more = divmod(round(k * n / 2), n)
    ahead = np.where(np.arange(n) < more, each + 1, each)
    src = np.repeat(np.arange(n), ahead)
    dst = (src + 1 + np.arange(src.size) - np.repeat(np.cumsum(ahead) - ahead, ahead)) % n
    return oriented(n, *_rewired(n, src, dst, p, number), orientation, seed=number)

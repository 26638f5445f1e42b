"""Small worlds: rings whose edges are rewired or complemented at random."""

from __future__ import annotations

import networkx as nx

from deepgraph.errors import ArgumentError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.nulls import Seed
from deepgraph.priors.orientation import Orientation, from_networkx, seed_number

__all__ = ["newman_watts_strogatz", "watts_strogatz"]


def _check(n: int, k: int, p: float) -> None:
    """Raise ArgumentError unless a ring of `n` nodes can have `k` neighbours each and `p` is a probability."""
    if n < 1:
        raise ArgumentError(f"n must be at least 1, the number of nodes; got {n}")
    if not 0 <= k < n:
        raise ArgumentError(f"k must lie in [0, n), the neighbours of a node on the ring; got k={k} with n={n}")
    if not 0 <= p <= 1:
        raise ArgumentError(f"p must lie in [0, 1], a probability; got {p}")


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
    networkx draws the graph, so results compare with the field's: O(N k) in Python, about 2 s per million edges.

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
    g = from_networkx(nx.watts_strogatz_graph(n, k, p, seed=number), orientation, seed=number)
    g.set_node_column("stage", g.layer_array())
    return g


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
    networkx draws the graph: O(N k) in Python, about 2 s per million edges. No edge of the ring is ever removed, so
    the undirected graph is connected for k >= 2.

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
    g = from_networkx(nx.newman_watts_strogatz_graph(n, k, p, seed=number), orientation, seed=number)
    g.set_node_column("stage", g.layer_array())
    return g

"""Random wiring: random graphs as cells, with one input node and one output node."""

from __future__ import annotations

from typing import Any, Literal

import networkx as nx
import numpy as np

from deepgraph.errors import ArgumentError, StructureError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import Seed
from deepgraph.priors.orientation import Orientation, from_networkx, seed_number
from deepgraph.priors.random_graphs import erdos_renyi_dag
from deepgraph.priors.scale_free import barabasi_albert
from deepgraph.priors.small_world import watts_strogatz

__all__ = ["cell", "random_wiring"]


def cell(G: nx.Graph[Any], orientation: Orientation = "stored", seed: Seed = None) -> CachedLayeredGraph:
    """Return the graph of a cell: `G`, directed by an order of its nodes, between one input and one output node.

    Parameters
    ----------
    G : networkx.Graph, or networkx.DiGraph without cycles
        K nodes, at least one. A directed graph is kept as it is.
    orientation : as in `from_networkx`
        "stored" lets edges go from earlier to later nodes, as the paper does.
    seed : int, Generator or None
        Read by the orientation "random" only.

    Returns
    -------
    CachedLayeredGraph
        N = K + 2: node 0 is the input, which every source of `G` reads, nodes 1..K are those of `G` in stored order,
        node K + 1 is the output, which reads every sink. Node columns `stage` (= layer) and `role`. No attribute of
        `G` comes along.

    Raises
    ------
    StructureError
        When `G` is empty or a multigraph.
    CycleError, ArgumentError, UnknownNodeError
        As in `from_networkx`.

    Notes
    -----
    O(N + E log E). Every node lies on a path from input to output, also where `G` is not connected.

    References
    ----------
    .. [1] S. Xie, A. Kirillov, R. Girshick, K. He, "Exploring randomly wired neural networks for image recognition",
       ICCV 2019, arXiv 1904.01569, section 3.2.

    Examples
    --------
    >>> g = cell(nx.path_graph(3))
    >>> sorted(g.edges), g.role_array().tolist()
    ([(0, 1), (1, 2), (2, 3), (3, 4)], ['input', 'hidden', 'hidden', 'hidden', 'output'])
    """
    if not len(G):
        raise StructureError("expected a graph with at least one node; got an empty one")
    inner = from_networkx(G, orientation, seed)
    n = len(inner)
    src, dst = (ends.astype(np.int64) + 1 for ends in inner.edge_arrays())
    sources = 1 + np.flatnonzero(np.bincount(dst, minlength=n + 1)[1:] == 0)
    sinks = 1 + np.flatnonzero(np.bincount(src, minlength=n + 1)[1:] == 0)
    g = CachedLayeredGraph.from_arrays(
        np.concatenate([np.zeros_like(sources), src, sinks]),
        np.concatenate([sources, dst, np.full_like(sinks, n + 1)]),
        num_nodes=n + 2,
    )
    g.set_node_column("stage", g.layer_array())
    g.set_node_column("role", np.array(["input"] + ["hidden"] * n + ["output"]))
    return g


def random_wiring(
    n: int,
    model: Literal["ws", "ba", "er"] = "ws",
    *,
    k: int = 4,
    p: float | None = None,
    m: int = 5,
    seed: Seed = None,
) -> CachedLayeredGraph:
    """Return a randomly wired cell: a small world, a scale-free or a random graph between an input and an output node.

    Parameters
    ----------
    n : int
        Inner nodes, >= 1.
    model : {"ws", "ba", "er"}
        Watts-Strogatz with `k` neighbours, rewired with probability `p`; Barabasi-Albert with `m` edges for each new
        node; Erdos-Renyi with probability `p`.
    k : int
        Read by "ws".
    p : float, optional
        Read by "ws" (default .75) and "er" (default .2), in [0, 1].
    m : int
        Read by "ba".
    seed : int, Generator or None

    Returns
    -------
    CachedLayeredGraph
        As `cell` makes it: n + 2 nodes, edges from smaller to larger numbers; node columns `stage` (= layer) and
        `role`.

    Raises
    ------
    ArgumentError
        When the model is unknown, or `n`, `k`, `p` or `m` is out of range.

    Notes
    -----
    The defaults are the best of the paper, WS(4, .75), BA(5), ER(.2), for n = 32. Orders as there: around the ring, in
    the order of growth, and random (of an Erdos-Renyi graph all orders are alike).
    Differs from the paper: graphs that are not connected are kept; input and output join their parts.

    References
    ----------
    .. [1] S. Xie, A. Kirillov, R. Girshick, K. He, "Exploring randomly wired neural networks for image recognition",
       ICCV 2019, arXiv 1904.01569.

    Examples
    --------
    >>> g = random_wiring(32, seed=0)
    >>> len(g), g.input_positions().tolist(), g.output_positions().tolist()
    (34, [0], [33])
    """
    number = seed_number(seed)
    if model == "ws":
        inner = watts_strogatz(n, k, 0.75 if p is None else p, seed=number, orientation="stored")
    elif model == "ba":
        inner = barabasi_albert(n, m, seed=number, orientation="stored")
    elif model == "er":
        inner = erdos_renyi_dag(n, p=0.2 if p is None else p, seed=number)
    else:
        raise ArgumentError(f"model must be 'ws', 'ba' or 'er'; got {model!r}")
    return cell(inner)

"""Relational graphs: rounds of message exchange on an undirected graph, as a layered network."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import networkx as nx
import numpy as np

from deepgraph.errors import ArgumentError, DtypeError, ShapeError, StructureError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.priors.layer_pairs import IntArray, checked_sizes, from_layers, sampled_pairs

__all__ = ["matching_width", "relational", "relational_flops"]


def _messages(G: nx.Graph[Any]) -> tuple[IntArray, IntArray]:
    """Return sender and receiver of every message of a round: both ways along each edge, and every node to itself."""
    if G.is_directed() or G.is_multigraph():
        raise StructureError(
            "expected an undirected graph without parallel edges, on which messages go both ways; pass "
            "nx.Graph(G.to_undirected())"
        )
    if not len(G):
        raise StructureError("expected a graph with at least one node; got an empty one")
    position = {node: place for place, node in enumerate(G)}
    ends = [(position[u], position[v]) for u, v in G.edges if u != v]
    u, v = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    own = np.arange(len(position))
    return np.concatenate([u, v, own]), np.concatenate([v, u, own])


def _groups(width: IntArray, nodes: int) -> IntArray:
    """Return the neurons (L, K) that each of K nodes holds of each layer: equal but for one, the first holding more."""
    return width[:, None] // nodes + (np.arange(nodes) < width[:, None] % nodes)


def _widths(G: nx.Graph[Any], width: int | Sequence[int], rounds: int | None) -> IntArray:
    """Return the neurons (R + 1,) of each layer, each at least one for every node."""
    if np.ndim(width) == 0:
        if rounds is None or rounds < 1:
            raise ArgumentError(f"rounds must be at least 1 when width is one number; got rounds={rounds}")
        sizes = checked_sizes([width] * (rounds + 1))  # type: ignore[list-item]
    else:
        sizes = checked_sizes(width)  # type: ignore[arg-type]
        if sizes.size < 2 or rounds not in (None, sizes.size - 1):
            raise ShapeError(f"width must name rounds + 1 >= 2 layers; got {sizes.size} of them with rounds={rounds}")
    if sizes.min() < len(G):
        raise ArgumentError(
            f"every layer needs at least one neuron for each of the {len(G)} nodes; got a layer of {sizes.min()}"
        )
    return sizes


def relational(G: nx.Graph[Any], width: int | Sequence[int], rounds: int | None = None) -> CachedLayeredGraph:
    """Return the network in which the nodes of `G`, groups of neurons, exchange messages for R rounds.

    Parameters
    ----------
    G : networkx.Graph
        K nodes. Self-loops are added: a node always sends to itself.
    width : int or R + 1 ints
        Neurons of every layer, or of each layer from the input of the first round on, all >= K. Every node holds an
        equal share of a layer; what is left over goes to the first nodes.
    rounds : int, optional
        R >= 1; not needed where `width` names the layers.

    Returns
    -------
    CachedLayeredGraph
        Layer r holds the neurons before round r + 1, in the order of the nodes of `G`; two neurons of neighbouring
        layers are joined where their nodes are neighbours or the same. Node columns `stage`, the layer, `group`, int32
        position of the node in `G`, and `role`.

    Raises
    ------
    StructureError
        When `G` is directed, a multigraph or empty.
    ShapeError, DtypeError
        When `width` has no valid form or does not name R + 1 layers.
    ArgumentError
        When a layer has fewer neurons than `G` nodes, or `rounds` is below 1.

    Notes
    -----
    O(E log E). The complete graph gives the dense network, the empty one K networks side by side.

    References
    ----------
    .. [1] J. You, J. Leskovec, K. He, S. Xie, "Graph structure of neural networks", ICML 2020, arXiv 2007.06559,
       section 2.

    Examples
    --------
    >>> g = relational(nx.cycle_graph(4), 8, rounds=2)
    >>> len(g), g.number_of_edges(), sorted(g.successors(0))
    (24, 96, [8, 9, 10, 11, 14, 15])
    """
    sender, receiver = _messages(G)
    sizes = _widths(G, width, rounds)
    nodes = len(G)
    held = _groups(sizes, nodes)
    start = nodes * np.arange(sizes.size - 1)[:, None]
    low, high = (start + sender).ravel(), (start + nodes + receiver).ravel()
    parts = held.ravel()
    # Every pair of groups is full, so nothing is drawn and no seed is needed.
    src, dst = sampled_pairs(parts, low, high, parts[low] * parts[high], 0)
    g = from_layers(src, dst, sizes)
    g.set_node_column("group", np.repeat(np.tile(np.arange(nodes, dtype=np.int32), sizes.size), parts))
    return g


def relational_flops(
    G: nx.Graph[Any], width: int | Sequence[int], rounds: int | None = None, size_input: int = 0, size_output: int = 0
) -> int:
    """Return the floating-point operations of one sample in `relational(G, width, rounds)`: 2 for each edge.

    Parameters
    ----------
    G, width, rounds : as in `relational`
    size_input, size_output : int
        Columns of a dense stem before the first layer, and of a dense head behind the last; 0 for none.

    Raises
    ------
    StructureError, ShapeError, DtypeError, ArgumentError
        As in `relational`.

    Notes
    -----
    O(R (K + edges of G)); no network is made.

    Examples
    --------
    >>> relational_flops(nx.cycle_graph(4), 8, rounds=2), relational_flops(nx.complete_graph(4), 8, 2, 10, 3)
    (192, 464)
    """
    sender, receiver = _messages(G)
    sizes = _widths(G, width, rounds)
    held = _groups(sizes, len(G))
    edges = int((held[:-1, sender] * held[1:, receiver]).sum())
    return 2 * (edges + size_input * int(sizes[0]) + size_output * int(sizes[-1]))


def matching_width(G: nx.Graph[Any], flops: int, rounds: int, size_input: int = 0, size_output: int = 0) -> int:
    """Return the width of `relational(G, width, rounds)` whose floating-point operations come closest to `flops`.

    Networks on different graphs are compared at equal cost: a sparser graph gets wider layers.

    Parameters
    ----------
    G : networkx.Graph
        K nodes.
    flops : int
        Wanted operations of one sample, see `relational_flops`, stem and head included.
    rounds : int
        R >= 1.
    size_input, size_output : int
        Columns of a dense stem and head, 0 for none.

    Returns
    -------
    width : int
        At least K; the smaller one of two that are equally close.

    Raises
    ------
    StructureError, ArgumentError
        As in `relational`, and ArgumentError when the narrowest network costs more than `flops` already.
    DtypeError
        When `flops` is no int.

    Notes
    -----
    Bisection: the operations grow with the width. O(log(flops) R edges of G).

    References
    ----------
    .. [1] J. You, J. Leskovec, K. He, S. Xie, "Graph structure of neural networks", ICML 2020, section 3.3: baselines
       and relational graphs of equal FLOPS.

    Examples
    --------
    >>> dense = relational_flops(nx.complete_graph(64), 512, rounds=4)
    >>> matching_width(nx.cycle_graph(64), dense, rounds=4)
    2365
    """
    try:
        wanted = index(flops)
    except TypeError:
        raise DtypeError(f"flops must be an int; got {type(flops).__name__}") from None

    def cost(width: int) -> int:
        return relational_flops(G, width, rounds, size_input, size_output)

    low = len(G)
    if cost(max(low, 1)) > wanted:
        raise ArgumentError(
            f"flops={wanted:,} is less than the narrowest network costs, {cost(low):,} with one neuron for each of the "
            f"{low} nodes; take fewer rounds or a smaller graph"
        )
    high = 2 * low
    while cost(high) <= wanted:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= wanted else (low, middle)
    return low if wanted - cost(low) <= cost(high) - wanted else high

"""From any networkx graph to a directed acyclic one: which end of an edge comes first, and a record of who decided."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

import networkx as nx
import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse import csgraph

from deepgraph.errors import ArgumentError, CycleError, StructureError, UnknownNodeError
from deepgraph.graph import CachedLayeredGraph, EdgeSet
from deepgraph.graph.arrays import compress
from deepgraph.graph.edge_store import FreeEdges
from deepgraph.graph.node_table import NodeTable
from deepgraph.graph.sampling import Seed, as_generator

__all__ = ["Orientation", "from_networkx", "oriented", "seed_number"]

Policy: TypeAlias = Literal["auto", "stored", "random", "degree", "bfs"]
Orientation: TypeAlias = Policy | Sequence[Hashable] | Mapping[Any, float]
IntArray: TypeAlias = npt.NDArray[np.int64]


def seed_number(seed: Seed = None) -> int:
    """Return the int that a seed stands for: an int itself, or one draw below 2^32 from a generator.

    Parameters
    ----------
    seed : int, numpy.random.Generator, torch.Generator or None
        None draws from numpy's global state.

    Raises
    ------
    ArgumentError
        When `seed` is negative or of another type.

    Examples
    --------
    >>> seed_number(7)
    7
    """
    rng = as_generator(seed)
    return int(seed) if isinstance(seed, (int, np.integer)) else int(rng.integers(2**32))


def oriented(
    num_nodes: int, src: IntArray, dst: IntArray, orientation: Orientation = "auto", seed: Seed = None
) -> CachedLayeredGraph:
    """Return the undirected edges {src[e], dst[e]} on nodes 0..num_nodes-1 as a directed acyclic graph.

    What `from_networkx` does with a `networkx.Graph`, for edges that are arrays already; here the layers are declared
    as node column `stage`. An undirected edge must be given once, and no self-loop.

    Raises
    ------
    ArgumentError, UnknownNodeError
        When the policy is unknown or a given order does not name every node once, as in `from_networkx`.

    Examples
    --------
    >>> g = oriented(3, np.array([2, 0]), np.array([1, 1]), orientation="stored")
    >>> sorted(g.edges), g.stage_array().tolist()
    ([(0, 1), (1, 2)], [0, 1, 2])
    """
    record: dict[str, Any] = {"policy": "kept", "seed": None}
    rank = _rank(num_nodes, None, (src, dst), orientation, seed, record)
    later = rank[src] > rank[dst]
    g = CachedLayeredGraph.from_arrays(np.where(later, dst, src), np.where(later, src, dst), num_nodes=num_nodes)
    g.set_node_column("stage", g.layer_array())
    _take_down(g, g.layer_array(), record)
    return g


def from_networkx(G: nx.Graph[Any], orientation: Orientation = "auto", seed: Seed = None) -> CachedLayeredGraph:
    """Return `G` as a directed acyclic `CachedLayeredGraph` with the same nodes, in the same order.

    Parameters
    ----------
    G : networkx.Graph or networkx.DiGraph
        N nodes and E edges, no self-loops, not a multigraph. Attributes come along; those that all nodes or all edges
        have, as numbers, booleans or (for nodes) strings, become columns.
    orientation : {"auto", "stored", "random", "degree", "bfs"}, sequence of nodes, or mapping node -> number
        Every edge of an undirected graph goes from the node that comes earlier to the one that comes later in

        - "random" ("auto" is the same): a uniformly random order, from `seed`;
        - "stored": the order of the nodes in `G`, which is what `add_edges_from(G.edges)` does. A ring becomes one
          long chain with a single sink, which hardly learns: use it on purpose only;
        - "degree": high degree first, equal degrees in stored order, so hubs become inputs;
        - "bfs": breadth first from the node of highest degree of each component, neighbours in stored order;
        - a sequence: all nodes, in that order; a mapping: ascending by value, equal values in stored order.

        A directed graph is kept as it is by "auto" and "stored", and refused by the others.
    seed : int, Generator or None
        Read by "random" only.

    Returns
    -------
    CachedLayeredGraph
        `graph["orientation"]` holds `policy` ("kept" for a directed graph, "given" for an order), `seed` (the int that
        gives this graph again, or None), the numbers of `sources` and `sinks` (an isolated node is both), and `depth`,
        the length of the longest path in edges.

    Raises
    ------
    CycleError
        When a directed graph has a cycle, which is named, or any graph a self-loop.
    StructureError
        When `G` is a multigraph.
    ArgumentError
        When the policy is unknown or does not apply to a directed graph, or a given order does not name every node
        once.
    UnknownNodeError
        When a given order names a node that `G` does not have.

    Notes
    -----
    One pass over networkx's dictionaries, the rest on arrays: O(N + E), plus a sort of the edges.

    Examples
    --------
    >>> import networkx as nx
    >>> g = from_networkx(nx.cycle_graph(5), orientation="stored")
    >>> sorted(g.edges)
    [(0, 1), (0, 4), (1, 2), (2, 3), (3, 4)]
    >>> g.graph["orientation"]
    {'policy': 'stored', 'seed': None, 'sources': 1, 'sinks': 1, 'depth': 4}
    """
    if G.is_multigraph():
        raise StructureError(
            "expected a graph with at most one edge between two nodes; got a multigraph: collapse it with nx.Graph(G) "
            "or nx.DiGraph(G)"
        )
    if isinstance(G, CachedLayeredGraph):
        nodes, g = G.labels(), G.copy()
        _check_kept(orientation)
        record: dict[str, Any] = {"policy": "kept", "seed": None}
    else:
        nodes = list(G)
        g, record = _oriented(G, nodes, orientation, seed)
    _take_down(g, _layers(g, nodes), record)
    return g


def _take_down(g: CachedLayeredGraph, layer: npt.NDArray[np.integer[Any]], record: dict[str, Any]) -> None:
    """Complete the record of the orientation with sources, sinks and depth, and hang it on the graph."""
    src, dst = g.edge_arrays()
    fan_out, fan_in = np.bincount(src, minlength=len(g)), np.bincount(dst, minlength=len(g))
    record.update(sources=int((fan_in == 0).sum()), sinks=int((fan_out == 0).sum()), depth=int(layer.max(initial=0)))
    g.graph["orientation"] = record


def _check_kept(orientation: Orientation) -> None:
    """Raise ArgumentError unless a directed graph may stay as it is."""
    if not isinstance(orientation, str) or orientation not in ("auto", "stored"):
        raise ArgumentError(
            f"a directed graph is kept as it is, so orientation must be 'auto'; got {orientation!r}: to direct its "
            "edges anew, pass G.to_undirected()"
        )


def _oriented(
    G: nx.Graph[Any], nodes: list[Hashable], orientation: Orientation, seed: Seed
) -> tuple[CachedLayeredGraph, dict[str, Any]]:
    """Return the directed graph and the beginning of its record."""
    index = {node: position for position, node in enumerate(nodes)}
    src, dst, attributes = _edges(G, index)
    record: dict[str, Any] = {"policy": "kept", "seed": None}
    if G.is_directed():
        _check_kept(orientation)
    else:
        rank = _rank(len(nodes), index, (src, dst), orientation, seed, record)
        later = rank[src] > rank[dst]
        src, dst = np.where(later, dst, src), np.where(later, src, dst)
    indptr, targets, order = compress(src, dst, len(nodes), len(nodes))
    edges = EdgeSet(indptr, targets, len(nodes), name="graph")
    rows = enumerate(range(src.size) if order is None else order.tolist())
    edges.columns.exotic = {row: dict(attributes[edge]) for row, edge in rows if attributes[edge]}
    numbered = all(type(node) is int for node in nodes) and nodes == list(range(len(nodes)))
    table = NodeTable(len(nodes), None if numbered else nodes)
    table.columns.exotic = {position: dict(data) for position, data in enumerate(G.nodes.values()) if data}
    return CachedLayeredGraph._from_parts(table, FreeEdges(edges), G.graph), record


def _layers(g: CachedLayeredGraph, nodes: list[Hashable]) -> npt.NDArray[Any]:
    """Return the layers (N,); a cycle is named by its nodes, not by positions."""
    try:
        return g.layer_array()
    except CycleError:
        cycle = [u for u, _ in nx.find_cycle(g)]
        inner = [repr(node) for node in cycle[:8]] + (["..."] if len(cycle) > 8 else [])
        shown = " -> ".join([*inner, repr(cycle[0])])
        raise CycleError(
            f"expected a directed acyclic graph; got a cycle of {len(cycle)} edges: {shown}. Remove one of them, or "
            "pass G.to_undirected() to direct the edges by an order of the nodes"
        ) from None


def _edges(G: nx.Graph[Any], index: Mapping[Hashable, int]) -> tuple[IntArray, IntArray, list[dict[str, Any]]]:
    """Return the edges of `G` as positions (E,), (E,) and their attributes, in stored order."""
    src, dst, attributes = [], [], []
    for u, v, data in G.edges(data=True):
        src.append(index[u])
        dst.append(index[v])
        attributes.append(data)
    source, target = np.array(src, dtype=np.int64), np.array(dst, dtype=np.int64)
    loops = np.flatnonzero(source == target)
    if loops.size:
        nodes = list(index)
        raise CycleError(
            f"expected no self-loops; got {loops.size}, the first at node {nodes[src[loops[0]]]!r}: remove them with "
            "G.remove_edges_from(list(nx.selfloop_edges(G)))"
        )
    return source, target, attributes


def _rank(
    n: int,
    index: Mapping[Hashable, int] | None,
    edges: tuple[IntArray, IntArray],
    orientation: Orientation,
    seed: Seed,
    record: dict[str, Any],
) -> npt.NDArray[np.int64]:
    """Return the place (N,) of every node in the order that `orientation` asks for; `record` notes the policy.

    `index` holds the position of every label; None where labels are positions.
    """
    if not isinstance(orientation, str):
        record["policy"] = "given"
        return _given_rank(orientation, {node: node for node in range(n)} if index is None else index)
    if orientation not in get_args(Policy):
        raise ArgumentError(
            f"orientation must be one of {get_args(Policy)}, a sequence of all nodes or a mapping; got {orientation!r}"
        )
    record["policy"] = "random" if orientation == "auto" else orientation
    if orientation == "stored":
        return np.arange(n)
    if record["policy"] == "random":
        record["seed"] = seed_number(seed)
        order = np.random.default_rng(record["seed"]).permutation(n)
    else:
        degree = np.bincount(np.concatenate(edges), minlength=n)
        order = np.argsort(-degree, kind="stable")
        if orientation == "bfs":
            order = _breadth_first(n, edges, order)
    rank = np.empty(n, dtype=np.int64)
    rank[order] = np.arange(n)
    return rank


def _given_rank(order: Sequence[Hashable] | Mapping[Any, float], index: Mapping[Hashable, int]) -> IntArray:
    """Return the place (N,) of every node in an order that the caller gave."""
    given = list(order)
    unknown = [node for node in given if node not in index]
    if unknown:
        raise UnknownNodeError(f"the order names nodes that the graph does not have: {unknown[:5]!r}; take them out")
    if len(given) != len(index) or len(set(given)) != len(index):
        missing = [node for node in index if node not in set(given)][:5]
        raise ArgumentError(
            f"the order must name each of the {len(index)} nodes once; got {len(given)} names of {len(set(given))} "
            f"nodes, missing {missing!r}"
        )
    positions = np.array([index[node] for node in given], dtype=np.int64)
    if isinstance(order, Mapping):
        value = np.array([order[node] for node in given], dtype=float)
        if np.isnan(value).any():
            raise ArgumentError(f"the order maps {given[int(np.isnan(value).argmax())]!r} to NaN; give a number")
        positions = positions[np.lexsort((positions, value))]
    rank = np.empty(positions.size, dtype=np.int64)
    rank[positions] = np.arange(positions.size)
    return rank


def _breadth_first(n: int, edges: tuple[IntArray, IntArray], by_degree: IntArray) -> IntArray:
    """Return the nodes (N,) breadth first, each component from its first node in `by_degree`.

    One search serves all components: it starts at an extra node n that is joined to every start. Components
    interleave in the result, which no edge can see.
    """
    src, dst = edges
    matrix = sparse.coo_array((np.ones(src.size, dtype=np.int8), (src, dst)), shape=(n, n))
    _, component = csgraph.connected_components(matrix, directed=False)
    _, first = np.unique(component[by_degree], return_index=True)
    start = by_degree[first]
    rows, columns = np.concatenate([src, dst, np.full(start.size, n)]), np.concatenate([dst, src, start])
    joined = sparse.csr_array((np.ones(rows.size, dtype=np.int8), (rows, columns)), shape=(n + 1, n + 1))
    joined.sort_indices()
    return np.asarray(csgraph.breadth_first_order(joined, n, return_predecessors=False), dtype=np.int64)[1:]

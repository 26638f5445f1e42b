"""Graphs made of a graph at array speed: copies of networkx's views, and graphs with other labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from deepgraph.graph.arrays import Array
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edge_store import EdgeStore, FreeEdges
from deepgraph.graph.grid_labels import GridLabels
from deepgraph.graph.node_table import NodeTable

if TYPE_CHECKING:
    from deepgraph.graph.cached_layered import CachedLayeredGraph
    from deepgraph.graph.graph_store import GraphStore

__all__ = ["copy_of_view", "moved_positions", "relabelled_nodes", "turned"]

# Graph attributes that list positions, and so move when nodes go.
_POSITIONS = ("inputs", "outputs")


def moved_positions(attributes: dict[str, Any], moved: Array) -> dict[str, Any]:
    """Return graph attributes in which positions are those after a move: `moved` (N,) is -1 for nodes that went."""
    result = dict(attributes)
    for key in result.keys() & set(_POSITIONS):
        places = moved[np.asarray(result[key], np.int64)]
        result[key] = places[places >= 0].tolist()
    return result


def turned(store: GraphStore) -> FreeEdges:
    """Return the edges of a graph turned round, their columns with them; without history."""
    indptr, src, order = store.edges.csc()
    columns = store.edges.edge_set().columns.take(order)
    return FreeEdges(EdgeSet(indptr.copy(), src.copy(), store.nodes.count, columns, name="graph"))


def copy_of_view(view: CachedLayeredGraph) -> CachedLayeredGraph | None:
    """Return a free copy of one of networkx's views of a graph of ours; None for a view of another kind."""
    from deepgraph.graph.cached_layered import CachedLayeredGraph

    root = view.__dict__.get("_graph")
    if not isinstance(root, CachedLayeredGraph):
        return None
    rows, whole = view.__dict__["_adj"], root.__dict__
    node_ok, edge_ok = view.__dict__.get("_NODE_OK"), view.__dict__.get("_EDGE_OK")
    if node_ok is None and rows not in (whole["_adj"], whole["_pred"]):
        return None
    # The rows of a view may be the root's own, which it must not lose sight of when those are merged.
    forward, owns = rows is whole["_adj"], root._owns()
    base = root if owns else root.copy()
    store = base._arrays()
    if node_ok is not None and edge_ok is not None:
        nodes, edges, moved = _filtered(store, node_ok, edge_ok)
        return base._from_parts_of_class(nodes, edges, moved_positions(view.graph, moved))
    parts = store.edges.copy().without_history() if forward else turned(store)
    return base._from_parts_of_class(store.nodes.copy(), parts, dict(view.graph))


def _filtered(
    store: GraphStore, node_ok: Callable[[Any], bool], edge_ok: Callable[[Any, Any], bool]
) -> tuple[NodeTable, EdgeStore, Array]:
    """Return the nodes and edges that pass two filters, and where the nodes went."""
    count = store.nodes.count
    keep = _kept_nodes(store.nodes, node_ok)
    kept = np.flatnonzero(keep)
    moved = np.where(keep, np.cumsum(keep) - 1, -1)
    src, dst = store.edges.pairs()
    rows = np.flatnonzero(keep[src] & keep[dst])
    if edge_ok is not nx.filters.no_filter:
        label = store.nodes.label
        ends = zip(src[rows].tolist(), dst[rows].tolist(), strict=True)
        rows = rows[np.fromiter((bool(edge_ok(label(u), label(v))) for u, v in ends), bool, len(rows))]
    indptr = np.zeros(len(kept) + 1, np.int64)
    np.cumsum(np.bincount(moved[src[rows]], minlength=len(kept)), out=indptr[1:])
    columns = store.edges.edge_set().columns.take(rows)
    edges = EdgeSet(indptr, moved[dst[rows]].astype(np.int32), len(kept), columns, name="graph")
    nodes = NodeTable(len(kept), _kept_labels(store.nodes, kept, count))
    nodes.columns = store.nodes.sync().take(kept)
    return nodes, FreeEdges(edges), moved


def _kept_nodes(nodes: NodeTable, node_ok: Callable[[Any], bool]) -> Array:
    keep = np.zeros(nodes.count, bool)
    if isinstance(node_ok, nx.filters.show_nodes):
        for label in node_ok.nodes:
            try:
                keep[nodes.slot(label)] = True
            except KeyError:
                # A filter may name nodes that its graph has lost since.
                continue
        return keep
    return np.fromiter((bool(node_ok(label)) for label in nodes.labels()), bool, nodes.count)


def _kept_labels(nodes: NodeTable, kept: Array, count: int) -> list[Hashable] | GridLabels | None:
    """Return the labels of the nodes `kept` (K,), as few as are needed."""
    if nodes.names is None:
        return None if not len(kept) or kept[-1] == len(kept) - 1 else kept.tolist()
    if isinstance(nodes.names, GridLabels):
        return nodes.names.taken(kept)
    return [nodes.names[slot] for slot in kept.tolist()] if len(kept) < count else list(nodes.names)


def relabelled_nodes(
    nodes: NodeTable, mapping: Mapping[Hashable, Hashable] | Callable[[Hashable], Hashable]
) -> NodeTable | None:
    """Return nodes with other labels, None if two get the same one or one gets None."""
    old = list(nodes.labels())
    new = [mapping(label) for label in old] if callable(mapping) else [mapping.get(label, label) for label in old]
    if len(set(new)) < len(new) or None in new:
        return None
    result = nodes.copy()
    if all(one is other for one, other in zip(new, old, strict=True)):
        return result
    result.names = None if new == list(range(len(new))) and all(type(label) is int for label in new) else new
    result.index = None
    return result

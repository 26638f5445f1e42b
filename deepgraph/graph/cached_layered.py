"""`CachedLayeredGraph`: a networkx DiGraph on arrays."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from copy import deepcopy
from typing import Any

import networkx as nx
import numpy as np

from deepgraph.errors import ArgumentError, EditRefusedError, TooLargeError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.arrays import MAX_NODES, as_ids
from deepgraph.graph.bound_edges import BoundEdges
from deepgraph.graph.derived import copy_of_view, moved_positions, relabelled_nodes, turned
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.edge_store import EdgeStore, FreeEdges
from deepgraph.graph.node_table import NodeTable
from deepgraph.graph.views import AdjacencyMapping, EdgeData, GraphStore, NeighbourRow, NodeData, NodeMapping

__all__ = ["CachedLayeredGraph"]


class CachedLayeredGraph(ArrayGraph):
    """A directed graph that networkx works on and that is stored as arrays; its layers are cached.

    It is an `nx.DiGraph` in every respect: what networkx mutates, the arrays follow. Besides, there is an array API
    that speaks positions, the indexes of nodes in `list(g)`.

    Parameters
    ----------
    incoming_graph_data : graph, edge list, dict or array, optional
        Whatever `nx.DiGraph` takes.
    **attr
        Graph attributes.

    Notes
    -----
    8 bytes an edge with one float32 column, 17 once predecessors were asked for. Building from sorted arrays is O(E).
    Edges come in canonical order, sorted by (source, target), after the arrays were asked for, and new edges at the
    end of their row before that; networkx's order for the same calls differs there.

    Examples
    --------
    >>> g = CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2], weight=[0.5, -1.0, 2.0])
    >>> nx.dag_longest_path(g), g[0][2]["weight"], g.layer_array().tolist()
    ([0, 1, 2], -1.0, [0, 1, 2])
    """

    node_dict_factory = NodeMapping
    node_attr_dict_factory = NodeData
    adjlist_outer_dict_factory = AdjacencyMapping
    adjlist_inner_dict_factory = NeighbourRow
    edge_attr_dict_factory = EdgeData

    def __init__(self, incoming_graph_data: Any = None, **attr: Any) -> None:
        self.graph: dict[str, Any] = {}
        self._attach(GraphStore())
        attr.pop("backend", None)
        if isinstance(incoming_graph_data, CachedLayeredGraph):
            given = incoming_graph_data
            other = given if given._owns() else given.copy()
            store = other._arrays()
            self._attach(GraphStore(store.nodes.copy(), store.edges.copy().without_history()))
            self.graph.update(other.graph)
        elif incoming_graph_data is not None:
            nx.convert.to_networkx_graph(incoming_graph_data, create_using=self)
        self.graph.update(attr)

    def _attach(self, store: GraphStore) -> None:
        self._store = store
        self._node = NodeMapping(store)
        self._adj = AdjacencyMapping(store, forward=True)
        self._pred = AdjacencyMapping(store, forward=False)

    @property  # type: ignore[override]
    def __networkx_cache__(self) -> None:
        # networkx keeps converted copies here, which would go stale at array edits; it accepts None.
        return None

    @__networkx_cache__.setter
    def __networkx_cache__(self, value: Any) -> None:
        """Pass over what networkx's flow algorithms set, which is None, to say the same."""

    @classmethod
    def _from_parts(cls, nodes: NodeTable, edges: EdgeStore, attributes: dict[str, Any]) -> CachedLayeredGraph:
        result = cls()
        result._attach(GraphStore(nodes, edges))
        result.graph.update(attributes)
        return result

    @classmethod
    def from_arrays(cls, src: Any, dst: Any, num_nodes: int | None = None, **columns: Any) -> CachedLayeredGraph:
        """Return a graph from arrays of edges; the label of a node is its position.

        Parameters
        ----------
        src, dst : (E,) int
            Positions of sources and targets, in any order.
        num_nodes : int, optional
            Number of nodes; default one more than the largest position.
        **columns : (E,) arrays
            Edge columns, in the order of the given edges; NaN is allowed here and refused by modules.

        Raises
        ------
        EdgeError
            If an edge occurs twice.
        ArgumentError, DtypeError, ShapeError, TooLargeError
            If ids, columns or the number of nodes are not valid.

        Notes
        -----
        O(E) if the edges come sorted, O(E log E) otherwise. Cycles are found when layers are asked for.

        Examples
        --------
        >>> g = CachedLayeredGraph.from_arrays([1, 0], [2, 1], num_nodes=4, weight=[2.0, 1.0])
        >>> len(g), g.column("weight").tolist()
        (4, [1.0, 2.0])
        """
        if num_nodes is None:
            u, v = as_ids(src, None, "src"), as_ids(dst, None, "dst")
            num_nodes = int(max(u.max(initial=-1), v.max(initial=-1))) + 1
        if isinstance(num_nodes, bool) or not isinstance(num_nodes, (int, np.integer)) or num_nodes < 0:
            raise ArgumentError(f"num_nodes: expected an integer from 0, got {num_nodes!r}")
        if num_nodes > MAX_NODES:
            raise TooLargeError(f"num_nodes: expected at most {MAX_NODES:,} nodes, got {num_nodes:,}")
        edges = EdgeSet.from_pairs(src, dst, int(num_nodes), int(num_nodes), columns, name="graph")
        return cls._from_parts(NodeTable(int(num_nodes)), FreeEdges(edges), {})

    # -- whether this object is a graph of its own, or one of networkx's views ------------------------------------

    def _owns(self) -> bool:
        adj, pred, store = self.__dict__["_adj"], self.__dict__["_pred"], self._store
        return (
            isinstance(adj, AdjacencyMapping)
            and isinstance(pred, AdjacencyMapping)
            and adj.store is store
            and pred.store is store
            and adj.forward
            and not pred.forward
        )

    def _arrays(self) -> GraphStore:
        """Return the store with the overlay merged and no holes; a view is copied first."""
        if not self._owns():
            return self.copy()._arrays()
        moved = self._store.compact()
        if moved is not None:
            self.graph.update(moved_positions(self.graph, moved))
        self._store.edges.consolidate(self._store.nodes.count)
        return self._store

    def _owned(self, what: str) -> GraphStore:
        if not self._owns():
            raise EditRefusedError(f"{what}: expected a graph, got a view of one; edit g.copy() or the graph itself")
        return self._arrays()

    def _ends(self, key: str, roles: tuple[str, str]) -> Any:
        return super()._ends(key, roles) if self._owns() else self.copy()._ends(key, roles)

    # -- networkx's mutators --------------------------------------------------------------------------------------

    def add_node(self, node_for_adding: Hashable, **attr: Any) -> None:
        """Add a node, or update the attributes of an existing one."""
        if not self._owns():
            super().add_node(node_for_adding, **attr)
            return
        slot = self._store.slot(node_for_adding)
        if attr:
            self._store.node_data(slot).update(attr)

    def add_nodes_from(self, nodes_for_adding: Iterable[Any], **attr: Any) -> None:
        """Add nodes, given as labels or as (label, attributes)."""
        if not self._owns():
            super().add_nodes_from(nodes_for_adding, **attr)
            return
        for item in nodes_for_adding:
            try:
                hash(item)
                label, attributes = item, attr
            except TypeError:
                # A (label, dict) pair cannot be a key, which is how networkx tells it from a label.
                label, own = item
                attributes = {**attr, **own}
            slot = self._store.slot(label)
            if attributes:
                self._store.node_data(slot).update(attributes)

    def remove_node(self, n: Hashable) -> None:
        """Remove a node and its edges; later nodes move up one position."""
        if not self._owns():
            super().remove_node(n)
            return
        try:
            self._store.remove_node(n)
        except KeyError as error:
            raise nx.NetworkXError(f"The node {n} is not in the digraph.") from error

    def remove_nodes_from(self, nodes: Iterable[Hashable]) -> None:
        """Remove nodes; those that are not there are passed over."""
        if not self._owns():
            super().remove_nodes_from(nodes)
            return
        for n in nodes:
            try:
                self._store.remove_node(n)
            except KeyError:
                continue

    def add_edge(self, u_of_edge: Hashable, v_of_edge: Hashable, **attr: Any) -> None:
        """Add an edge, or update the attributes of an existing one."""
        if not self._owns():
            super().add_edge(u_of_edge, v_of_edge, **attr)
            return
        u, v = self._store.slot(u_of_edge), self._store.slot(v_of_edge)
        self._store.add_edge(u, v, attr)

    def add_edges_from(self, ebunch_to_add: Iterable[Any], **attr: Any) -> None:
        """Add edges, given as (u, v) or (u, v, attributes); on a compiled graph as one edit, all or none."""
        if not self._owns():
            super().add_edges_from(ebunch_to_add, **attr)
            return
        edges = self._store.edges
        wanted: dict[tuple[int, int], dict[str, Any]] = {}
        for e in ebunch_to_add:
            if len(e) not in (2, 3):
                raise nx.NetworkXError(f"Edge tuple {e} must be a 2-tuple or 3-tuple.")
            attributes = {**attr, **e[2]} if len(e) == 3 else attr
            pair = self._store.slot(e[0]), self._store.slot(e[1])
            if edges.bound:
                wanted.setdefault(pair, {}).update(attributes)
            else:
                edges.add(*pair, attributes)
        if isinstance(edges, BoundEdges):
            edges.add_many(wanted)

    def remove_edge(self, u: Hashable, v: Hashable) -> None:
        """Remove an edge."""
        if not self._owns():
            super().remove_edge(u, v)
            return
        try:
            del self._adj[u][v]
        except KeyError as error:
            raise nx.NetworkXError(f"The edge {u}-{v} not in graph.") from error

    def remove_edges_from(self, ebunch: Iterable[Any]) -> None:
        """Remove edges; those that are not there are passed over. On a compiled graph this is one edit."""
        if not self._owns():
            super().remove_edges_from(ebunch)
            return
        pairs: dict[tuple[int, int], None] = {}
        for e in ebunch:
            if e[0] in self._adj and e[1] in self._adj[e[0]]:
                pair = self._store.nodes.slot(e[0]), self._store.nodes.slot(e[1])
                if self._store.bound:
                    pairs[pair] = None
                else:
                    self._store.remove_edge(*pair)
        if pairs:
            self.edit(drop=tuple(np.array(list(pairs), np.int64).T), reason="networkx")

    def clear(self) -> None:
        """Remove all nodes, edges and attributes."""
        if not self._owns():
            super().clear()
            return
        self._store.clear()
        self.graph.clear()

    def clear_edges(self) -> None:
        """Remove all edges."""
        if not self._owns():
            super().clear_edges()
            return
        self._store.clear_edges()

    # -- networkx's readers that arrays answer faster --------------------------------------------------------------

    def has_edge(self, u: Hashable, v: Hashable) -> bool:
        """Return whether (u, v) is an edge."""
        if not self._owns():
            return bool(super().has_edge(u, v))
        try:
            return self._store.edges.has(self._store.nodes.slot(u), self._store.nodes.slot(v))
        except KeyError:
            return False

    def size(self, weight: str | None = None) -> Any:
        """Return the number of edges, or the sum of their weights."""
        return len(self._store.edges) if weight is None and self._owns() else super().size(weight)

    def copy(self, as_view: bool = False) -> CachedLayeredGraph:
        """Return a free copy, at array speed; attribute values are shared as in networkx, edits are not."""
        if as_view:
            view: CachedLayeredGraph = super().copy(as_view=True)
            return view
        if self._owns():
            store = self._arrays()
            return self._from_parts_of_class(store.nodes.copy(), store.edges.copy(), dict(self.graph))
        found = copy_of_view(self)
        if found is not None:
            return found
        plain: CachedLayeredGraph = super().copy()
        return plain

    def _from_parts_of_class(
        self, nodes: NodeTable, edges: EdgeStore, attributes: dict[str, Any]
    ) -> CachedLayeredGraph:
        return self.__class__._from_parts(nodes, edges, attributes)

    def reverse(self, copy: bool = True) -> Any:
        """Return the graph with every edge turned round, a copy or a view; a copy has no history."""
        if not copy or not self._owns():
            return super().reverse(copy=copy)
        store = self._arrays()
        edges = turned(store)
        edges.edges.columns = deepcopy(edges.edges.columns)
        return self._from_parts_of_class(deepcopy(store.nodes.copy()), edges, deepcopy(self.graph))

    def relabel(self, mapping: Mapping[Hashable, Hashable] | Callable[[Hashable], Hashable]) -> CachedLayeredGraph:
        """Return a copy with other labels, at array speed; positions, edges and history are the same.

        Parameters
        ----------
        mapping : mapping or callable
            Old label to new one; labels that a mapping does not name stay.

        Raises
        ------
        ValueError
            If a label is None: networkx's error.

        Notes
        -----
        The result is that of `networkx.relabel_nodes`, also where nodes get the same label and are merged; those are
        left to networkx. networkx's own function visits every edge in Python, unless it is called in
        `with deepgraph.fast_networkx():` or with `backend="deepgraph"`, which make it this one.

        Examples
        --------
        >>> g = CachedLayeredGraph.from_arrays([0, 1], [1, 2])
        >>> list(g.relabel({0: "in", 2: "out"}).edges)
        [('in', 1), (1, 'out')]
        """
        nodes = relabelled_nodes(self._arrays().nodes, mapping) if self._owns() else None
        if nodes is None:
            merge: Any = nx.relabel_nodes
            merged: CachedLayeredGraph = merge(self, mapping)
            return merged
        return self._from_parts_of_class(nodes, self._store.edges.copy(), dict(self.graph))

    # -- copies of the object --------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        if not self._owns():
            return {"__dict__": dict(self.__dict__)}
        store = self._arrays()
        known = {"graph", "_store", "_node", "_adj", "_succ", "_pred"}
        cached = {"adj", "succ", "pred", "nodes", "edges", "out_edges", "in_edges", "degree", "in_degree", "out_degree"}
        extra = {key: value for key, value in self.__dict__.items() if key not in known | cached}
        return {"graph": self.graph, "nodes": store.nodes.copy(), "edges": store.edges.copy(), "extra": extra}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "__dict__" in state:
            self.__dict__.update(state["__dict__"])
            return
        self.graph = state["graph"]
        self._attach(GraphStore(state["nodes"], state["edges"]))
        self.__dict__.update(state["extra"])

"""`GraphStore`: nodes and edges of one graph, and the live proxies of their attributes."""

from __future__ import annotations

import abc
import weakref
from collections.abc import Hashable, Iterator, Mapping, MutableMapping
from copy import deepcopy
from typing import Any

from deepgraph.errors import ArgumentError, EditRefusedError
from deepgraph.graph.arrays import Array
from deepgraph.graph.columns import Columns
from deepgraph.graph.edge_store import EdgeStore, FreeEdges
from deepgraph.graph.node_table import NodeTable

__all__ = ["EdgeData", "GraphStore", "NodeData"]


class GraphStore:
    """Nodes and edges of one graph, and the live proxies of their attributes.

    Views refer to the store and not to the graph, so that large arrays go as soon as the graph does.
    """

    def __init__(self, nodes: NodeTable | None = None, edges: EdgeStore | None = None) -> None:
        self.nodes = nodes if nodes is not None else NodeTable()
        self.edges: EdgeStore = edges if edges is not None else FreeEdges()
        self.edges.label = self.nodes.label
        self.edge_proxies: weakref.WeakValueDictionary[tuple[int, int], EdgeData] = weakref.WeakValueDictionary()
        self.node_proxies: weakref.WeakValueDictionary[int, NodeData] = weakref.WeakValueDictionary()

    @property
    def bound(self) -> bool:
        """Whether the edges belong to a module."""
        return self.edges.bound

    # -- nodes --------------------------------------------------------------------------------------------------

    def slot(self, label: Hashable) -> int:
        """Return the slot of a node, added if it is new."""
        try:
            return self.nodes.slot(label)
        except KeyError:
            return self.add_node(label)

    def add_node(self, label: Hashable) -> int:
        """Add a node."""
        if label is None:
            raise ArgumentError("None cannot be a node")
        self.refuse_nodes("add a node")
        return self.nodes.add(label)

    def remove_node(self, label: Hashable) -> None:
        """Remove a node and its edges; KeyError if there is none."""
        slot = self.nodes.slot(label)
        self.refuse_nodes("remove a node")
        for v in self.edges.successors(slot):
            self.remove_edge(slot, v)
        for u in self.edges.predecessors(slot):
            self.remove_edge(u, slot)
        proxy = self.node_proxies.pop(slot, None)
        if proxy is not None:
            proxy.detach()
        self.nodes.remove(slot)

    def refuse_nodes(self, what: str) -> None:
        """Raise EditRefusedError if the nodes are those of a compiled model."""
        if self.bound:
            raise EditRefusedError(
                f"cannot {what}: the graph belongs to a compiled model, whose nodes are fixed; "
                "edit a free copy, g.copy(), and compile that"
            )

    def node_data(self, slot: int) -> NodeData:
        """Return the one live proxy of a node's attributes."""
        proxy = self.node_proxies.get(slot)
        if proxy is None:
            proxy = self.node_proxies[slot] = NodeData(self, slot)
        return proxy

    # -- edges --------------------------------------------------------------------------------------------------

    def edge_data(self, u: int, v: int) -> EdgeData:
        """Return the one live proxy of an edge's attributes."""
        proxy = self.edge_proxies.get((u, v))
        if proxy is None:
            proxy = self.edge_proxies[u, v] = EdgeData(self, u, v)
        return proxy

    def add_edge(self, u: int, v: int, attributes: Mapping[str, Any]) -> None:
        """Add an edge between two slots, or update the attributes of an existing one."""
        self.edges.add(u, v, dict(attributes))

    def remove_edge(self, u: int, v: int) -> None:
        """Remove an existing edge; a proxy that somebody holds keeps its values."""
        proxy = self.edge_proxies.get((u, v))
        kept = proxy.copy() if proxy is not None else {}
        self.edges.remove(u, v)
        if proxy is not None:
            del self.edge_proxies[u, v]
            proxy.detach(kept)

    def detach_missing(self, values: Mapping[tuple[int, int], dict[str, Any]]) -> None:
        """Detach the proxies of edges that a bulk edit dropped; `values` is what `held_values` gave before it."""
        for (u, v), kept in values.items():
            proxy = self.edge_proxies.get((u, v))
            if proxy is not None and not self.edges.has(u, v):
                del self.edge_proxies[u, v]
                proxy.detach(kept)

    def held_values(self) -> dict[tuple[int, int], dict[str, Any]]:
        """Return the attributes of edges whose proxies somebody holds; a module may have dropped some unseen."""
        held = list(self.edge_proxies.items())
        return {key: proxy.copy() for key, proxy in held if self.edges.has(*key)}

    def clear(self) -> None:
        """Remove all nodes and edges."""
        self.refuse_nodes("clear the graph")
        for node in list(self.node_proxies.values()):
            node.detach()
        self.node_proxies.clear()
        self._detach_edges()
        epoch = self.nodes.epoch + 1
        self.nodes, self.edges = NodeTable(), FreeEdges()
        self.nodes.epoch, self.edges.label = epoch, self.nodes.label

    def clear_edges(self) -> None:
        """Remove all edges."""
        held = self.held_values()
        self.edges.clear()
        self.detach_missing(held)

    def _detach_edges(self) -> None:
        held = self.held_values()
        for key, proxy in list(self.edge_proxies.items()):
            proxy.detach(held.get(key, {}))
        self.edge_proxies.clear()

    def compact(self) -> Array | None:
        """Close the holes of removed nodes, so that slots are positions; return where slots went, None if nowhere."""
        moved = self.nodes.compact()
        if moved is not None:
            self.edges.renumber(moved, self.nodes.count)
            self._rekey(moved)
        return moved

    def _rekey(self, moved: Array) -> None:
        proxies = list(self.edge_proxies.items())
        self.edge_proxies.clear()
        for (u, v), proxy in proxies:
            proxy.u, proxy.v = int(moved[u]), int(moved[v])
            self.edge_proxies[proxy.u, proxy.v] = proxy
        nodes = list(self.node_proxies.items())
        self.node_proxies.clear()
        for slot, node in nodes:
            node.slot = int(moved[slot])
            self.node_proxies[node.slot] = node


class _Attributes(MutableMapping[str, Any]):
    """Attributes of one node or edge; equal to the dict of the same items."""

    __slots__ = ("__weakref__", "_own", "store")
    store: GraphStore
    _own: dict[str, Any] | None

    @abc.abstractmethod
    def _where(self) -> tuple[Columns, int] | dict[str, Any]:
        """Return where the attributes are: a table and its row, or a dict."""

    def detach(self, values: dict[str, Any] | None = None) -> None:
        """Keep the values apart from the graph: the node or edge has been removed."""
        self._own = self.copy() if values is None else values

    def __getitem__(self, key: str) -> Any:
        where = self._where()
        return where[key] if isinstance(where, dict) else where[0].get(where[1], key)

    def __setitem__(self, key: str, value: Any) -> None:
        where = self._where()
        if isinstance(where, dict):
            where[key] = value
        else:
            where[0].set(where[1], key, value)

    def __delitem__(self, key: str) -> None:
        where = self._where()
        if isinstance(where, dict):
            del where[key]
        else:
            where[0].delete(where[1], key)

    def __iter__(self) -> Iterator[str]:
        where = self._where()
        return iter(where) if isinstance(where, dict) else where[0].keys(where[1])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        where = self._where()
        return key in where if isinstance(where, dict) else where[0].holds(where[1], key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return an attribute, `default` where there is none."""
        where = self._where()
        if isinstance(where, dict):
            return where.get(key, default)
        return where[0].get(where[1], key) if where[0].holds(where[1], key) else default

    def copy(self) -> dict[str, Any]:
        """Return a plain dict."""
        where = self._where()
        return dict(where) if isinstance(where, dict) else where[0].row(where[1])

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def __ior__(self, other: Mapping[str, Any]) -> _Attributes:
        self.update(other)
        return self

    def __repr__(self) -> str:
        return repr(self.copy())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self.copy(),)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return deepcopy(self.copy(), memo)


class EdgeData(_Attributes):
    """The attributes of one edge."""

    __slots__ = ("u", "v")

    def __init__(self, store: GraphStore | None = None, u: int = -1, v: int = -1) -> None:
        # Without a store these are attributes of no edge: networkx makes such ones before it adds an edge.
        self.store, self.u, self.v = store if store is not None else GraphStore(), u, v
        self._own = None if store is not None else {}

    def _where(self) -> tuple[Columns, int] | dict[str, Any]:
        return self._own if self._own is not None else self.store.edges.table(self.u, self.v)


class NodeData(_Attributes):
    """The attributes of one node."""

    __slots__ = ("slot",)

    def __init__(self, store: GraphStore | None = None, slot: int = -1) -> None:
        self.store, self.slot = store if store is not None else GraphStore(), slot
        self._own = None if store is not None else {}

    def _where(self) -> tuple[Columns, int] | dict[str, Any]:
        return self._own if self._own is not None else (self.store.nodes.sync(), self.slot)

"""The mappings that networkx sees: lazy, write-through views on a `GraphStore`, no dict of dicts behind them."""

from __future__ import annotations

from collections.abc import Hashable, ItemsView, Iterator, Mapping, MutableMapping
from typing import Any

from deepgraph.graph.graph_store import EdgeData, GraphStore, NodeData

__all__ = ["AdjacencyMapping", "EdgeData", "GraphStore", "NeighbourRow", "NodeData", "NodeMapping"]


class _ByLabel(MutableMapping[Any, Any]):
    """A mapping whose keys are the labels of the nodes, in their order."""

    __slots__ = ("store",)

    def __init__(self, store: GraphStore | None = None) -> None:
        self.store = store if store is not None else GraphStore()

    def __delitem__(self, label: Hashable) -> None:
        self.store.remove_node(label)

    def __iter__(self) -> Iterator[Hashable]:
        return self.store.nodes.labels()

    def __len__(self) -> int:
        return len(self.store.nodes)

    def __contains__(self, label: object) -> bool:
        try:
            self.store.nodes.slot(label)
        except KeyError:
            return False
        return True


class NodeMapping(_ByLabel):
    """label -> attributes, in the order of the nodes."""

    __slots__ = ()

    def __getitem__(self, label: Hashable) -> NodeData:
        return self.store.node_data(self.store.nodes.slot(label))

    def __setitem__(self, label: Hashable, attributes: Mapping[str, Any]) -> None:
        proxy = self.store.node_data(self.store.slot(label))
        kept = dict(attributes)
        proxy.clear()
        proxy.update(kept)

    def clear(self) -> None:
        """Remove all nodes."""
        for label in list(self):
            del self[label]

    def __repr__(self) -> str:
        return repr({label: dict(data) for label, data in self.items()})


class AdjacencyMapping(_ByLabel):
    """label -> row of neighbours; `forward` rows are successors, others predecessors."""

    __slots__ = ("forward",)

    def __init__(self, store: GraphStore | None = None, forward: bool = True) -> None:
        super().__init__(store)
        self.forward = forward

    def __getitem__(self, label: Hashable) -> NeighbourRow:
        return NeighbourRow(self.store, self.store.nodes.slot(label), self.forward)

    def __setitem__(self, label: Hashable, row: Mapping[Hashable, Any]) -> None:
        slot = self.store.slot(label)
        mine = NeighbourRow(self.store, slot, self.forward)
        wanted = dict(row)
        mine.clear()
        mine.update(wanted)

    def __repr__(self) -> str:
        return repr({label: {v: dict(d) for v, d in row.items()} for label, row in self.items()})


class _RowItems(ItemsView[Any, Any]):
    """The items of a row, without a search for each: this is how networkx walks over all edges."""

    _mapping: NeighbourRow

    def __iter__(self) -> Iterator[tuple[Hashable, EdgeData]]:
        row = self._mapping
        node, others, store = row._node(), row._others(), row.store
        names = store.nodes.names
        for v in others:
            u, w = (node, v) if row.forward else (v, node)
            yield v if names is None else names[v], store.edge_data(u, w)


class NeighbourRow(MutableMapping[Any, Any]):
    """neighbour -> attributes of the edge; `forward` rows are successors, others predecessors."""

    __slots__ = ("_epoch", "_slot", "forward", "label", "store")

    def __init__(self, store: GraphStore | None = None, slot: int = -1, forward: bool = True) -> None:
        self.store = store if store is not None else GraphStore()
        self._slot, self.forward = slot, forward
        self._epoch = self.store.nodes.epoch
        self.label = self.store.nodes.label(slot) if slot >= 0 else None

    def _node(self) -> int:
        """Return the slot of the row's node, -1 if it is gone: a row may be held while nodes are removed."""
        nodes = self.store.nodes
        if self._epoch != nodes.epoch:
            try:
                self._slot, self._epoch = nodes.slot(self.label), nodes.epoch
            except KeyError:
                return -1
        return -1 if self._slot in nodes.holes else self._slot

    def _pair(self, label: Hashable) -> tuple[int, int]:
        """Return the ends of the edge to `label`; KeyError if there is none."""
        node, other = self._node(), self.store.nodes.slot(label)
        u, v = (node, other) if self.forward else (other, node)
        if node < 0 or not self.store.edges.has(u, v):
            raise KeyError(label)
        return u, v

    def _others(self) -> list[int]:
        node = self._node()
        if node < 0:
            return []
        return self.store.edges.successors(node) if self.forward else self.store.edges.predecessors(node)

    def __getitem__(self, label: Hashable) -> EdgeData:
        return self.store.edge_data(*self._pair(label))

    def __setitem__(self, label: Hashable, attributes: Mapping[str, Any]) -> None:
        node, other = self.store.slot(self.label), self.store.slot(label)
        u, v = (node, other) if self.forward else (other, node)
        held = self.store.edge_proxies.get((u, v))
        if held is not None and held is attributes:
            return
        wanted = dict(attributes)
        if self.store.edges.has(u, v):
            data = self.store.edge_data(u, v)
            for name in [name for name in data if name not in wanted]:
                del data[name]
            data.update(wanted)
            return
        self.store.add_edge(u, v, wanted)
        if isinstance(attributes, EdgeData) and attributes._own is not None and attributes.store is self.store:
            # networkx keeps a removed edge's attributes and adds it again with them: the proxy lives on.
            attributes._own, attributes.u, attributes.v = None, u, v
            self.store.edge_proxies[u, v] = attributes

    def __delitem__(self, label: Hashable) -> None:
        self.store.remove_edge(*self._pair(label))

    def __iter__(self) -> Iterator[Hashable]:
        others = self._others()
        names = self.store.nodes.names
        return iter(others) if names is None else iter([names[v] for v in others])

    def items(self) -> ItemsView[Any, Any]:
        """Return the pairs (neighbour, attributes of the edge)."""
        return _RowItems(self)

    def __len__(self) -> int:
        node = self._node()
        if node < 0:
            return 0
        return self.store.edges.out_degree(node) if self.forward else self.store.edges.in_degree(node)

    def __contains__(self, label: object) -> bool:
        try:
            self._pair(label)
        except KeyError:
            return False
        return True

    def clear(self) -> None:
        """Remove all edges of the row."""
        for label in list(self):
            del self[label]

    def copy(self) -> dict[Hashable, Any]:
        """Return a plain dict of the row."""
        return dict(self.items())

    def __repr__(self) -> str:
        return repr({label: dict(data) for label, data in self.items()})

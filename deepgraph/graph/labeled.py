"""`LabeledDAG`: a graph whose nodes are put into layers by name; and the layer index of any directed graph."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import networkx as nx
import numpy as np

from deepgraph.errors import ArgumentError, CycleError, DtypeError, ShapeError, StructureError
from deepgraph.graph.arrays import Array
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.edge_store import EdgeStore
from deepgraph.graph.history import EdgeEdit
from deepgraph.graph.node_table import NodeTable

__all__ = ["LabeledDAG", "build_layer_index", "uniform_proportions"]


class LabeledDAG(CachedLayeredGraph):
    """A directed acyclic graph whose nodes say in which layer they lie; edges go from lower to higher layers.

    The layer of a node is what its node column `stage` declares, and no edit moves it. A node that is added without
    one lies in layer 0, or one above the source of the edge that brought it.

    Parameters
    ----------
    incoming_graph_data : graph, edge list, dict or array, optional
        Whatever `nx.DiGraph` takes; nodes lie where its `stage` says, by default at their longest path.
    **attr
        Graph attributes.

    Raises
    ------
    CycleError, StructureError
        If the data have a cycle, or edges that do not go up in `stage`.

    Examples
    --------
    >>> dag = LabeledDAG()
    >>> inputs, hidden = dag.add_vertices(2, layer=0), dag.add_vertices(3, layer=1)
    >>> dag.add_edges_from((u, v) for u in inputs for v in hidden)
    >>> dag.num_layers, dag.index_in_layer(hidden[2]), dag.layer_connection_size(0, 1)
    (2, 2, 6)
    """

    def __init__(self, incoming_graph_data: Any = None, **attr: Any) -> None:
        super().__init__(None, **attr)
        if incoming_graph_data is None:
            return
        given = CachedLayeredGraph(incoming_graph_data)
        stage = given.stage_array().tolist()
        self.graph.update({**given.graph, **attr})
        rows = zip(given.nodes(data=True), stage, strict=True)
        super().add_nodes_from((label, {**data, "stage": s}) for (label, data), s in rows)
        super().add_edges_from(given.edges(data=True))

    @classmethod
    def _from_parts(cls, nodes: NodeTable, edges: EdgeStore, attributes: dict[str, Any]) -> CachedLayeredGraph:
        result = super()._from_parts(nodes, edges, attributes)
        if len(result) and not result.has_node_column("stage"):
            result.set_node_column("stage", CachedLayeredGraph.layer_array(result))
        return result

    # -- layers -----------------------------------------------------------------------------------------------------

    def layer_array(self) -> Array:
        """Return the declared layer of every node (N,) int32.

        Raises
        ------
        StructureError
            If other code declared stages in which an edge does not go up.
        """
        return self.stage_array() if len(self) else super().layer_array()

    def index_in_layer(self, v: Hashable) -> int:
        """Return the place of node `v` among the nodes of its layer, counted from 0; UnknownNodeError if it is none."""
        position = int(self.positions([v])[0])
        layer = self.layer_array()
        return int((layer[:position] == layer[position]).sum())

    def _layer_of(self, v: Hashable) -> int | None:
        return int(self._node[v]["stage"]) if v in self._node else None

    # -- nodes ------------------------------------------------------------------------------------------------------

    def add_vertex(self, layer: int = 0) -> int:
        """Add a node, numbered by the next free integer, to a layer, and return it.

        Raises
        ------
        ArgumentError
            If the layer is no integer >= 0.
        """
        return self.add_vertices(1, layer)[0]

    def add_vertices(self, num_vertices: int, layer: int = 0) -> list[int]:
        """Add nodes, numbered by the next free integers, to a layer, and return them.

        Raises
        ------
        ArgumentError
            If there are fewer than one, or the layer is no integer >= 0.
        """
        if isinstance(num_vertices, bool) or not isinstance(num_vertices, (int, np.integer)) or num_vertices < 1:
            raise ArgumentError(f"num_vertices: expected an integer from 1, got {num_vertices!r}")
        stage, first = _checked_layer(layer), len(self)
        if first and any(v in self._node for v in range(first, first + int(num_vertices))):
            taken = [v for v in self._node if isinstance(v, (int, np.integer))]
            first = 1 + max(int(v) for v in taken)
        new = list(range(first, first + int(num_vertices)))
        super().add_nodes_from(new, stage=stage)
        return new

    def add_node(self, node_for_adding: Hashable, layer: int | None = None, **attr: Any) -> None:
        """Add a node to a layer, 0 unless given, or update the attributes of an existing one.

        Raises
        ------
        ArgumentError
            If the layer is no integer >= 0.
        StructureError
            If the node lies in another layer already.
        """
        self.add_nodes_from([(node_for_adding, attr)], layer=layer)

    def add_nodes_from(self, nodes_for_adding: Iterable[Any], layer: int | None = None, **attr: Any) -> None:
        """Add nodes, given as labels or as (label, attributes), to a layer, 0 unless given.

        Raises
        ------
        ArgumentError
            If the layer is no integer >= 0.
        StructureError
            If a node lies in another layer already; nodes before it have been added.
        """
        for item in nodes_for_adding:
            try:
                hash(item)
                label, own = item, attr
            except TypeError:
                label, own = item[0], {**attr, **item[1]}
            wanted = own.get("stage") if layer is None else layer
            known = self._layer_of(label)
            if known is not None and wanted is not None and wanted != known:
                raise StructureError(
                    f"node {label!r}: expected its layer {known}, got {wanted}; a declared layer stays, add a new node"
                )
            stage = known if known is not None else _checked_layer(0 if wanted is None else wanted)
            super().add_node(label, **{**own, "stage": stage})

    # -- edges ------------------------------------------------------------------------------------------------------

    def add_edge(
        self,
        u_of_edge: Hashable,
        v_of_edge: Hashable,
        source_layer: int | None = None,
        target_layer: int | None = None,
        **attr: Any,
    ) -> None:
        """Add an edge; a node that is new lies in the layer given, else in layer 0 or one above the edge's source.

        Raises
        ------
        CycleError
            If the edge closes a cycle; nothing was changed.
        StructureError
            If it does not go up in layer, or a node lies in another layer than given; nothing was changed.
        ArgumentError
            If a layer is no integer >= 0.
        """
        self.add_edges_from([(u_of_edge, v_of_edge, attr)], source_layer=source_layer, target_layer=target_layer)

    def add_edges_from(
        self,
        ebunch_to_add: Iterable[Any],
        source_layer: int | None = None,
        target_layer: int | None = None,
        **attr: Any,
    ) -> None:
        """Add edges, given as (u, v) or (u, v, attributes), all or none; layers and errors as for `add_edge`."""
        edges = [tuple(e) for e in ebunch_to_add]
        new: dict[Hashable, int] = {}

        def place(label: Hashable, given: int | None, default: int) -> int:
            known = new.get(label, self._layer_of(label))
            if known is None:
                new[label] = known = _checked_layer(default if given is None else given)
            elif given is not None and given != known:
                raise StructureError(f"node {label!r}: expected its layer {known}, got {given}; a declared layer stays")
            return known

        for u, v in (e[:2] for e in edges):
            low = place(u, source_layer, 0)
            high = place(v, target_layer, low + 1)
            if low >= high:
                self._refuse(u, v, low, high)
        super().add_nodes_from((label, {"stage": stage}) for label, stage in new.items())
        super().add_edges_from(edges, **attr)

    def _refuse(self, u: Hashable, v: Hashable, low: int, high: int) -> None:
        if u == v or (u in self._node and v in self._node and nx.has_path(self, v, u)):
            raise CycleError(f"expected a directed acyclic graph, but edge ({u!r}, {v!r}) closes a cycle")
        raise StructureError(
            f"expected an edge from a lower to a higher layer, got ({u!r}, {v!r}) from layer {low} to {high}; "
            "say where new nodes lie with source_layer=, target_layer= or add_vertex(layer=)"
        )

    def edit(
        self, drop: Any = None, grow: Any = None, step: int | None = None, reason: str = "", **columns: Any
    ) -> EdgeEdit:
        """Drop and grow edges at once; see `CachedLayeredGraph.edit`. Grown edges go up in layer, or StructureError."""
        if grow is not None and len(self):
            stage = self.stage_array()
            src, dst = (np.atleast_1d(np.asarray(ends, np.int64)) for ends in grow)
            inside = src.size and src.shape == dst.shape and min(src.min(), dst.min()) >= 0
            if inside and max(src.max(), dst.max()) < len(stage):
                down = np.flatnonzero(stage[src] >= stage[dst])
                if down.size:
                    a, b = int(src[down[0]]), int(dst[down[0]])
                    u, v = self.labels([a, b])
                    self._refuse(u, v, int(stage[a]), int(stage[b]))
        return super().edit(drop, grow, step, reason, **columns)

    def append(self, other: CachedLayeredGraph) -> None:
        """Put another graph on top: its first layer becomes this graph's last one, node by node, the rest is added.

        Edges and their attributes come along; nodes of `other` are numbered anew.

        Raises
        ------
        DtypeError
            If `other` is no layered graph.
        StructureError
            If a graph is empty or `other` has one layer only.
        ShapeError
            If the last layer here and the first layer there differ in size.
        """
        if not isinstance(other, CachedLayeredGraph):
            raise DtypeError(f"append: expected a layered graph, got {type(other).__name__}")
        if not len(self) or other.num_layers < 2:
            raise StructureError(
                f"append: expected a graph with nodes and one of at least 2 layers, got {len(self)} nodes and "
                f"{other.num_layers} layers"
            )
        top = self.num_layers - 1
        if self.last_layer_size != other.first_layer_size:
            raise ShapeError(
                f"append: expected a first layer of {self.last_layer_size} nodes, as the last one here, got "
                f"{other.first_layer_size}"
            )
        own = dict(zip(other.first_layer, self.last_layer, strict=True))
        for layer in other.layers[1:]:
            theirs = other.get_vertices(layer)
            if theirs:
                own.update(zip(theirs, self.add_vertices(len(theirs), layer=top + layer), strict=True))
        self.add_edges_from((own[u], own[v], data) for u, v, data in other.edges(data=True))


def _checked_layer(layer: Any) -> int:
    if isinstance(layer, bool) or not isinstance(layer, (int, np.integer)) or layer < 0:
        raise ArgumentError(f"layer: expected an integer from 0, got {layer!r}")
    return int(layer)


def uniform_proportions(graph: nx.Graph[Any]) -> dict[Hashable, float]:
    """Return the same share for every node, as a dictionary whose values sum to 1.

    Raises
    ------
    StructureError
        If the graph has no nodes.

    Examples
    --------
    >>> uniform_proportions(nx.path_graph(4))
    {0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25}
    """
    if len(graph) == 0:
        raise StructureError("expected a graph with nodes, got an empty graph; add nodes first")
    return dict.fromkeys(graph, 1 / len(graph))


def build_layer_index(
    graph: nx.DiGraph[Any], layer_index: Mapping[Hashable, int] | None = None
) -> tuple[dict[Hashable, int], dict[int, list[Hashable]]]:
    """Return the layer of every node, and the nodes of every layer, of a directed acyclic graph.

    The layer is the length of the longest path from a source.

    Parameters
    ----------
    graph : nx.DiGraph
    layer_index : mapping of node to layer, optional
        Layers that are known already: they stay, and the layers above follow from them.

    Raises
    ------
    DtypeError
        If the graph is not directed.
    CycleError
        If it has a cycle; the message names one.

    Notes
    -----
    O(N + E), without recursion.

    Examples
    --------
    >>> layer_of, nodes_in = build_layer_index(nx.DiGraph([("a", "b"), ("b", "c"), ("a", "c")]))
    >>> layer_of, nodes_in
    ({'a': 0, 'b': 1, 'c': 2}, {0: ['a'], 1: ['b'], 2: ['c']})
    """
    if not isinstance(graph, nx.DiGraph):
        raise DtypeError(f"expected a directed graph, got {type(graph).__name__}; orient it with from_networkx")
    layered = graph if isinstance(graph, CachedLayeredGraph) else CachedLayeredGraph(graph)
    found = dict(zip(layered, layered.layer_array().tolist(), strict=True))
    if layer_index:
        for v in nx.topological_sort(layered):
            above = 1 + max((found[u] for u in layered.predecessors(v)), default=-1)
            found[v] = int(layer_index.get(v, above))
    nodes: dict[int, list[Hashable]] = {layer: [] for layer in sorted(set(found.values()))}
    for v, layer in found.items():
        nodes[layer].append(v)
    return found, nodes

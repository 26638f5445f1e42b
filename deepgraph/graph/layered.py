"""`LayeredGraph`: what a graph in layers can be asked."""

from __future__ import annotations

import abc
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array

if TYPE_CHECKING:
    DiGraph = nx.DiGraph[Any]
else:
    DiGraph = nx.DiGraph

__all__ = ["LayeredGraph"]


class LayeredGraph(DiGraph, abc.ABC):
    """A directed graph whose nodes lie in layers 0..L-1.

    A subclass says in which layer each node lies; everything else follows.
    """

    @abc.abstractmethod
    def layer_array(self) -> Array:
        """Return the layer of every node (N,)."""

    @abc.abstractmethod
    def positions(self, labels: Any) -> Array:
        """Return the positions (K,) of labels."""

    @abc.abstractmethod
    def labels(self, positions: Any) -> list[Hashable]:
        """Return the labels of positions (K,)."""

    @abc.abstractmethod
    def edge_arrays(self) -> tuple[Array, Array]:
        """Return `(src, dst)` positions, each (E,)."""

    @property
    def num_layers(self) -> int:
        """Number of layers; 0 for a graph without nodes."""
        layers = self.layer_array()
        return int(layers.max()) + 1 if len(layers) else 0

    @property
    def layers(self) -> list[int]:
        """The layers, 0 to `num_layers` - 1."""
        return list(range(self.num_layers))

    @property
    def first_layer(self) -> list[Hashable]:
        """Nodes of the first layer."""
        return self.get_vertices(0)

    @property
    def last_layer(self) -> list[Hashable]:
        """Nodes of the last layer."""
        return self.get_vertices(self.num_layers - 1)

    @property
    def first_layer_size(self) -> int:
        """Number of nodes in the first layer."""
        return self.get_layer_size(0)

    @property
    def last_layer_size(self) -> int:
        """Number of nodes in the last layer."""
        return self.get_layer_size(self.num_layers - 1)

    def get_layer(self, v: Hashable) -> int:
        """Return the layer of node `v`: the length of the longest path from a source to it.

        Raises
        ------
        UnknownNodeError
            If there is no such node.
        """
        return int(self.layer_array()[self.positions([v])[0]])

    def _check_layer(self, layer: int) -> int:
        if not 0 <= layer < self.num_layers:
            raise ArgumentError(f"expected a layer in 0..{self.num_layers - 1}, got {layer}")
        return layer

    def get_vertices(self, layer: int) -> list[Hashable]:
        """Return the nodes of a layer, in the order of the graph.

        Raises
        ------
        ArgumentError
            If there is no such layer.
        """
        return self.labels(np.flatnonzero(self.layer_array() == self._check_layer(layer)))

    def get_layer_size(self, layer: int) -> int:
        """Return the number of nodes in a layer; ArgumentError if there is no such layer."""
        return int((self.layer_array() == self._check_layer(layer)).sum())

    def layer_connection_size(self, a: int, b: int) -> int:
        """Return the number of edges between two different layers, whichever is named first.

        Raises
        ------
        ArgumentError
            If the layers are the same: no edge lies within a layer.
        """
        if self._check_layer(a) == self._check_layer(b):
            raise ArgumentError(f"expected two different layers, got {a} twice: no edge lies within a layer")
        low, high = sorted((a, b))
        src, dst = self.edge_arrays()
        layer = self.layer_array()
        return int(((layer[src] == low) & (layer[dst] == high)).sum())

    def layer_connected(self, a: int, b: int) -> bool:
        """Return whether an edge joins two different layers, whichever is named first; ArgumentError if the same."""
        return self.layer_connection_size(a, b) > 0

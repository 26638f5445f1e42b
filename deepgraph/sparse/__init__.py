"""Sparse modules for PyTorch: linear layers, feed-forward networks, and networks on any directed acyclic graph."""

from deepgraph.sparse.directed_acyclic import MaskedDeepDAN
from deepgraph.sparse.feed_forward import MaskedDeepFFN
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.linear import SparseLinear
from deepgraph.sparse.module import GraphModule
from deepgraph.sparse.values import EdgeValues, edge_values, follow

__all__ = [
    "EdgeLayer",
    "EdgeValues",
    "GraphModule",
    "MaskedDeepDAN",
    "MaskedDeepFFN",
    "SparseLinear",
    "edge_values",
    "follow",
]

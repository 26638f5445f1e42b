"""Sparse modules for PyTorch: linear layers, feed-forward networks, and networks on any directed acyclic graph."""

from deepgraph.graph import CachedLayeredGraph, LayeredGraph
from deepgraph.sparse import cells
from deepgraph.sparse.cell_graph import CellNetwork
from deepgraph.sparse.cell_network import DeepCellDAN
from deepgraph.sparse.convolution import SparseConv1d, SparseConv2d
from deepgraph.sparse.directed_acyclic import MaskedDeepDAN
from deepgraph.sparse.feed_forward import MaskedDeepFFN
from deepgraph.sparse.layer import EdgeLayer
from deepgraph.sparse.linear import SparseLinear
from deepgraph.sparse.maskable import (
    MaskableModule,
    MaskedLayer,
    maskable_layers,
    maskable_layers_with_name,
    prunable_layers,
    prunable_layers_with_name,
)
from deepgraph.sparse.masked_linear import MaskedLinearLayer
from deepgraph.sparse.module import GraphModule
from deepgraph.sparse.sparse_layer import SparseLayer, prune_sparse_model, set_global_k
from deepgraph.sparse.sparsify import clear_absent, sparsify, weight_masks
from deepgraph.sparse.values import EdgeValues, edge_values, follow

__all__ = [
    "CachedLayeredGraph",
    "CellNetwork",
    "DeepCellDAN",
    "EdgeLayer",
    "EdgeValues",
    "GraphModule",
    "LayeredGraph",
    "MaskableModule",
    "MaskedDeepDAN",
    "MaskedDeepFFN",
    "MaskedLayer",
    "MaskedLinearLayer",
    "SparseConv1d",
    "SparseConv2d",
    "SparseLayer",
    "SparseLinear",
    "cells",
    "clear_absent",
    "edge_values",
    "follow",
    "maskable_layers",
    "maskable_layers_with_name",
    "prunable_layers",
    "prunable_layers_with_name",
    "prune_sparse_model",
    "set_global_k",
    "sparsify",
    "weight_masks",
]

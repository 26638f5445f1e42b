"""The structure: edge sets, storage, networkx views, layers, edits, null models, reading and writing."""

from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.graph.labeled import LabeledDAG, build_layer_index, uniform_proportions
from deepgraph.graph.layered import LayeredGraph

__all__ = [
    "CachedLayeredGraph",
    "EdgeEdit",
    "EdgeSet",
    "History",
    "LabeledDAG",
    "LayeredGraph",
    "build_layer_index",
    "uniform_proportions",
]

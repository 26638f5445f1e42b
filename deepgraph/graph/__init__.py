"""The structure: edge sets, storage, networkx views, layers, edits, null models, reading and writing."""

from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.graph.history import EdgeEdit, History
from deepgraph.graph.layered import LayeredGraph

__all__ = ["CachedLayeredGraph", "EdgeEdit", "EdgeSet", "History", "LayeredGraph"]

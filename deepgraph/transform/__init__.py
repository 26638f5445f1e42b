"""Extraction: a forward pass of any PyTorch model -> the graph that it computes, and the way back."""

from deepgraph.transform import rules_cells as _cells  # noqa: F401
from deepgraph.transform import rules_constant as _constant  # noqa: F401  the imports register the rules
from deepgraph.transform import rules_graph as _graph  # noqa: F401
from deepgraph.transform import rules_interpolate as _interpolate  # noqa: F401
from deepgraph.transform import rules_linear as _linear  # noqa: F401
from deepgraph.transform import rules_lookup as _lookup  # noqa: F401
from deepgraph.transform import rules_movement as _movement  # noqa: F401
from deepgraph.transform import rules_pointwise as _pointwise  # noqa: F401
from deepgraph.transform import rules_reduction as _reduction  # noqa: F401
from deepgraph.transform import rules_window as _window  # noqa: F401
from deepgraph.transform.compaction import compact
from deepgraph.transform.extraction import Estimate, estimate, extract
from deepgraph.transform.functors import Conv2dLayerFunctor, GraphTransform, LinearLayerFunctor
from deepgraph.transform.rules import Call, rule
from deepgraph.transform.writeback import apply_edits

__all__ = [
    "Call",
    "Conv2dLayerFunctor",
    "Estimate",
    "GraphTransform",
    "LinearLayerFunctor",
    "apply_edits",
    "compact",
    "estimate",
    "extract",
    "rule",
]

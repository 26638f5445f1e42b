"""Extraction: a forward pass of any PyTorch model -> the graph that it computes."""

from deepgraph.transform import rules_constant as _constant  # noqa: F401  the imports register the rules
from deepgraph.transform import rules_graph as _graph  # noqa: F401
from deepgraph.transform import rules_linear as _linear  # noqa: F401
from deepgraph.transform import rules_movement as _movement  # noqa: F401
from deepgraph.transform import rules_pointwise as _pointwise  # noqa: F401
from deepgraph.transform import rules_reduction as _reduction  # noqa: F401
from deepgraph.transform import rules_window as _window  # noqa: F401
from deepgraph.transform.extraction import Estimate, estimate, extract
from deepgraph.transform.rules import Call, rule

__all__ = ["Call", "Estimate", "estimate", "extract", "rule"]

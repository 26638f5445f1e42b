"""A neural network is a graph you can edit.

The public names are imported on first use, so that `import deepgraph` is cheap and compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepgraph import graph, priors
    from deepgraph.errors import DeepGraphError
    from deepgraph.graph import CachedLayeredGraph, EdgeEdit, EdgeSet
    from deepgraph.priors import from_networkx
    from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, SparseLinear, follow

__version__ = "0.1.0"

_PUBLIC = {
    "CachedLayeredGraph": "deepgraph.graph",
    "EdgeEdit": "deepgraph.graph",
    "EdgeSet": "deepgraph.graph",
    "DeepGraphError": "deepgraph.errors",
    "from_networkx": "deepgraph.priors",
    "MaskedDeepDAN": "deepgraph.sparse",
    "MaskedDeepFFN": "deepgraph.sparse",
    "SparseLinear": "deepgraph.sparse",
    "follow": "deepgraph.sparse",
}
_MODULES = {"graph", "errors", "priors", "kernels", "sparse", "transform", "rewire", "analysis", "plotting", "dataset"}

__all__ = [
    "CachedLayeredGraph",
    "DeepGraphError",
    "EdgeEdit",
    "EdgeSet",
    "MaskedDeepDAN",
    "MaskedDeepFFN",
    "SparseLinear",
    "follow",
    "from_networkx",
    "graph",
    "priors",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"deepgraph.{name}")
    else:
        raise AttributeError(f"module 'deepgraph' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_PUBLIC, *_MODULES})

"""A neural network is a graph you can edit.

The public names are imported on first use, so that `import deepgraph` is cheap and compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepgraph import (
        analysis,
        checkpoint,
        dataset,
        errors,
        graph,
        kernels,
        plotting,
        priors,
        rewire,
        sparse,
        transform,
    )
    from deepgraph.analysis import analyse, compare, features
    from deepgraph.checkpoint import load, save
    from deepgraph.errors import DeepGraphError
    from deepgraph.graph import CachedLayeredGraph, EdgeEdit, EdgeSet, LayeredGraph
    from deepgraph.kernels import register_activation
    from deepgraph.plotting import draw
    from deepgraph.priors import from_networkx
    from deepgraph.rewire import DEEPR, SET, Rewirer, RigL, Static
    from deepgraph.sparse import MaskedDeepDAN, MaskedDeepFFN, SparseLinear, follow
    from deepgraph.transform import estimate, extract

__version__ = "0.1.0"

_NAMES = {
    "analysis": ("analyse", "compare", "features"),
    "checkpoint": ("load", "save"),
    "errors": ("DeepGraphError",),
    "graph": ("CachedLayeredGraph", "EdgeEdit", "EdgeSet", "LayeredGraph"),
    "kernels": ("register_activation",),
    "plotting": ("draw",),
    "priors": ("from_networkx",),
    "rewire": ("DEEPR", "SET", "Rewirer", "RigL", "Static"),
    "sparse": ("MaskedDeepDAN", "MaskedDeepFFN", "SparseLinear", "follow"),
    "transform": ("estimate", "extract"),
}
_MODULES = {*_NAMES, "dataset"}
_PUBLIC = {name: f"deepgraph.{module}" for module, names in _NAMES.items() for name in names}

__all__ = [
    "DEEPR",
    "SET",
    "CachedLayeredGraph",
    "DeepGraphError",
    "EdgeEdit",
    "EdgeSet",
    "LayeredGraph",
    "MaskedDeepDAN",
    "MaskedDeepFFN",
    "Rewirer",
    "RigL",
    "SparseLinear",
    "Static",
    "analyse",
    "analysis",
    "checkpoint",
    "compare",
    "dataset",
    "draw",
    "errors",
    "estimate",
    "extract",
    "features",
    "follow",
    "from_networkx",
    "graph",
    "kernels",
    "load",
    "plotting",
    "priors",
    "register_activation",
    "rewire",
    "save",
    "sparse",
    "transform",
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

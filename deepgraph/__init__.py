"""A neural network is a graph you can edit.

The public names are imported on first use, so that `import deepgraph` is cheap and compiles nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepgraph import (
        analysis,
        backend,
        checkpoint,
        compat,
        converter,
        dataset,
        errors,
        graph,
        integrations,
        kernels,
        optim,
        plotting,
        priors,
        pruning,
        recurrent,
        rewire,
        scalable,
        sparse,
        supermask,
        training,
        transform,
    )
    from deepgraph.analysis import Recorder, analyse, compare, does_topology_matter, features
    from deepgraph.backend import fast_networkx
    from deepgraph.checkpoint import load, rng_state, save
    from deepgraph.demo.calibration import calibrate, use_calibration
    from deepgraph.errors import DeepGraphError
    from deepgraph.graph import CachedLayeredGraph, EdgeEdit, EdgeSet, LabeledDAG, LayeredGraph
    from deepgraph.kernels import register_activation
    from deepgraph.optim import SGD, Adam, AdamW, train_step
    from deepgraph.plotting import draw
    from deepgraph.priors import from_networkx
    from deepgraph.pruning import PruningStrategy, grow, prune
    from deepgraph.rewire import (
        CHT,
        DEEPR,
        GMP,
        MEST,
        SET,
        SNFS,
        CHTs,
        GraNet,
        Replay,
        Rewirer,
        RigL,
        SoftDEEPR,
        SRigL,
        Static,
        exploration,
    )
    from deepgraph.sparse import (
        CellNetwork,
        DeepCellDAN,
        MaskedDeepDAN,
        MaskedDeepFFN,
        MaskedLinearLayer,
        SparseConv1d,
        SparseConv2d,
        SparseLayer,
        SparseLinear,
        cells,
        follow,
        sparsify,
    )
    from deepgraph.training import EarlyStopping, fit, table
    from deepgraph.transform import apply_edits, compact, estimate, extract, rule

__version__ = "0.1.0"

_NAMES = {
    "analysis": "Recorder analyse compare does_topology_matter features",
    "backend": "fast_networkx",
    "checkpoint": "load rng_state save",
    "demo.calibration": "calibrate use_calibration",
    "errors": "DeepGraphError",
    "graph": "CachedLayeredGraph EdgeEdit EdgeSet LabeledDAG LayeredGraph",
    "kernels": "register_activation",
    "optim": "SGD Adam AdamW train_step",
    "plotting": "draw",
    "priors": "from_networkx",
    "pruning": "PruningStrategy grow prune",
    "rewire": "CHT DEEPR GMP MEST SET SNFS CHTs GraNet Replay Rewirer RigL SRigL SoftDEEPR Static exploration",
    "sparse": "CellNetwork DeepCellDAN MaskedDeepDAN MaskedDeepFFN MaskedLinearLayer SparseConv1d SparseConv2d "
    "SparseLayer SparseLinear cells follow sparsify",
    "training": "EarlyStopping fit table",
    "transform": "apply_edits compact estimate extract rule",
}
_MODULES = {
    *(name for name in _NAMES if "." not in name),
    *("compat", "converter", "dataset", "integrations", "recurrent", "scalable", "supermask"),
}
_PUBLIC = {name: f"deepgraph.{module}" for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "CHT",
    "DEEPR",
    "GMP",
    "MEST",
    "SET",
    "SGD",
    "SNFS",
    "Adam",
    "AdamW",
    "CHTs",
    "CachedLayeredGraph",
    "CellNetwork",
    "DeepCellDAN",
    "DeepGraphError",
    "EarlyStopping",
    "EdgeEdit",
    "EdgeSet",
    "GraNet",
    "LabeledDAG",
    "LayeredGraph",
    "MaskedDeepDAN",
    "MaskedDeepFFN",
    "MaskedLinearLayer",
    "PruningStrategy",
    "Recorder",
    "Replay",
    "Rewirer",
    "RigL",
    "SRigL",
    "SoftDEEPR",
    "SparseConv1d",
    "SparseConv2d",
    "SparseLayer",
    "SparseLinear",
    "Static",
    "analyse",
    "analysis",
    "apply_edits",
    "backend",
    "calibrate",
    "cells",
    "checkpoint",
    "compact",
    "compare",
    "compat",
    "converter",
    "dataset",
    "does_topology_matter",
    "draw",
    "errors",
    "estimate",
    "exploration",
    "extract",
    "fast_networkx",
    "features",
    "fit",
    "follow",
    "from_networkx",
    "graph",
    "grow",
    "integrations",
    "kernels",
    "load",
    "optim",
    "plotting",
    "priors",
    "prune",
    "pruning",
    "recurrent",
    "register_activation",
    "rewire",
    "rng_state",
    "rule",
    "save",
    "scalable",
    "sparse",
    "sparsify",
    "supermask",
    "table",
    "train_step",
    "training",
    "transform",
    "use_calibration",
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

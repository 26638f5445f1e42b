"""What the commands read: images, graphs and modules; and the folders that they write to."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import deepgraph
from deepgraph.errors import ArgumentError

__all__ = ["images", "saved_graph", "saved_module", "writable_folder"]


def images(folder: Path | None) -> Any:
    """Return the bundled sample, or the sets in a folder of IDX files."""
    from deepgraph.dataset import fashion_mnist_sample, read_idx_folder

    return fashion_mnist_sample() if folder is None else read_idx_folder(folder)


def writable_folder(folder: Path) -> Path:
    """Return the folder, made if it is missing; ArgumentError if nothing can be written there."""
    probe = folder / f".writable-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or error
        raise ArgumentError(f"--out: expected a folder that can be written, got {str(folder)!r} ({reason})") from error
    return folder


def saved_graph(path: Path) -> Any:
    """Return the graph in a file; ArgumentError if there is no file, or no graph in it, or more than one."""
    if not path.is_file():
        raise ArgumentError(f"expected a file saved by deepgraph.save, got {str(path)!r}, which is not a file")
    if path.suffix.lower() in (".graphml", ".json", ".edgelist", ".txt", ".safetensors"):
        return deepgraph.CachedLayeredGraph.load(path)
    loaded = deepgraph.load(path)
    parts = loaded if isinstance(loaded, dict) else {"": loaded}
    graphs = {
        name: part if hasattr(part, "edge_arrays") else getattr(part, "graph", None) for name, part in parts.items()
    }
    found = {name: graph for name, graph in graphs.items() if hasattr(graph, "edge_arrays")}
    if len(found) != 1:
        held = ", ".join(
            f"{name}: {type(part).__name__}" if name else type(part).__name__ for name, part in parts.items()
        )
        raise ArgumentError(
            f"{path}: expected a file with one graph, or one model with a graph, got {len(found)} ({held}); "
            "save the one to look at with deepgraph.save(model.graph, path)"
        )
    return next(iter(found.values()))


def saved_module(path: Path, maker: str | None) -> Any:
    """Return the module in a file of `deepgraph.save`, loaded into a new one from `maker` where one is given."""
    from torch import nn

    if not path.is_file():
        raise ArgumentError(f"expected a file saved by deepgraph.save, got {str(path)!r}, which is not a file")
    loaded = deepgraph.load(path)
    single = not isinstance(loaded, dict) or not any(isinstance(value, (nn.Module, dict)) for value in loaded.values())
    if maker is not None:
        model = _make(maker)
        names = [] if single else [k for k, value in loaded.items() if isinstance(value, dict)]
        deepgraph.load(path, into=model if single else dict.fromkeys(names[:1], model))
        return model
    modules = [value for value in ([loaded] if single else loaded.values()) if isinstance(value, nn.Module)]
    if len(modules) != 1:
        raise ArgumentError(
            f"expected one module of deepgraph in {str(path)!r}, got {len(modules)}; pass --model MODULE:MAKER, which "
            "makes the module that the file is loaded into"
        )
    return modules[0]


def _make(maker: str) -> Any:
    """Return the module that the function of "module:function" makes."""
    from torch import nn

    name, colon, function = maker.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        model = getattr(importlib.import_module(name), function)()
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"--model: expected MODULE:MAKER, as in models:make, got {maker!r} ({error})") from error
    finally:
        sys.path.remove(os.getcwd())
    if not isinstance(model, nn.Module) or not colon:
        raise ArgumentError(f"--model: expected a function that returns an nn.Module, got {type(model).__name__}")
    return model

"""`deepgraph extract`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import deepgraph
from deepgraph.cli.arguments import add_command, density, integer
from deepgraph.cli.files import saved_module
from deepgraph.cli.output import print_json, say
from deepgraph.errors import ArgumentError

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    extract = add_command(commands, "extract", run, "write the graph of a model saved by deepgraph.save")
    extract.add_argument("file", type=Path, help="a saved module, or several objects with one module among them")
    extract.add_argument("-o", "--out", type=Path, metavar="FILE", help="the graph, for deepgraph.load, analyse, draw")
    extract.add_argument(
        "--model", metavar="MODULE:MAKER", help="function that makes the module, if it is none of deepgraph's"
    )
    extract.add_argument("--shape", type=integer(1), nargs="+", metavar="N", help="shape of one input of the model")
    extract.add_argument(
        "--order", type=int, choices=(0, 1, 2), default=0, help="a node is a neuron (default), a channel, a module call"
    )
    extract.add_argument("--threshold", type=float, default=0.0, metavar="W", help="cut weights up to this size")
    extract.add_argument("--density", type=density, metavar="D", help="keep this share of each weight, in (0, 1]")
    extract.add_argument("--max-edges", type=integer(1), default=20_000_000, metavar="N", help="refuse beyond")
    extract.add_argument("--estimate", action="store_true", help="print the size that the graph would have, and stop")
    extract.add_argument("--json", action="store_true", help="print path, size and exactness as JSON and nothing else")


def run(options: argparse.Namespace) -> int:
    """Write a graph, or say how large it would be."""
    if options.out is None and not options.estimate:
        raise ArgumentError("expected -o FILE, where the graph goes, or --estimate")
    import torch

    model = saved_module(options.file, options.model)
    shape = options.shape or _input_size(model, options.file)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    x = torch.zeros(1, *shape, dtype=dtype)
    cuts = {"order": options.order, "threshold": options.threshold, "density": options.density}
    size = deepgraph.estimate(model, x, **cuts)
    facts: dict[str, Any] = {
        "order": size.order,
        "estimate": {k: getattr(size, k) for k in ("nodes", "edges", "bytes")},
    }
    text = str(size)
    if not options.estimate:
        graph = deepgraph.extract(model, x, max_edges=options.max_edges, **cuts)
        deepgraph.save(graph, options.out)
        exact = bool(graph.graph["exact"])
        facts |= {"graph": str(options.out), "nodes": len(graph), "edges": graph.number_of_edges(), "exact": exact}
        facts["inexact"] = list(graph.graph.get("inexact", ["a node stands for a module call"]))
        carries = "carries the function" if exact else f"structure only: {'; '.join(facts['inexact'])}"
        text = f"{options.out}: {len(graph):,} nodes, {graph.number_of_edges():,} edges, {carries}"
    if options.json:
        print_json(facts)
    else:
        say(text)
    return 0


def _input_size(model: Any, path: Path) -> list[int]:
    """Return how many inputs a module of deepgraph has; ArgumentError for others."""
    config = model.config() if hasattr(model, "config") else {}
    if "size_input" in config:
        return [int(config["size_input"])]
    if hasattr(model, "graph"):
        return [len(model.graph.input_positions())]
    raise ArgumentError(f"expected --shape, the shape of one input of the {type(model).__name__} in {str(path)!r}")

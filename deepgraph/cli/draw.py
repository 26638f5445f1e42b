"""`deepgraph draw`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from deepgraph.cli.arguments import GRAPH_FILE, add_command
from deepgraph.cli.files import saved_graph
from deepgraph.cli.output import print_json, say
from deepgraph.errors import ArgumentError

__all__ = ["add", "run"]

_PICTURES = ("layers", "blocks", "spy", "degrees", "inputs", "history", "lifetimes", "report")


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    draw = add_command(commands, "draw", run, "draw the graph in a file")
    draw.add_argument("file", type=Path, help=GRAPH_FILE)
    draw.add_argument("--kind", choices=_PICTURES, default="layers", help="what is drawn (default layers)")
    draw.add_argument("-o", "--out", type=Path, required=True, metavar="PNG", help="the picture, .png, .pdf or .svg")
    draw.add_argument("--json", action="store_true", help="print path, nodes and edges as JSON and nothing else")


def run(options: argparse.Namespace) -> int:
    """Save a picture of a graph."""
    if options.out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ArgumentError(f"-o: expected a file that ends in .png, .pdf or .svg, got {str(options.out)!r}")
    graph = saved_graph(options.file)
    path = _picture(graph, options.kind, options.out)
    facts = {"picture": str(path), "kind": options.kind, "nodes": len(graph), "edges": graph.number_of_edges()}
    if options.json:
        print_json(facts)
    else:
        say(f"{path}: {facts['nodes']:,} nodes, {facts['edges']:,} edges")
    return 0


def _picture(graph: Any, kind: str, path: Path) -> Path:
    """Return `path` after a picture of one kind was saved there."""
    from deepgraph import plotting
    from deepgraph.demo.pictures import save_figure, save_picture

    if kind == "report":
        return save_figure(path, (9.0, 9.5), lambda figure: plotting.report_figure(graph, figure=figure))
    paint: dict[str, Any] = {
        "layers": plotting.draw,
        "blocks": lambda graph, ax: plotting.draw(graph, ax, layout="blocks"),
        "spy": plotting.spy,
        "degrees": plotting.degree_distribution,
        "inputs": lambda graph, ax: plotting.input_heatmap(graph, _pixels(len(graph.input_positions())), ax=ax),
        "history": plotting.edit_history,
        "lifetimes": plotting.edge_lifetimes,
    }
    size = (9.0, 5.2) if kind in ("layers", "blocks") else (6.4, 5.2)
    return save_picture(path, size, lambda ax: paint[kind](graph, ax))


def _pixels(inputs: int) -> tuple[int, int]:
    """Return the shape of the picture that so many inputs are: a square where they are one, else a row."""
    side = math.isqrt(inputs)
    return (side, side) if side * side == inputs else (1, inputs)

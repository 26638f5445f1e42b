"""`deepgraph analyse`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from deepgraph.cli.arguments import GRAPH_FILE, add_command, integer
from deepgraph.cli.files import saved_graph
from deepgraph.cli.output import say

__all__ = ["add", "run"]


def add(commands: Any) -> None:
    """Add the command and its arguments."""
    analyse = add_command(commands, "analyse", run, "print the report on the graph in a file")
    analyse.add_argument("file", type=Path, help=GRAPH_FILE)
    analyse.add_argument("--nulls", type=integer(0), default=0, metavar="N", help="random graphs of each null model")
    analyse.add_argument(
        "--measures", nargs="+", metavar="NAME", help="only these, such as gini_fan_in sigma_er (default all)"
    )
    analyse.add_argument(
        "--workers", type=integer(0), default=0, metavar="N", help="processes for the random graphs (default none)"
    )
    analyse.add_argument(
        "--seed", type=integer(0), default=0, metavar="N", help="of samples and random graphs (default 0)"
    )
    analyse.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")


def run(options: argparse.Namespace) -> int:
    """Print the report on a graph."""
    from deepgraph.analysis import analyse

    bar = sys.stderr.isatty()
    graph = saved_graph(options.file)
    report = analyse(graph, options.nulls, options.seed, options.measures, progress=bar, workers=options.workers)
    say(report.to_json() if options.json else str(report))
    return 0

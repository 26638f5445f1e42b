"""Arguments of the commands: how a command is added, and how its values are read."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["GRAPH_FILE", "add_command", "density", "integer", "rate"]

GRAPH_FILE = "a graph, model or run of deepgraph.save, or a .graphml, .json, .edgelist, .txt or .safetensors file"
"""What the commands that read a graph take."""


def add_command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """Return the parser of a new command, which `run(options)` carries out."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    return parser


def integer(least: int) -> Any:
    """Return a reader of whole numbers from `least` on."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
        return value

    return read


def density(text: str) -> float:
    """Return a share of pairs in (0, 1]."""
    value = _number(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"expected a share of pairs in (0, 1], got {text!r}")
    return value


def rate(text: str) -> float:
    """Return a number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")

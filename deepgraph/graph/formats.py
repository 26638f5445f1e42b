"""Saving and loading of graphs by the suffix of the file name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path

from deepgraph.errors import ArgumentError
from deepgraph.graph.array_graph import ArrayGraph
from deepgraph.graph.cached_layered import CachedLayeredGraph
from deepgraph.graph.edge_lists import read_edge_list, write_edge_list
from deepgraph.graph.file_checks import warn_of_refusal
from deepgraph.graph.files import load_graph, save_graph
from deepgraph.graph.graphml import read_graphml, write_graphml
from deepgraph.graph.json_files import read_json, write_json
from deepgraph.graph.safetensors_files import read_safetensors, write_safetensors

__all__ = [
    "load",
    "read_edge_list",
    "read_graphml",
    "read_json",
    "read_safetensors",
    "save",
    "write_edge_list",
    "write_graphml",
    "write_json",
    "write_safetensors",
]

_SUFFIXES = {
    ".graphml": "graphml",
    ".json": "json",
    ".edgelist": "edgelist",
    ".txt": "edgelist",
    ".safetensors": "safetensors",
}
_WRITERS: dict[str, Callable[[ArrayGraph, str | os.PathLike[str]], None]] = {
    "npz": save_graph,
    "graphml": write_graphml,
    "json": write_json,
    "edgelist": write_edge_list,
    "safetensors": write_safetensors,
}
_READERS: dict[str, Callable[[str | os.PathLike[str], bool], CachedLayeredGraph]] = {
    "npz": load_graph,
    "graphml": read_graphml,
    "json": read_json,
    "edgelist": read_edge_list,
    "safetensors": read_safetensors,
}
# Seconds for a million edges with one column, to write and to read, measured on one core.
_SECONDS = {"graphml": (1.0, 4.0), "json": (1.0, 2.0), "edgelist": (1.0, 2.5)}
_MANY = 100_000


def _format(path: str | os.PathLike[str], name: str | None) -> str:
    if name is None:
        return _SUFFIXES.get(Path(os.fspath(path)).suffix.lower(), "npz")
    if name not in _WRITERS:
        raise ArgumentError(f"format: expected one of {sorted(_WRITERS)} or None, got {name!r}")
    return name


def save(g: ArrayGraph, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write a graph to a file, at once or not at all.

    Parameters
    ----------
    format : {"npz", "safetensors", "graphml", "json", "edgelist"}, optional
        Default by suffix: .safetensors, .graphml, .json, .edgelist or .txt; "npz", arrays in a zip, for any other.
        "npz", "safetensors" and "json" hold the history of edits; for "graphml" and "edgelist" `g.history.save` writes
        it to a file of its own.

    Raises
    ------
    ArgumentError
        If there is no such format.
    DtypeError
        If a label or an attribute is of a kind that the format does not hold.
    MissingDependencyError
        If safetensors is needed and not installed.

    Warns
    -----
    UserWarning
        Above 100,000 edges in a text format, with the time to expect; and of a graph that `load` will refuse unless
        told not to check it.

    Examples
    --------
    >>> import tempfile
    >>> g = CachedLayeredGraph.from_arrays([0, 1], [1, 2], weight=[0.5, 2.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(g, folder + "/g.graphml")
    ...     load(folder + "/g.graphml").column("weight").tolist()
    [0.5, 2.0]
    """
    name = _format(path, format)
    count = g.number_of_edges()
    if name in _SECONDS and count > _MANY:
        write, read = (per_million * count / 1e6 for per_million in _SECONDS[name])
        warnings.warn(
            f"{count:,} edges as {name} take about {write:.1f} s to write and {read:.1f} s to read; "
            "the default format and safetensors take well under a second for a million",
            UserWarning,
            stacklevel=3,
        )
    _WRITERS[name](g, path)
    warn_of_refusal(g, 3)


def load(path: str | os.PathLike[str], format: str | None = None, check: bool = True) -> CachedLayeredGraph:
    """Return the graph of a file, its format by suffix as in `save` unless given.

    A file that `save` wrote in the default format is known by its first bytes, whatever its suffix.

    Parameters
    ----------
    path : path
    format : str, optional
    check : bool
        Whether the graph must be acyclic, with a column `weight` and biases that are finite; other columns may hold
        NaN. Without the check such a graph comes as it is, and its first use as a network says what is wrong with it.

    Raises
    ------
    ArgumentError
        If there is no such format.
    FileFormatError
        If the file is truncated, damaged, foreign or newer, or the graph fails the check; the message names the cycle,
        or the edge.
    MissingDependencyError
        If safetensors is needed and not installed.
    """
    name = _format(path, format)
    if format is None and name != "npz":
        with open(path, "rb") as file:
            name = "npz" if file.read(4) == b"PK\x03\x04" else name
    return _READERS[name](path, check)

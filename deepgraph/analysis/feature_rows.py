"""`features`: the measures of one graph as a row, of many graphs as a table, in parallel and cached on disk."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
from tqdm import tqdm

from deepgraph.analysis.catalogue import MEASURES
from deepgraph.analysis.edges import EdgeArrays, arrays_of
from deepgraph.analysis.parallel import run_tasks, write_whole
from deepgraph.analysis.run import evaluate_all
from deepgraph.errors import ArgumentError
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source
    from deepgraph.graph.sampling import Seed

__all__ = ["features"]


@overload
def features(
    graph: Source,
    seed: Seed = ...,
    *,
    cache: str | os.PathLike[str] | None = ...,
    workers: int | None = ...,
    progress: bool = ...,
) -> dict[str, float]: ...
@overload
def features(
    graph: Iterable[Source],
    seed: Seed = ...,
    *,
    cache: str | os.PathLike[str] | None = ...,
    workers: int | None = ...,
    progress: bool = ...,
) -> list[dict[str, float]]: ...
def features(
    graph: Source | Iterable[Source],
    seed: Seed = None,
    *,
    cache: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> dict[str, float] | list[dict[str, float]]:
    """Return all measures of the whole graph that need no null model, by name; NaN where one has no value.

    Of many graphs: a list of such rows, which all have the same keys in the same order and so make a table.

    Parameters
    ----------
    graph : graph, or iterable of graphs
        Graphs, `EdgeArrays` or models with a graph.
    seed : int, Generator or None
        Of measures that draw random numbers; every graph gets the same ones, whatever else is in the list.
    cache : path or None
        Folder for one small file per graph. A graph with the same edges, stages, roles and weights is not measured
        again; needs an int as seed.
    workers : int or None
        Spawned processes of one thread each, for many graphs; None takes one per core, 0 measures in this process.
        One graph is always measured in this process.
    progress : bool
        Whether to show a progress bar over many graphs.

    Raises
    ------
    DtypeError
        If an entry is no graph.
    CycleError
        If a graph has a directed cycle.
    ArgumentError
        If there is a cache and no int as seed, or `workers` is negative.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> row = features(EdgeArrays.from_arrays([0, 0, 1], [1, 2, 2], 3), seed=0)
    >>> row["edges"], row["depth"], row["sign_balance"]
    (3.0, 2.0, nan)
    >>> chains = [EdgeArrays.from_arrays(range(n), range(1, n + 1), n + 1) for n in (2, 5)]
    >>> [row["depth"] for row in features(chains, seed=0, workers=0, progress=False)]
    [2.0, 5.0]
    """
    whole = isinstance(seed, (int, np.integer))
    if cache is not None and not whole:
        raise ArgumentError(f"cache needs an int as seed, to know a graph's row again, got {seed!r}; pass seed=0")
    one = isinstance(graph, EdgeArrays) or hasattr(graph, "edge_arrays") or not isinstance(graph, Iterable)
    listed = [graph] if one else list(cast("Iterable[Any]", graph))
    views = [arrays_of(cast("Any", entry)) for entry in listed]
    entropy = int(as_generator(seed).integers(2**62))
    files = [None if cache is None else Path(cache) / f"{_key(view, entropy)}.json" for view in views]
    rows = [None if file is None else _read(file) for file in files]
    # The same graph twice in one list is measured once.
    left = list({file or at: at for at, file in enumerate(files) if rows[at] is None}.values())
    with tqdm(total=len(left), desc="features", unit="graph", leave=False, disable=one or not progress) as bar:
        for index, row in run_tasks(evaluate_all, [(views[at], entropy) for at in left], 0 if one else workers):
            rows[left[index]] = row
            file = files[left[index]]
            if file is not None:
                write_whole(file, json.dumps({name: _plain(value) for name, value in row.items()}))
            bar.update()
    twins = {file: row for file, row in zip(files, rows, strict=True) if row is not None}
    found = [row or twins[file] for file, row in zip(files, rows, strict=True)]
    return found[0] if one else found


def _key(view: EdgeArrays, entropy: int) -> str:
    """Return the name of a graph's row: everything that measures read, and which measures there are."""
    sha = hashlib.sha256()
    names = [name for name, measure in MEASURES.items() if not measure.versus]
    for part in (str(entropy), _version(), *names, str(view.num_nodes)):
        sha.update(part.encode() + b"\0")
    for array in (view.src, view.dst, view.stage, view.inputs, view.outputs):
        sha.update(f"{len(array)}".encode() + np.ascontiguousarray(array, np.int64).tobytes())
    if view.weight is not None:
        sha.update(np.ascontiguousarray(view.weight, np.float64).tobytes())
    return sha.hexdigest()[:40]


def _version() -> str:
    """Return the version that wrote a row; measures may change with it."""
    try:
        return importlib.metadata.version("deepgraph-nn")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return "source"


def _read(file: Path) -> dict[str, float] | None:
    """Return the row in a file, None where there is none that can be read: it is measured again then."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): math.nan if value is None else float(value) for name, value in content.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def _plain(value: float) -> float | str | None:
    """Return a number as JSON knows it: infinities as text, which `float` reads, NaN as null."""
    return None if math.isnan(value) else str(value) if math.isinf(value) else value

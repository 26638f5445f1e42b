"""The measures of a graph, computed together and held against two null models."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import zlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from deepgraph.analysis.catalogue import INGREDIENTS, MEASURES
from deepgraph.analysis.dense import without_dense_pairs
from deepgraph.analysis.edges import EdgeArrays, graph_of
from deepgraph.analysis.measure import Estimate, Measure, pick
from deepgraph.analysis.nulltests import compare_with_nulls
from deepgraph.analysis.parallel import run_tasks
from deepgraph.analysis.report import Report, Value
from deepgraph.analysis.smallworld import null_graph
from deepgraph.analysis.stages import PAIR_MEASURES, STAGE_MEASURES
from deepgraph.errors import ArgumentError, MissingColumnError, StructureError, TooLargeError
from deepgraph.graph import CachedLayeredGraph
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.graph.sampling import Seed

__all__ = ["analyse", "evaluate", "evaluate_all"]

# What a measure raises where it has no value for this graph; anything else is a defect and is not caught.
_NO_VALUE = (StructureError, TooLargeError, MissingColumnError)


def analyse(
    graph_or_model: CachedLayeredGraph | object,
    nulls: int = 0,
    seed: Seed = None,
    measures: Iterable[str | Measure] | None = None,
    progress: bool = True,
    workers: int | None = 0,
) -> Report:
    """Return the report of a graph: its measures, and with `nulls` their values in random graphs.

    Parameters
    ----------
    graph_or_model : CachedLayeredGraph or object with `.graph`
        What is measured.
    nulls : int
        Random graphs of each of the two null models, >= 0; z is given from 20 on.
    seed : int, Generator or None
        Of samples and of random graphs. The same seed gives the same numbers, whichever measures are chosen.
    measures : iterable of str or Measure
        Which, by name; all by default. A `Measure` of one's own is taken as it is.
    progress : bool
        Whether to show a progress bar.
    workers : int or None
        Spawned processes of one thread each for the random graphs; None takes one per core, 0 stays in this process.
        The numbers are the same. A script that uses workers must start with `if __name__ == "__main__":`.

    Raises
    ------
    DtypeError
        If there is no graph in `graph_or_model`.
    CycleError
        If the graph has a directed cycle.
    ArgumentError
        If `nulls` is negative, `measures` is one text, or with workers a measure of one's own cannot be sent to them.
    UnknownMeasureError
        If a measure is not known; the message lists near names.

    Notes
    -----
    Both nulls keep the number of edges between any two stages; "er" keeps nothing else, "degree" also every fan-in and
    fan-out there. A measure that has no value for this graph is named with the reason, never left out silently.

    Examples
    --------
    >>> from deepgraph.graph import CachedLayeredGraph
    >>> report = analyse(CachedLayeredGraph.from_arrays([0, 0, 1], [1, 2, 2]), seed=0, progress=False)
    >>> float(report["effective_edges"]), report["density"].measure.unit
    (3.0, 'share')
    """
    graph = graph_of(graph_or_model)
    if nulls < 0:
        raise ArgumentError(f"nulls must be a number of random graphs >= 0, got {nulls}")
    chosen = _chosen(measures, nulls)
    entropy = int(seed) if isinstance(seed, (int, np.integer)) else int(as_generator(seed).integers(2**62))
    as_generator(entropy)  # refuses a negative seed before any work
    plain = [measure for measure in chosen if not measure.versus]
    made_of = {name: _measure(name) for measure in chosen for name in measure.needs}
    computed = list({measure.name: measure for measure in [*plain, *made_of.values()]}.values())
    with tqdm(total=1 + 2 * nulls, desc="analyse", unit="graph", leave=False, disable=not progress) as bar:
        view = EdgeArrays.from_graph(graph)
        own, skipped = evaluate(view, computed, entropy)
        stages, stage_pairs = _stage_rows(view, skipped), _pair_rows(view, skipped)
        bar.update()
        drawn: dict[str, list[dict[str, Estimate]]] = {null: [{}] * nulls for null in ("er", "degree")}
        # Known measures travel by name: their functions are made when the catalogue is read.
        known = MEASURES | INGREDIENTS
        names = [measure.name if known.get(measure.name) is measure else measure for measure in computed]
        places = [(null, at) for null in drawn for at in range(nulls)]
        bare = _bare(graph) if nulls else graph
        tasks = [(bare, null, at, names, entropy) for null, at in places]
        for index, values in run_tasks(_null_values, tasks, workers):
            null, at = places[index]
            drawn[null][at] = values
            bar.update()
    _, left_out = without_dense_pairs(view)
    entries = _entries(chosen, own, drawn, skipped, tuple(left_out))
    tests = [test for entry in entries.values() for test in entry.nulls.values()]
    return Report(
        title=_title(view),
        values=entries,
        stages=stages if measures is None else [],
        stage_pairs=stage_pairs if measures is None else [],
        skipped={measure.name: skipped[measure.name] for measure in chosen if measure.name in skipped},
        notes=_notes(entries),
        num_nulls=nulls,
        comparisons=sum(not test.fixed for test in tests),
        seed=entropy,
        versions=_versions(),
    )


def _bare(graph: CachedLayeredGraph) -> CachedLayeredGraph:
    """Return a graph of the same edges, stages and roles and nothing else, quick to make and to send to a process."""
    # A copy would unpack the history of a whole training first, only to throw it away.
    bare = CachedLayeredGraph.from_arrays(*graph.edge_arrays(), num_nodes=len(graph))
    bare.set_node_column("stage", graph.stage_array())
    bare.set_node_column("role", graph.role_array())
    bare.graph.update({key: graph.graph[key] for key in ("inputs", "outputs") if key in graph.graph})
    return bare


def _null_values(
    graph: CachedLayeredGraph, null: str, at: int, measures: Sequence[str | Measure], entropy: int
) -> dict[str, Estimate]:
    """Return the estimates of one random graph by name."""
    random_graph = null_graph(graph, null, _stream(entropy, null, at))
    chosen = [_measure(measure) if isinstance(measure, str) else measure for measure in measures]
    return evaluate(EdgeArrays.from_graph(random_graph), chosen, entropy, null, at)[0]


def _chosen(measures: Iterable[str | Measure] | None, nulls: int) -> list[Measure]:
    """Return the measures that were asked for, each once."""
    if measures is None:
        return [measure for measure in MEASURES.values() if nulls or not measure.versus]
    if isinstance(measures, str):
        raise ArgumentError(f"measures must be a list of names, got the text {measures!r}; write [{measures!r}]")
    found = [measure if isinstance(measure, Measure) else pick(MEASURES, measure) for measure in measures]
    return list({measure.name: measure for measure in found}.values())


def _measure(name: str) -> Measure:
    return pick(MEASURES | INGREDIENTS, name)


def _stream(entropy: int, name: str, at: int = 0, null: str = "") -> np.random.Generator:
    """Return the generator of one measure or null graph: it does not depend on what else is computed."""
    return np.random.default_rng([entropy, zlib.crc32(name.encode()), zlib.crc32(null.encode()), at])


def evaluate(
    view: EdgeArrays, measures: Sequence[Measure], entropy: int, null: str = "", at: int = 0
) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Return the estimates by name, and the reason by name of those that have no value.

    `entropy` seeds measures that draw; `at` gives each of several graphs random numbers of its own.
    """
    thin, _ = without_dense_pairs(view)
    values: dict[str, Estimate] = {}
    skipped: dict[str, str] = {}
    for measure in measures:
        if measure.weighted and (null or view.weight is None):
            # Random graphs have no weights of their own, so weights are not held against them.
            if not null:
                skipped[measure.name] = 'the graph has no edge column "weight"'
            continue
        arguments: list[Any] = [thin if measure.thin else view]
        if measure.random:
            arguments.append(_stream(entropy, measure.stream or measure.name, at, null))
        try:
            result = measure.function(*arguments)
        except _NO_VALUE as error:
            skipped[measure.name] = str(error)
            continue
        values[measure.name] = result if isinstance(result, Estimate) else Estimate(float(result))
    return values, skipped


def evaluate_all(view: EdgeArrays, entropy: int) -> dict[str, float]:
    """Return all measures that need no null model, by name; NaN where one has no value."""
    chosen = [measure for measure in MEASURES.values() if not measure.versus]
    values, _ = evaluate(view, chosen, entropy)
    return {measure.name: values[measure.name].value if measure.name in values else math.nan for measure in chosen}


def _entries(
    chosen: Sequence[Measure],
    own: dict[str, Estimate],
    drawn: dict[str, list[dict[str, Estimate]]],
    skipped: dict[str, str],
    left_out: tuple[str, ...],
) -> dict[str, Value]:
    """Return the values of the report, those that are defined against nulls included."""
    entries: dict[str, Value] = {}
    for measure in chosen:
        if measure.versus:
            values = drawn[measure.versus]
            lacking = [name for name in measure.needs if name not in own]
            if lacking or not values:
                skipped[measure.name] = f"needs {', '.join(lacking)}" if lacking else "needs nulls >= 1"
                continue
            means = {name: _mean([value[name].value for value in values if name in value]) for name in measure.needs}
            amount = float(measure.function({name: own[name].value for name in measure.needs}, means))
            thin = left_out if any(_measure(name).thin for name in measure.needs) else ()
            entries[measure.name] = Value(measure, amount, left_out=thin)
        elif measure.name in own:
            estimate = own[measure.name]
            tests = {
                null: compare_with_nulls(estimate.value, [v[measure.name].value for v in values if measure.name in v])
                for null, values in drawn.items()
            }
            kept = {null: test for null, test in tests.items() if test is not None}
            thin = left_out if measure.thin else ()
            entries[measure.name] = Value(measure, estimate.value, estimate.error, estimate.note, kept, thin)
    return entries


def _mean(values: Sequence[float]) -> float:
    """Return the mean of the defined values; NaN without any."""
    defined = [value for value in values if math.isfinite(value)]
    return float(np.mean(defined)) if defined else math.nan


def _stage_rows(view: EdgeArrays, skipped: dict[str, str]) -> list[dict[str, Any]]:
    """Return one row per stage."""
    keys = {"stage": view.stages.tolist()}
    return _rows(keys, _columns(view, STAGE_MEASURES, skipped, "stage"))


def _pair_rows(view: EdgeArrays, skipped: dict[str, str]) -> list[dict[str, Any]]:
    """Return one row per stage pair that holds edges."""
    ends = {"source": view.pairs.source, "target": view.pairs.target}
    keys = {name: view.stages[rows].tolist() for name, rows in ends.items()}
    return _rows(keys, _columns(view, PAIR_MEASURES, skipped, "stage pair"))


def _columns(
    view: EdgeArrays, measures: dict[str, Measure], skipped: dict[str, str], level: str
) -> dict[str, list[Any]]:
    """Return one column per measure that has values."""
    columns: dict[str, list[Any]] = {}
    for name, measure in measures.items():
        if measure.weighted and view.weight is None:
            continue
        try:
            columns[name] = measure.function(view).tolist()
        except _NO_VALUE as error:
            skipped[f"{name} per {level}"] = str(error)
    return columns


def _rows(keys: dict[str, list[Any]], columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Return columns as rows."""
    names = [*keys, *columns]
    return [dict(zip(names, row, strict=True)) for row in zip(*keys.values(), *columns.values(), strict=True)]


def _title(view: EdgeArrays) -> str:
    """Return one line that says what was measured."""
    sizes = view.stage_sizes.tolist()
    shown = "-".join(map(str, sizes if len(sizes) <= 8 else [*sizes[:4], "...", *sizes[-3:]]))
    stages = f" in {len(sizes):,} {'stage' if len(sizes) == 1 else 'stages'} ({shown})" if sizes else ""
    nodes, edges = view.num_nodes, view.num_edges
    return f"{nodes:,} {'node' if nodes == 1 else 'nodes'} and {edges:,} {'edge' if edges == 1 else 'edges'}{stages}"


def _notes(entries: dict[str, Value]) -> tuple[str, ...]:
    """Return what holds for the whole report."""
    notes = []
    if any(value.measure.directed == "undirected" for value in entries.values()):
        notes.append("undirected measures forget the direction of edges; path lengths: on the largest component.")
    if any(value.measure.weighted for value in entries.values()):
        notes.append("random graphs have no weights: measures of weights are not held against them.")
    if any(name.startswith("power_law") for name in entries):
        notes.append(
            "power laws: vuong_* hold them against other tails; power_law(graph, bootstrap=2500).p rules out bad fits."
        )
    thin = {
        value.left_out: [n for n, v in entries.items() if v.left_out] for value in entries.values() if value.left_out
    }
    for left_out, names in thin.items():
        notes.append(
            f"dense stage pairs ({', '.join(left_out)}) would swamp these and are left out of them: {', '.join(names)}."
        )
    return tuple(notes)


def _versions() -> dict[str, str]:
    """Return the versions that the numbers may depend on."""
    versions = {}
    for shown, distribution in [
        ("deepgraph", "deepgraph-nn"),
        *((name, name) for name in ("numpy", "scipy", "networkx")),
    ]:
        try:
            versions[shown] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:  # run from a source tree
            versions[shown] = "source"
    return versions | {"python": platform.python_version()}

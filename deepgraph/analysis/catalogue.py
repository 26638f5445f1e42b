"""The measures of a whole graph, each with its name, unit, definition and reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deepgraph.analysis import cost, reach, size
from deepgraph.analysis.catalogue_degrees import NEWMAN, degree_measures, fan_part
from deepgraph.analysis.catalogue_structure import structure_measures
from deepgraph.analysis.degrees import sign_balance
from deepgraph.analysis.edges import EdgeArrays
from deepgraph.analysis.measure import Estimate, Measure
from deepgraph.analysis.mixing import assortativity
from deepgraph.analysis.paths import PathLengths, path_lengths
from deepgraph.analysis.smallworld import small_world_clustering
from deepgraph.analysis.stages import EFFECTIVE, GINI

__all__ = ["INGREDIENTS", "MEASURES"]

WATTS = "Watts & Strogatz, Nature 393 (1998), 440-442"
HUMPHRIES = "Humphries & Gurney, PLoS ONE 3 (2008), e0002051"
TANAKA = "Tanaka, Kunin, Yamins & Ganguli, NeurIPS 2020"
BARRAT = "Barrat, Barthelemy, Pastor-Satorras & Vespignani, PNAS 101 (2004), 3747-3752"


def _lengths(view: EdgeArrays, generator: np.random.Generator) -> PathLengths:
    return view.once("path lengths", lambda: path_lengths(view, seed=generator))


def _sampling(lengths: PathLengths, bound: str = "") -> str:
    if lengths.sources == lengths.component:
        return ""
    return f"{bound}sampled from {lengths.sources:,} of {lengths.component:,} sources"


def _path_mean(view: EdgeArrays, generator: np.random.Generator) -> Estimate:
    lengths = _lengths(view, generator)
    sampling = _sampling(lengths)
    return Estimate(lengths.mean, lengths.error if sampling else None, sampling)


def _path_max(view: EdgeArrays, generator: np.random.Generator) -> Estimate:
    lengths = _lengths(view, generator)
    return Estimate(float(lengths.maximum), None, _sampling(lengths, "a lower bound, "))


def _size() -> list[Measure]:
    pairs = "admissible pairs (consecutive stages where no edge skips one, else all stage[u] < stage[v])"
    return [
        Measure("nodes", "size", size.num_nodes, "Number of nodes.", unit="nodes", cost="O(1)"),
        Measure("edges", "size", size.num_edges, "Number of edges.", unit="edges", cost="O(1)"),
        Measure("stages", "size", size.num_stages, "Number of declared stages that hold a node.", unit="stages"),
        Measure("depth", "size", size.depth, "Edges on the longest directed path.", "", "edges", "directed"),
        Measure("density", "size", size.density, f"Edges over {pairs}.", unit="share"),
        Measure(
            "skip_share", "size", size.skip_share, "Share of edges that pass over a stage.", "", "share", "directed"
        ),
        Measure(
            "mean_skip_length",
            "size",
            size.mean_skip_length,
            "Mean number of stages that an edge climbs.",
            "",
            "stages",
            "directed",
        ),
    ]


def _reach() -> list[Measure]:
    def measure(name: str, function: Callable[..., Any], definition: str, reference: str, unit: str) -> Measure:
        return Measure(name, "reach", function, definition, reference, unit, "directed", "O(N + E)")

    return [
        measure(
            "effective_edges",
            reach.effective_edges,
            "Edges on a directed path from an input to an output.",
            EFFECTIVE,
            "edges",
        ),
        measure(
            "effective_density", reach.effective_density, "Effective edges over admissible pairs.", EFFECTIVE, "share"
        ),
        measure("live_units", reach.live_units, "Hidden units on an input-output path.", EFFECTIVE, "units"),
        measure("live_share", reach.live_share, "Live hidden units over hidden units.", EFFECTIVE, "share"),
        measure(
            "dead_neurons", reach.dead_neurons, "Hidden units that no input-output path visits.", EFFECTIVE, "units"
        ),
        measure(
            "log_paths", reach.log_paths, "Natural logarithm of the number of input-output paths.", "", "log paths"
        ),
        Measure(
            "path_length_mean",
            "reach",
            _path_mean,
            "Mean shortest path length between nodes of the largest component.",
            WATTS,
            "edges",
            "undirected",
            "O(E) per source",
            thin=True,
            random=True,
            stream="path_length",
        ),
        Measure(
            "path_length_max",
            "reach",
            _path_max,
            "Longest shortest path met in the largest component.",
            WATTS,
            "edges",
            "undirected",
            "O(E) per source",
            thin=True,
            random=True,
            stream="path_length",
        ),
    ]


def _weights() -> list[Measure]:
    def measure(
        name: str, function: Callable[..., Any], definition: str, reference: str, unit: str, way: Any = "directed"
    ) -> Measure:
        return Measure(name, "weights", function, definition, reference, unit, way, weighted=True)

    uneven = "Gini coefficient of the summed magnitude of {} weights."
    mean = "Mean summed magnitude of incoming weights, over nodes that are no inputs."
    ends = "Correlation of the summed magnitudes of weights at the two ends of an edge."
    paths = "Natural logarithm of the sum over input-output paths of the product of the magnitudes of their weights."
    signs = "(Positive - negative) over (positive + negative) edges."
    return [
        measure("mean_strength_in", fan_part("in", "mean", "abs"), mean, BARRAT, "weight"),
        measure("gini_strength_in", fan_part("in", "gini", "abs"), uneven.format("incoming"), GINI, "share"),
        measure("gini_strength_out", fan_part("out", "gini", "abs"), uneven.format("outgoing"), GINI, "share"),
        measure("assortativity_strength", _assortativity_strength, ends, NEWMAN, "correlation", "undirected"),
        measure("log_paths_abs", _log_paths_abs, paths, TANAKA, "log weight"),
        measure("sign_balance", sign_balance, signs, "", "share", ""),
    ]


def _assortativity_strength(view: EdgeArrays) -> float:
    return assortativity(view, weight="abs")


def _log_paths_abs(view: EdgeArrays) -> float:
    return reach.log_paths(view, weight="abs")


def _cost() -> list[Measure]:
    def measure(name: str, function: Callable[..., Any], definition: str, unit: str) -> Measure:
        return Measure(name, "cost", function, definition, unit=unit)

    return [
        measure("parameters", cost.parameters, "Edges plus one bias per node that is no input.", "numbers"),
        measure("flops", cost.flops, "Operations of one forward pass of one sample: 2 per edge.", "operations"),
        measure("bytes_csr", cost.bytes_csr, "float32 weights in compressed rows.", "bytes"),
        measure("bytes_bitmask", cost.bytes_bitmask, "float32 weights and one bit per pair of the blocks.", "bytes"),
        measure("bytes_dense", cost.bytes_dense, "float32 full matrices of the stage pairs with edges.", "bytes"),
    ]


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for family in (_size, _reach, degree_measures, structure_measures, _weights, _cost)
    for measure in family()
}

INGREDIENTS: dict[str, Measure] = {
    "small_world_clustering": Measure(
        "small_world_clustering",
        "structure",
        small_world_clustering,
        "Clustering where stages allow triangles, else bipartite clustering.",
        HUMPHRIES,
        "share",
        "undirected",
        "O(E^1.5)",
        thin=True,
    )
}
"""Measures that others are made of and that have no row of their own."""

"""The measures of a whole graph, each with its name, unit, definition and reference."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deepgraph.analysis import cost, reach, size
from deepgraph.analysis.bipartite import bipartite_clustering, butterflies
from deepgraph.analysis.community import LOUVAIN_LIMIT, modularity
from deepgraph.analysis.components import components, core_share, largest_component_share, max_core
from deepgraph.analysis.degrees import FanSummary, fan, sign_balance
from deepgraph.analysis.edges import EdgeArrays
from deepgraph.analysis.measure import Estimate, Measure
from deepgraph.analysis.mixing import assortativity, rich_club
from deepgraph.analysis.paths import PathLengths, path_lengths
from deepgraph.analysis.powerlaw import power_law
from deepgraph.analysis.smallworld import clustering, has_triangle_stages, sigma_of, small_world_clustering
from deepgraph.analysis.spectral import ramanujan_gap, spectral_gap
from deepgraph.analysis.stages import BUTTERFLY, EFFECTIVE, EXPANDER, GINI, RAMANUJAN, ROBINS

__all__ = ["INGREDIENTS", "MEASURES"]

CLAUSET = "Clauset, Shalizi & Newman, SIAM Review 51 (2009), 661-703"
NEWMAN = "Newman, Phys. Rev. E 67 (2003), 026126"
COLIZZA = "Colizza, Flammini, Serrano & Vespignani, Nature Physics 2 (2006), 110-115"
WATTS = "Watts & Strogatz, Nature 393 (1998), 440-442"
HUMPHRIES = "Humphries & Gurney, PLoS ONE 3 (2008), e0002051"
BLONDEL = "Blondel, Guillaume, Lambiotte & Lefebvre, J. Stat. Mech. (2008), P10008"
SEIDMAN = "Seidman, Social Networks 5 (1983), 269-287"
BARRAT = "Barrat, Barthelemy, Pastor-Satorras & Vespignani, PNAS 101 (2004), 3747-3752"


def _fan_part(direction: str, part: str, weight: str | None = None) -> Callable[[EdgeArrays], float]:
    """Return the function that reads one part of the spread of fan-in or fan-out."""

    def value(view: EdgeArrays) -> float:
        summary: FanSummary = view.once(f"fan {direction} {weight}", lambda: fan(view, direction, weight))
        return float(getattr(summary, part))

    return value


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


def _exponent(direction: str) -> Callable[[EdgeArrays], Estimate]:
    """Return the function that fits a power law to the fan-in or fan-out."""

    def value(view: EdgeArrays) -> Estimate:
        fit = power_law(view, direction)
        said = f"tail of {fit.tail:,} nodes from {fit.kmin} on, Kolmogorov-Smirnov distance {fit.distance:.3f}"
        return Estimate(fit.exponent, fit.error, said)

    return value


def _clustering(view: EdgeArrays) -> Estimate:
    said = (
        ""
        if has_triangle_stages(view) or not view.num_edges
        else "0 by construction: no three stages are joined pairwise"
    )
    return Estimate(clustering(view), None, said)


def _sigma(own: Mapping[str, float], nulls: Mapping[str, float]) -> float:
    clustered, length = "small_world_clustering", "path_length_mean"
    return sigma_of(own[clustered], own[length], nulls[clustered], nulls[length])


def _modularity(view: EdgeArrays, generator: np.random.Generator) -> Estimate:
    if view.num_edges > LOUVAIN_LIMIT and importlib.util.find_spec("networkit") is not None:
        return Estimate(modularity(view, seed=generator, library="networkit"), None, "found by networkit")
    return Estimate(modularity(view, seed=generator))


def _club_ratio(own: Mapping[str, float], nulls: Mapping[str, float]) -> float:
    return own["rich_club"] / nulls["rich_club"] if nulls["rich_club"] > 0 else np.nan


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


def _degrees() -> list[Measure]:
    ends = {"in": "fan-in of nodes that are no inputs", "out": "fan-out of nodes that are no outputs"}
    parts = {
        "mean": ("mean", "Mean ", "edges", ""),
        "sd": ("sd", "Standard deviation (population) of the ", "edges", ""),
        "max": ("maximum", "Largest ", "edges", ""),
        "gini": ("gini", "Gini coefficient of the ", "share", GINI),
    }
    spread = [
        Measure(
            f"{name}_fan_{way}",
            "degrees",
            _fan_part(way, part),
            f"{opening}{what}.",
            reference,
            unit,
            "directed",
            "O(N log N)",
        )
        for way, what in ends.items()
        for name, (part, opening, unit, reference) in parts.items()
    ]
    laws = [
        Measure(
            f"power_law_fan_{way}",
            "degrees",
            _exponent(way),
            f"Exponent of the discrete power law fitted to the tail of the fan-{way}.",
            CLAUSET,
            "exponent",
            "directed",
            "O(K^2) in K distinct degrees",
        )
        for way in ends
    ]
    mixing = [
        Measure(
            "assortativity",
            "degrees",
            assortativity,
            "Correlation of the total degrees at the two ends of an edge.",
            NEWMAN,
            "correlation",
            "undirected",
        ),
        Measure(
            "rich_club",
            "degrees",
            rich_club,
            "Density among the tenth of the nodes of highest degree, ties included.",
            COLIZZA,
            "share",
            "undirected",
        ),
        Measure(
            "rich_club_ratio",
            "degrees",
            _club_ratio,
            "Rich club over its mean in degree-preserving nulls.",
            COLIZZA,
            "ratio",
            "undirected",
            versus="degree",
            needs=("rich_club",),
        ),
    ]
    return spread + laws + mixing


def _structure() -> list[Measure]:
    def measure(
        name: str, function: Callable[..., Any], definition: str, reference: str, unit: str, **rest: Any
    ) -> Measure:
        return Measure(name, "structure", function, definition, reference, unit, "undirected", **rest)

    squares, made_of = "O(sum of squared degrees)", ("small_world_clustering", "path_length_mean")
    sigma = "Clustering over that of {} nulls, divided by the same ratio of mean path lengths."
    gap = "{}, on the largest component of each stage pair, averaged with edges as weights."
    return [
        measure("components", components, "Weakly connected components.", "", "components"),
        measure("largest_component_share", largest_component_share, "Nodes in the largest component.", "", "share"),
        measure("max_core", max_core, "Largest k with a k-core.", SEIDMAN, "edges"),
        measure("core_share", core_share, "Nodes in the innermost core.", SEIDMAN, "share"),
        measure("clustering", _clustering, "Mean local clustering.", WATTS, "share", cost="O(E^1.5)", thin=True),
        measure(
            "bipartite_clustering",
            bipartite_clustering,
            "Four times the squares over the paths of three edges, within stage pairs.",
            ROBINS,
            "share",
            cost=squares,
            thin=True,
        ),
        measure(
            "butterflies", butterflies, "Squares within stage pairs.", BUTTERFLY, "squares", cost=squares, thin=True
        ),
        measure("sigma_er", _sigma, sigma.format("Erdos-Renyi"), HUMPHRIES, "ratio", versus="er", needs=made_of),
        measure(
            "sigma_degree",
            _sigma,
            sigma.format("degree-preserving"),
            HUMPHRIES,
            "ratio",
            versus="degree",
            needs=made_of,
        ),
        measure(
            "modularity",
            _modularity,
            "Modularity of the partition that Louvain finds.",
            BLONDEL,
            "share",
            thin=True,
            random=True,
        ),
        measure("spectral_gap", spectral_gap, gap.format("First minus second singular value"), EXPANDER, "", thin=True),
        measure(
            "ramanujan_gap",
            ramanujan_gap,
            gap.format("sqrt(d_L - 1) + sqrt(d_R - 1) - second singular value"),
            RAMANUJAN,
            "",
            thin=True,
        ),
    ]


def _weights() -> list[Measure]:
    def measure(name: str, function: Callable[..., Any], definition: str, reference: str, unit: str) -> Measure:
        return Measure(name, "weights", function, definition, reference, unit, "directed", weighted=True)

    return [
        measure(
            "mean_strength_in",
            _fan_part("in", "mean", "abs"),
            "Mean summed magnitude of incoming weights, over nodes that are no inputs.",
            BARRAT,
            "weight",
        ),
        measure(
            "gini_strength_in",
            _fan_part("in", "gini", "abs"),
            "Gini coefficient of the summed magnitude of incoming weights.",
            GINI,
            "share",
        ),
        measure(
            "gini_strength_out",
            _fan_part("out", "gini", "abs"),
            "Gini coefficient of the summed magnitude of outgoing weights.",
            GINI,
            "share",
        ),
        measure("sign_balance", sign_balance, "(Positive - negative) over (positive + negative) edges.", "", "share"),
    ]


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
    measure.name: measure for family in (_size, _reach, _degrees, _structure, _weights, _cost) for measure in family()
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

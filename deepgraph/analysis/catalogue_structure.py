"""The measures of structure: components, cores, clustering, motifs, centralities, communities, spectra."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from deepgraph.analysis.bipartite import bipartite_clustering, butterflies
from deepgraph.analysis.centrality import betweenness, pagerank
from deepgraph.analysis.community import LOUVAIN_LIMIT, modularity
from deepgraph.analysis.components import components, core_share, largest_component_share, max_core
from deepgraph.analysis.degrees import gini
from deepgraph.analysis.edges import EdgeArrays
from deepgraph.analysis.measure import Estimate, Measure
from deepgraph.analysis.motifs import motifs
from deepgraph.analysis.smallworld import clustering, has_triangle_stages, sigma_of
from deepgraph.analysis.spectral import ramanujan_gap, spectral_gap
from deepgraph.analysis.stages import BUTTERFLY, EXPANDER, RAMANUJAN, ROBINS

__all__ = ["structure_measures"]

WATTS = "Watts & Strogatz, Nature 393 (1998), 440-442"
HUMPHRIES = "Humphries & Gurney, PLoS ONE 3 (2008), e0002051"
BLONDEL = "Blondel, Guillaume, Lambiotte & Lefebvre, J. Stat. Mech. (2008), P10008"
SEIDMAN = "Seidman, Social Networks 5 (1983), 269-287"
MILO = "Milo et al., Science 298 (2002), 824-827"
BRANDES = "Brandes & Pich, Int. J. Bifurcation Chaos 17 (2007), 2303-2318"
BRIN = "Brin & Page, Computer Networks 30 (1998), 107-117"


def _motif(name: str) -> Callable[[EdgeArrays], Estimate]:
    """Return the function that counts one motif."""

    def value(view: EdgeArrays) -> Estimate:
        none = name == "feed_forward" and view.num_edges and not has_triangle_stages(view)
        said = "0 by construction: no three stages are joined pairwise" if none else ""
        return Estimate(float(getattr(view.once("motifs", lambda: motifs(view)), name)), None, said)

    return value


def _betweenness(view: EdgeArrays, generator: np.random.Generator) -> Estimate:
    # Fewer sources on large graphs, so that the searches stay a matter of seconds.
    found = betweenness(view, max(16, min(256, 50_000_000 // max(view.num_edges, 1))), generator)
    at = int(np.argmax(found.values)) if found.nodes else 0
    if found.sources == found.nodes:
        return Estimate(float(found.values[at]) if found.nodes else np.nan)
    said = f"from {found.sources:,} of {found.nodes:,} sources, off by at most {found.bound:.2g} with probability .95"
    return Estimate(float(found.values[at]), float(found.error[at]), said)


def _gini_pagerank(view: EdgeArrays) -> float:
    return gini(pagerank(view)) if view.num_nodes else np.nan


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


def structure_measures() -> list[Measure]:
    """Return the measures of this family."""

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
        *(
            Measure(
                f"motif_{name}",
                "structure",
                _motif(name),
                f"Sets of three nodes joined as {how}, by all their edges.",
                MILO,
                "motifs",
                "directed",
                "O(E^1.5)",
                thin=True,
            )
            for name, how in (
                ("feed_forward", "u -> v -> w and u -> w"),
                ("chain", "u -> v -> w"),
                ("fan_out", "v <- u -> w"),
                ("fan_in", "u -> w <- v"),
            )
        ),
        Measure(
            "max_betweenness",
            "structure",
            _betweenness,
            "Largest share of shortest directed paths through one node, ends not counted.",
            BRANDES,
            "share",
            "directed",
            "O(E) per source",
            random=True,
        ),
        Measure(
            "gini_pagerank",
            "structure",
            _gini_pagerank,
            "Gini coefficient of PageRank with damping .85.",
            BRIN,
            "share",
            "directed",
            "O(E) per step",
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

"""The measures of structure: components, cores, clustering, motifs, centralities, communities, spectra."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, Literal

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
        said = _why_none(view) if name == "feed_forward" else ""
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


def _gini_pagerank(weight: str | None) -> Callable[[EdgeArrays], float]:
    """Return the function that tells how unequal the ranks of the nodes are."""

    def value(view: EdgeArrays) -> float:
        return gini(pagerank(view, weight=weight)) if view.num_nodes else np.nan

    return value


def _clustering(view: EdgeArrays) -> Estimate:
    return Estimate(clustering(view), None, _why_none(view))


def _why_none(view: EdgeArrays) -> str:
    """Return why there are no triangles, where that is known before counting."""
    possible = has_triangle_stages(view) or not view.num_edges
    return "" if possible else "0 by construction: no three stages are joined pairwise"


def _sigma(own: Mapping[str, float], nulls: Mapping[str, float]) -> float:
    clustered, length = "small_world_clustering", "path_length_mean"
    return sigma_of(own[clustered], own[length], nulls[clustered], nulls[length])


def _modularity(view: EdgeArrays, generator: np.random.Generator) -> Estimate:
    if view.num_edges > LOUVAIN_LIMIT and importlib.util.find_spec("networkit") is not None:
        return Estimate(modularity(view, seed=generator, library="networkit"), None, "found by networkit")
    return Estimate(modularity(view, seed=generator))


def structure_measures() -> list[Measure]:
    """Return the measures of this family."""
    return [*_wholeness(), *_closeness_of_neighbours(), *_motifs(), *_centralities(), *_small_worlds(), *_spectra()]


def _undirected(
    name: str, function: Callable[..., Any], definition: str, reference: str, unit: str, **rest: Any
) -> Measure:
    return Measure(name, "structure", function, definition, reference, unit, "undirected", **rest)


def _wholeness() -> list[Measure]:
    """Return what is connected at all, and how densely at its core."""
    return [
        _undirected("components", components, "Weakly connected components.", "", "components"),
        _undirected("largest_component_share", largest_component_share, "Nodes in the largest component.", "", "share"),
        _undirected("max_core", max_core, "Largest k with a k-core.", SEIDMAN, "edges"),
        _undirected("core_share", core_share, "Nodes in the innermost core.", SEIDMAN, "share"),
    ]


def _closeness_of_neighbours() -> list[Measure]:
    """Return how many triangles and squares close."""
    ways = {"cost": "O(sum of squared degrees)", "thin": True}
    squares = "Four times the squares over the paths of three edges, within stage pairs."
    return [
        _undirected("clustering", _clustering, "Mean local clustering.", WATTS, "share", cost="O(E^1.5)", thin=True),
        _undirected("bipartite_clustering", bipartite_clustering, squares, ROBINS, "share", **ways),
        _undirected("butterflies", butterflies, "Squares within stage pairs.", BUTTERFLY, "squares", **ways),
    ]


def _motifs() -> list[Measure]:
    """Return the four ways to join three nodes of an acyclic graph."""
    ways = {
        "feed_forward": "u -> v -> w and u -> w",
        "chain": "u -> v -> w",
        "fan_out": "v <- u -> w",
        "fan_in": "u -> w <- v",
    }
    said = "Sets of three nodes joined as {}, by all their edges."
    return [
        Measure(
            f"motif_{name}",
            "structure",
            _motif(name),
            said.format(how),
            MILO,
            "motifs",
            "directed",
            "O(E^1.5)",
            thin=True,
        )
        for name, how in ways.items()
    ]


def _centralities() -> list[Measure]:
    """Return how unevenly nodes matter."""
    between = "Largest share of shortest directed paths through one node, ends not counted."
    ranked = "Gini coefficient of PageRank with damping .85{}."

    def rank(name: str, weight: str | None, said: str) -> Measure:
        function, weighted = _gini_pagerank(weight), weight is not None
        return Measure(
            name,
            "structure",
            function,
            ranked.format(said),
            BRIN,
            "share",
            "directed",
            "O(E) per step",
            weighted=weighted,
        )

    return [
        Measure(
            "max_betweenness", "structure", _betweenness, between, BRANDES, "share", "directed", "O(E) per source",
            random=True,
        ),
        rank("gini_pagerank", None, ""),
        rank("gini_pagerank_abs", "abs", ", ranks handed on by magnitudes of weights"),
    ]  # fmt: skip


def _small_worlds() -> list[Measure]:
    """Return the small-world coefficients and the modularity."""
    made_of = ("small_world_clustering", "path_length_mean")
    sigma = "Clustering over that of {} nulls, divided by the same ratio of mean path lengths."
    found = "Modularity of the partition that Louvain finds."

    def against(name: str, versus: Literal["er", "degree"], nulls: str) -> Measure:
        cost = "O(E^1.5) and O(E) per source, for every null"
        return _undirected(
            name, _sigma, sigma.format(nulls), HUMPHRIES, "ratio", versus=versus, needs=made_of, cost=cost
        )

    return [
        against("sigma_er", "er", "Erdos-Renyi"),
        against("sigma_degree", "degree", "degree-preserving"),
        _undirected("modularity", _modularity, found, BLONDEL, "share", cost="O(E) per pass", thin=True, random=True),
    ]


def _spectra() -> list[Measure]:
    """Return the gaps in the singular values of the stage pairs."""
    gap = "{}, on the largest component of each stage pair, averaged with edges as weights."
    first, second = "First minus second singular value", "sqrt(d_L - 1) + sqrt(d_R - 1) - second singular value"
    rest = {"cost": "O(E) per iteration", "thin": True}
    return [
        _undirected("spectral_gap", spectral_gap, gap.format(first), EXPANDER, "", **rest),
        _undirected("ramanujan_gap", ramanujan_gap, gap.format(second), RAMANUJAN, "", **rest),
    ]

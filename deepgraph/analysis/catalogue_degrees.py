"""The measures of degrees: their spread, their power laws, and who is joined to whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from deepgraph.analysis.degrees import FanSummary, fan
from deepgraph.analysis.edges import EdgeArrays
from deepgraph.analysis.measure import Estimate, Measure
from deepgraph.analysis.mixing import assortativity, rich_club, rich_nodes
from deepgraph.analysis.powerlaw import power_law
from deepgraph.analysis.stages import GINI
from deepgraph.analysis.tails import power_law_against
from deepgraph.errors import StructureError

__all__ = ["degree_measures", "fan_part"]

CLAUSET = "Clauset, Shalizi & Newman, SIAM Review 51 (2009), 661-703"
NEWMAN = "Newman, Phys. Rev. E 67 (2003), 026126"
COLIZZA = "Colizza, Flammini, Serrano & Vespignani, Nature Physics 2 (2006), 110-115"


def fan_part(direction: str, part: str, weight: str | None = None) -> Callable[[EdgeArrays], float]:
    """Return the function that reads one part of the spread of fan-in or fan-out."""

    def value(view: EdgeArrays) -> float:
        summary: FanSummary = view.once(f"fan {direction} {weight}", lambda: fan(view, direction, weight))
        return float(getattr(summary, part))

    return value


def _exponent(direction: str) -> Callable[[EdgeArrays], Estimate]:
    """Return the function that fits a power law to the fan-in or fan-out."""

    def value(view: EdgeArrays) -> Estimate:
        fit = power_law(view, direction)
        said = f"tail of {fit.tail:,} nodes from {fit.kmin} on, Kolmogorov-Smirnov distance {fit.distance:.3f}"
        return Estimate(fit.exponent, fit.error, said)

    return value


def _against(direction: str, alternative: str) -> Callable[[EdgeArrays], Estimate]:
    """Return the function that holds the power law of the fan-in or fan-out against another tail."""

    def value(view: EdgeArrays) -> Estimate:
        test = power_law_against(view, alternative, direction)
        better = "no verdict" if test.verdict == "neither" else f"{test.verdict.replace('_', ' ')} better"
        return Estimate(test.normalised, None, f"log likelihood ratio {test.ratio:.1f}, p = {test.p:.2g}: {better}")

    return value


def _rich_club(view: EdgeArrays) -> float:
    """Return the rich club where it can have edges."""
    club = rich_nodes(view)
    stages = np.unique(view.stage_index[club])
    if len(club) > 1 and not (np.isin(view.pairs.source, stages) & np.isin(view.pairs.target, stages)).any():
        where = " and ".join(map(str, view.stages[stages].tolist()))
        raise StructureError(f"the {len(club):,} nodes of highest degree lie in stages that are not joined: {where}")
    return rich_club(view)


def _club_ratio(own: Mapping[str, float], nulls: Mapping[str, float]) -> float:
    return own["rich_club"] / nulls["rich_club"] if nulls["rich_club"] > 0 else np.nan


def degree_measures() -> list[Measure]:
    """Return the measures of this family."""
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
            fan_part(way, part),
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
    laws += [
        Measure(
            f"{short}_fan_{way}",
            "degrees",
            _against(way, alternative),
            f"Vuong's normalised likelihood ratio of the power law against the {alternative.replace('_', ' ')}, "
            f"fan-{way}; above 0 speaks for the power law.",
            f"{CLAUSET}, section 5.1",
            "sd",
            "directed",
            "O(K) per step of the fit, in K distinct degrees",
        )
        for way in ends
        for short, alternative in (("vuong_lognormal", "lognormal"), ("vuong_truncated", "truncated_power_law"))
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
            _rich_club,
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

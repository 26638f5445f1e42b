"""The measures of every stage and of every stage pair, for the rows of a report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from deepgraph.analysis.bipartite import butterflies_by_pair, clustering_by_pair
from deepgraph.analysis.degrees import fan_by_stage
from deepgraph.analysis.edges import EdgeArrays, FloatArray, IntArray, ratio
from deepgraph.analysis.measure import Measure
from deepgraph.analysis.reach import effective_edge_mask, live_unit_mask
from deepgraph.analysis.spectral import pair_spectra

__all__ = ["PAIR_MEASURES", "STAGE_MEASURES"]

Column = npt.NDArray[Any]

EFFECTIVE = "Vysogorets & Kempe, JMLR 24 (2023)"
BUTTERFLY = "Sanei-Mehri, Sariyuce & Tirthapura, KDD 2018"
ROBINS = "Robins & Alexander, Comput. Math. Organ. Theory 10 (2004), 69-94"
EXPANDER = "Hoory, Linial & Wigderson, Bull. AMS 43 (2006), 439-561"
RAMANUJAN = "Pal, Biswas, Kolay, Mitra & Basu, ICML 2022"
GINI = "Gini (1912)"


def _units(view: EdgeArrays) -> IntArray:
    return view.stage_sizes


def _live(view: EdgeArrays) -> IntArray:
    return np.bincount(view.stage_index[live_unit_mask(view)], minlength=len(view.stages))


def _live_share(view: EdgeArrays) -> FloatArray:
    return ratio(_live(view), view.stage_sizes)


def _dead(view: EdgeArrays) -> IntArray:
    dead = view.is_hidden & ~live_unit_mask(view)
    return np.bincount(view.stage_index[dead], minlength=len(view.stages))


def _fan(direction: str, part: str) -> Callable[[EdgeArrays], Column]:
    """Return the function that reads one part of the fan-in or fan-out of every stage."""

    def column(view: EdgeArrays) -> Column:
        by_stage = view.once(f"fan {direction}", lambda: fan_by_stage(view, direction))
        return np.array([getattr(summary, part) for summary in by_stage.values()])

    return column


def _positive_share(view: EdgeArrays) -> FloatArray:
    values, of_node = view.values("weight"), view.stage_index[view.dst]
    counted = np.bincount(of_node, weights=values != 0, minlength=len(view.stages))
    positive = np.bincount(of_node, weights=values > 0, minlength=len(view.stages))
    return ratio(positive, counted)


def _mean_strength(view: EdgeArrays) -> FloatArray:
    total = np.bincount(view.stage_index[view.dst], weights=view.values("abs"), minlength=len(view.stages))
    units = np.bincount(view.stage_index[~view.is_input], minlength=len(view.stages))
    return ratio(total, units)


def _pair_edges(view: EdgeArrays) -> IntArray:
    return view.pairs.edges


def _pair_density(view: EdgeArrays) -> FloatArray:
    return ratio(view.pairs.edges, view.pairs.admissible)


def _pair_effective(view: EdgeArrays) -> IntArray:
    return np.bincount(view.pairs.of_edge[effective_edge_mask(view)], minlength=len(view.pairs.edges))


def _pair_effective_density(view: EdgeArrays) -> FloatArray:
    return ratio(_pair_effective(view), view.pairs.admissible)


def _spectrum(part: str) -> Callable[[EdgeArrays], FloatArray]:
    """Return the function that reads one part of the spectrum of every stage pair."""

    def column(view: EdgeArrays) -> FloatArray:
        values = np.full(len(view.pairs.edges), np.nan)
        spectra = pair_spectra(view)
        keys = view.stages[view.pairs.source] * np.int64(2**31) + view.stages[view.pairs.target]
        wanted = np.array([spectrum.source * 2**31 + spectrum.target for spectrum in spectra], dtype=np.int64)
        values[np.searchsorted(keys, wanted)] = [getattr(spectrum, part) for spectrum in spectra]
        return values

    return column


def _fan_measures() -> list[Measure]:
    """Return the eight measures of fan-in and fan-out of a stage."""
    said = {
        "mean": ("mean", "Mean", "edges", ""),
        "sd": ("sd", "Standard deviation (population)", "edges", ""),
        "max": ("maximum", "Largest", "edges", ""),
        "gini": ("gini", "Gini coefficient", "share", GINI),
    }
    ends = {
        "in": "fan-in of the units of the stage that are no inputs",
        "out": "fan-out of the units of the stage that are no outputs",
    }
    return [
        Measure(
            f"{name}_fan_{direction}",
            "degrees",
            _fan(direction, part),
            f"{opening} {'' if name == 'max' else 'of the '}{what}.",
            reference,
            unit,
            "directed",
            level="stage",
        )
        for direction, what in ends.items()
        for name, (part, opening, unit, reference) in said.items()
    ]


def _stage(name: str, function: Callable[..., Any], definition: str, **rest: Any) -> Measure:
    return Measure(name, "stage", function, definition, level="stage", **rest)


def _pair(name: str, function: Callable[..., Any], definition: str, **rest: Any) -> Measure:
    return Measure(name, "stage pair", function, definition, level="stage pair", **rest)


STAGE_MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in [
        _stage("units", _units, "Nodes declared to be in the stage.", unit="units"),
        _stage("live", _live, "Units on an input-output path.", reference=EFFECTIVE, unit="units", directed="directed"),
        _stage("live_share", _live_share, "Live units over units.", unit="share", directed="directed"),
        _stage("dead", _dead, "Hidden units that no input-output path visits.", unit="units", directed="directed"),
        *_fan_measures(),
        _stage(
            "mean_strength",
            _mean_strength,
            "Mean over the units of the summed magnitude of incoming weights.",
            unit="weight",
            directed="directed",
            weighted=True,
        ),
        _stage(
            "positive_share",
            _positive_share,
            "Positive weights over weights that are not 0, of the edges into the stage.",
            unit="share",
            directed="directed",
            weighted=True,
        ),
    ]
}

PAIR_MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in [
        _pair("edges", _pair_edges, "Edges from the one stage to the other.", unit="edges"),
        _pair("density", _pair_density, "Edges over the product of the two stage sizes.", unit="share"),
        _pair(
            "effective_edges",
            _pair_effective,
            "Edges on an input-output path.",
            reference=EFFECTIVE,
            unit="edges",
            directed="directed",
        ),
        _pair(
            "effective_density",
            _pair_effective_density,
            "Effective edges over the product of the two stage sizes.",
            reference=EFFECTIVE,
            unit="share",
            directed="directed",
        ),
        _pair(
            "butterflies",
            butterflies_by_pair,
            "Squares: two units of the one stage that share two of the other.",
            reference=BUTTERFLY,
            unit="squares",
            directed="undirected",
            cost="O(sum of squared degrees)",
        ),
        _pair(
            "bipartite_clustering",
            clustering_by_pair,
            "Four times the squares over the paths of three edges.",
            reference=ROBINS,
            unit="share",
            directed="undirected",
            cost="O(sum of squared degrees)",
        ),
        _pair(
            "spectral_gap",
            _spectrum("gap"),
            "First minus second singular value, on the largest component.",
            reference=EXPANDER,
            directed="undirected",
            cost="O(E) per iteration",
        ),
        _pair(
            "ramanujan_gap",
            _spectrum("ramanujan"),
            "sqrt(d_L - 1) + sqrt(d_R - 1) - second singular value, on the largest component; above 0 is Ramanujan.",
            reference=RAMANUJAN,
            directed="undirected",
            cost="O(E) per iteration",
        ),
    ]
}

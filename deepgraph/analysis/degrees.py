"""Fan-in and fan-out: their spread and their inequality, counted or weighted, per stage and in all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from deepgraph.analysis.edges import BoolArray, EdgeArrays, FloatArray, IntArray, arrays_of, ratio
from deepgraph.errors import ArgumentError

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = [
    "FanSummary",
    "degree_distribution",
    "degrees",
    "fan",
    "fan_by_stage",
    "gini",
    "sign_balance",
    "strength",
]


@dataclass(frozen=True)
class FanSummary:
    """The spread of fan-in or fan-out over a set of units.

    Attributes
    ----------
    units : int
        Number of units.
    mean, sd, maximum : float
        Edges per unit (or weight, where `weight` was given); sd is that of the population. NaN without units.
    gini : float
        Inequality in [0, 1): 0 where all units have the same, near 1 where one unit has all.
    """

    units: int
    mean: float
    sd: float
    maximum: float
    gini: float


def gini(values: npt.ArrayLike) -> float:
    """Return the Gini coefficient in [0, 1) of non-negative values (K,); 0 where all are 0, NaN without values.

    Raises
    ------
    ArgumentError
        If a value is negative or not finite.

    References
    ----------
    Gini (1912), in the sorted form G = sum_i (2 i - K - 1) x_i / (K sum_i x_i), i = 1..K.

    Examples
    --------
    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 4])
    (0.0, 0.75)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64).reshape(-1))
    if ordered.size == 0:
        return math.nan
    if not (np.isfinite(ordered[-1]) and ordered[0] >= 0):
        raise ArgumentError(
            f"gini needs finite values >= 0, got values in [{ordered[0]}, {ordered[-1]}]; "
            'for signed weights take weight="abs"'
        )
    total = float(ordered.sum())
    if total == 0.0:
        return 0.0
    rank = 2.0 * np.arange(1, ordered.size + 1) - ordered.size - 1
    # Rounding can leave -1e-17 for equal values.
    return max(0.0, float(rank @ (ordered / total)) / ordered.size)


def degrees(graph: Source, direction: str = "in", weight: str | None = None) -> FloatArray:
    """Return the fan-in, the fan-out or their sum for every node (N,).

    Parameters
    ----------
    direction : {"in", "out", "total"}
        Which edges count.
    weight : None, "weight" or "abs"
        Count edges, or add up their weights or the magnitudes of these.

    Raises
    ------
    ArgumentError
        If `direction` or `weight` is not one of these.
    MissingColumnError
        If the graph has no weights and they are asked for.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> degrees(EdgeArrays.from_arrays([0, 1], [2, 2], 3), "in").tolist()
    [0.0, 0.0, 2.0]
    """
    if direction not in ("in", "out", "total"):
        raise ArgumentError(f'direction must be "in", "out" or "total", got {direction!r}')
    view = arrays_of(graph)
    if weight is None:
        counts = {"in": view.fan_in, "out": view.fan_out, "total": view.degree}[direction]
        return counts.astype(np.float64)
    values = view.values(weight)
    result = np.zeros(view.num_nodes)
    for name, ends in (("in", view.dst), ("out", view.src)):
        if direction in (name, "total"):
            result += np.bincount(ends, weights=values, minlength=view.num_nodes)
    return result


def strength(graph: Source, direction: str = "in", weight: str = "abs") -> FloatArray:
    """Return the summed weight of the edges at every node (N,); `degrees` with weights.

    Raises
    ------
    ArgumentError
        If `direction` or `weight` is unknown.
    MissingColumnError
        If the graph has no weights.

    References
    ----------
    Barrat, Barthelemy, Pastor-Satorras & Vespignani, PNAS 101 (2004), 3747-3752.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> strength(EdgeArrays.from_arrays([0, 1], [2, 2], 3, weight=[0.5, -2.0])).tolist()
    [0.0, 0.0, 2.5]
    """
    return degrees(graph, direction, weight)


def sign_balance(graph: Source) -> float:
    """Return (positive - negative) / (positive + negative) edges, in [-1, 1]; NaN where no weight differs from 0.

    Raises
    ------
    MissingColumnError
        If the graph has no weights.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> sign_balance(EdgeArrays.from_arrays([0, 1, 2], [3, 3, 3], 4, weight=[1.0, 2.0, -1.0]))
    0.3333333333333333
    """
    values = arrays_of(graph).values("weight")
    positive, negative = int(np.count_nonzero(values > 0)), int(np.count_nonzero(values < 0))
    return (positive - negative) / (positive + negative) if positive + negative else math.nan


def fan(graph: Source, direction: str = "in", weight: str | None = None) -> FanSummary:
    """Return the spread of fan-in over the units that are no inputs, or of fan-out over those that are no outputs.

    Raises
    ------
    ArgumentError
        If `direction` is neither "in" nor "out", or `weight` is unknown, or gives negative sums.
    MissingColumnError
        If the graph has no weights and they are asked for.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> fan(EdgeArrays.from_arrays([0, 1, 0], [2, 2, 3], 4), "in")
    FanSummary(units=2, mean=1.5, sd=0.5, maximum=2.0, gini=0.16666666666666666)
    """
    values, counted = _fan_values(arrays_of(graph), direction, weight)
    return _summary(values[counted])


def fan_by_stage(graph: Source, direction: str = "in", weight: str | None = None) -> dict[int, FanSummary]:
    """Return the spread of fan-in (fan-out) over the units of each stage that are no inputs (no outputs).

    Raises
    ------
    ArgumentError
        If `direction` is neither "in" nor "out", or `weight` is unknown, or gives negative sums.
    MissingColumnError
        If the graph has no weights and they are asked for.

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> by_stage = fan_by_stage(EdgeArrays.from_arrays([0, 1, 0], [2, 2, 3], 4), "in")
    >>> by_stage[1].maximum, by_stage[0].units
    (2.0, 0)
    """
    view = arrays_of(graph)
    values, counted = _fan_values(view, direction, weight)
    order = np.lexsort((values, view.stage_index))
    order = order[counted[order]]
    bounds = np.searchsorted(view.stage_index[order], np.arange(len(view.stages) + 1))
    ordered = values[order]
    units = np.diff(bounds)
    # Segment sums for all stages at once: a deep graph has as many stages as nodes.
    position = np.arange(len(ordered)) - np.repeat(bounds[:-1], units)
    rank = 2.0 * (position + 1) - np.repeat(units, units) - 1
    total, square, ranked = (_segment_sums(x, bounds) for x in (ordered, ordered**2, rank * ordered))
    held = units > 0
    mean = ratio(total, units)
    variance = ratio(square, units) - mean**2
    highest = np.full(len(units), np.nan)
    highest[held] = ordered[bounds[1:][held] - 1]
    uneven = ratio(ranked, units * total, empty=0.0)
    uneven[~held] = np.nan
    columns = (units, mean, np.sqrt(np.maximum(variance, 0.0)), highest, np.maximum(uneven, 0.0))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {stage: FanSummary(*row) for stage, row in zip(view.stages.tolist(), rows, strict=True)}


def _segment_sums(values: FloatArray, bounds: IntArray) -> FloatArray:
    """Return the sums (S,) of `values` between consecutive `bounds` (S + 1,)."""
    running = np.concatenate([[0.0], np.cumsum(values)])
    sums: FloatArray = running[bounds[1:]] - running[bounds[:-1]]
    return sums


def _fan_values(view: EdgeArrays, direction: str, weight: str | None) -> tuple[FloatArray, BoolArray]:
    """Return the degrees (N,) and which nodes (N,) they are a statistic of."""
    if direction not in ("in", "out"):
        raise ArgumentError(f'direction must be "in" or "out", got {direction!r}')
    return degrees(view, direction, weight), ~(view.is_input if direction == "in" else view.is_output)


def _summary(values: FloatArray) -> FanSummary:
    """Return the summary of `values` (K,)."""
    if values.size == 0:
        return FanSummary(0, math.nan, math.nan, math.nan, math.nan)
    return FanSummary(values.size, float(values.mean()), float(values.std()), float(values.max()), gini(values))


def degree_distribution(graph: Source, direction: str = "in") -> tuple[IntArray, IntArray]:
    """Return the degrees that occur, ascending (K,), and the number of nodes with each (K,).

    Raises
    ------
    ArgumentError
        If `direction` is not "in", "out" or "total".

    Examples
    --------
    >>> from deepgraph.analysis import EdgeArrays
    >>> [column.tolist() for column in degree_distribution(EdgeArrays.from_arrays([0, 1], [2, 2], 3))]
    [[0, 2], [2, 1]]
    """
    counts = np.bincount(degrees(graph, direction).astype(np.int64))
    held = np.flatnonzero(counts)
    return held, counts[held]

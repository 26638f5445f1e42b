"""Discrete power laws fitted by maximum likelihood, with the tail chosen by Kolmogorov-Smirnov distance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.special import zeta

from deepgraph.analysis.degrees import degrees
from deepgraph.analysis.edges import FloatArray, IntArray
from deepgraph.errors import ArgumentError, StructureError
from deepgraph.graph.sampling import as_generator

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source
    from deepgraph.graph.sampling import Seed

__all__ = ["MIN_TAIL", "PowerLaw", "fit_power_law", "positive_counts", "power_law", "power_law_exponent"]

MIN_TAIL = 50
# Exponents searched. Below 1 the distribution has no norm; at 20 the next value is a million times rarer.
_LOWEST, _HIGHEST = 1.0 + 1e-6, 20.0
_MOST_STARTS = 300
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class PowerLaw:
    """A fitted power law p(k) = k^-exponent / zeta(exponent, kmin), k >= kmin.

    Attributes
    ----------
    exponent : float
        In (1, 20].
    error : float
        Standard error of the exponent, (exponent - 1) / sqrt(tail).
    kmin : int
        Smallest value of the fitted tail.
    tail : int
        Number of values in the tail.
    distance : float
        Kolmogorov-Smirnov distance in [0, 1] between tail and fit.
    p : float or None
        Share of samples drawn from the fit that lie farther from their own fit; below .1 the power law is ruled
        out. None where no sample was drawn.
    """

    exponent: float
    error: float
    kmin: int
    tail: int
    distance: float
    p: float | None = None


def fit_power_law(values: npt.ArrayLike, kmin: int | None = None, bootstrap: int = 0, seed: Seed = None) -> PowerLaw:
    """Return the discrete power law fitted to positive integers (K,); zeros are left out.

    Parameters
    ----------
    kmin : int or None
        Start of the tail, >= 1; None takes the start with the least Kolmogorov-Smirnov distance, among those that
        leave at least 50 values (300 of them, evenly spread, where there are more).
    bootstrap : int
        Number of samples for `p`; 2,500 give it to two digits.

    Raises
    ------
    ArgumentError
        If a value is negative or no integer, or `kmin` is below 1, or `bootstrap` below 0.
    StructureError
        If fewer than 50 values lie in the tail, all of them are equal, or they fall faster than k^-20.

    References
    ----------
    Clauset, Shalizi & Newman, "Power-Law Distributions in Empirical Data", SIAM Review 51 (2009), 661-703,
    equation 3.5 (likelihood), 3.9 (distance), section 4.1 (p).

    Examples
    --------
    >>> import numpy as np
    >>> drawn = np.random.default_rng(0).zipf(2.5, 5000)
    >>> fit = fit_power_law(drawn)
    >>> fit.kmin, round(fit.exponent, 2), round(fit.error, 2)
    (1, 2.46, 0.02)
    """
    counts = positive_counts(values)
    if kmin is not None and kmin < 1:
        raise ArgumentError(f"kmin must be at least 1, got {kmin}")
    if bootstrap < 0:
        raise ArgumentError(f"bootstrap must be a number of samples >= 0, got {bootstrap}")
    fit = _fit(*counts, kmin)
    if bootstrap == 0:
        return fit
    rng = as_generator(seed)
    farther = sum(_refit_distance(*counts, fit, kmin, rng) >= fit.distance for _ in range(bootstrap))
    return PowerLaw(fit.exponent, fit.error, fit.kmin, fit.tail, fit.distance, farther / bootstrap)


def positive_counts(values: npt.ArrayLike) -> tuple[IntArray, IntArray]:
    """Return the distinct positive values (U,), ascending, and how often each occurs (U,).

    Raises
    ------
    ArgumentError
        If a value is negative or no integer.

    Examples
    --------
    >>> [part.tolist() for part in positive_counts([3, 1, 0, 3])]
    [[1, 3], [1, 2]]
    """
    array = np.asarray(values).reshape(-1)
    whole = array.astype(np.int64)
    if array.size and (whole.min() < 0 or not np.array_equal(whole, array)):
        raise ArgumentError("a discrete power law needs integers >= 0, got negative or fractional values")
    distinct, count = np.unique(whole[whole > 0], return_counts=True)
    return distinct, count


def _fit(distinct: IntArray, count: IntArray, kmin: int | None) -> PowerLaw:
    """Return the fit to a histogram."""
    above = np.cumsum(count[::-1])[::-1]  # values from each distinct one on
    if kmin is not None:
        starts = np.searchsorted(distinct, [kmin])
        points = int(above[starts[0]]) if starts[0] < len(distinct) else 0
        lowest = np.array([kmin])
    else:
        # The last distinct value alone fits any steepness.
        starts = np.flatnonzero((above >= MIN_TAIL) & (np.arange(len(distinct)) < len(distinct) - 1))
        if len(starts) > _MOST_STARTS:
            starts = starts[np.linspace(0, len(starts) - 1, _MOST_STARTS).round().astype(int)]
        points = int(above[starts[0]]) if len(starts) else int(count.sum())
        lowest = distinct[starts]
    if points < MIN_TAIL:
        raise StructureError(
            f"a power-law fit needs at least {MIN_TAIL} values in the tail, got {points}; nothing can be said of so few"
        )
    if len(starts) == 0 or starts[0] >= len(distinct) - 1:
        raise StructureError("a power-law fit needs at least two different values in the tail, got one")
    exponents = _exponents(distinct, count, starts, lowest)
    distances = [
        _distance(distinct[start:], count[start:], float(exponent), int(low))
        for start, exponent, low in zip(starts, exponents, lowest, strict=True)
    ]
    best = int(np.argmin(distances))
    exponent, tail = float(exponents[best]), int(above[starts[best]])
    if exponent > _HIGHEST - 1e-3:
        raise StructureError(
            f"expected a tail that a power law can describe, got one that falls faster than k^-{_HIGHEST:.0f} "
            f"from {lowest[best]} on; these values have a typical size, look at their mean and sd"
        )
    return PowerLaw(exponent, (exponent - 1) / tail**0.5, int(lowest[best]), tail, float(distances[best]))


def _exponents(distinct: IntArray, count: IntArray, starts: IntArray, lowest: IntArray) -> FloatArray:
    """Return the most likely exponent for each tail start (S,), by golden section on all of them at once."""
    logs = np.cumsum((count * np.log(distinct))[::-1])[::-1][starts]
    mean_log = logs / np.cumsum(count[::-1])[::-1][starts]
    low, high = np.full(len(starts), _LOWEST), np.full(len(starts), _HIGHEST)

    def cost(exponent: FloatArray) -> FloatArray:
        # The zeta function at kmin underflows for steep tails; kmin^exponent taken out keeps it near 1.
        scaled = zeta(exponent, lowest) * lowest.astype(np.float64) ** exponent
        return np.log(scaled) + exponent * (mean_log - np.log(lowest))

    for _ in range(60):
        width = _GOLDEN * (high - low)
        left, right = high - width, low + width
        falls = cost(left) > cost(right)
        low, high = np.where(falls, left, low), np.where(falls, high, right)
    middle: FloatArray = (low + high) / 2
    return middle


def _distance(distinct: IntArray, count: IntArray, exponent: float, kmin: int) -> float:
    """Return the largest difference between the cumulative distributions of a tail and of its fit."""
    total = zeta(exponent, kmin)
    model = 1.0 - zeta(exponent, distinct + 1) / total
    data = np.cumsum(count) / count.sum()
    # Between two values that occur the data stay level while the model climbs.
    before = 1.0 - zeta(exponent, distinct) / total
    earlier = np.concatenate([[0.0], data[:-1]])
    return float(max(np.abs(model - data).max(), np.abs(before - earlier).max()))


def _refit_distance(
    distinct: IntArray, count: IntArray, fit: PowerLaw, kmin: int | None, rng: np.random.Generator
) -> float:
    """Return the distance between one sample of the semi-parametric bootstrap and its own fit."""
    total = int(count.sum())
    in_tail = int(rng.binomial(total, fit.tail / total))
    body = distinct < fit.kmin
    parts = [_draw(fit.exponent, fit.kmin, in_tail, rng)]
    if body.any():
        parts.append(rng.choice(distinct[body], total - in_tail, p=count[body] / count[body].sum()))
    try:
        return _fit(*positive_counts(np.concatenate(parts)), kmin).distance
    except StructureError:  # a sample too narrow to be fitted speaks for the fit
        return 1.0


def _draw(exponent: float, kmin: int, size: int, rng: np.random.Generator) -> IntArray:
    """Return `size` values of the power law, by bisection on its survival function."""
    survival = 1.0 - rng.random(size)
    low = np.full(size, float(kmin))
    high = 2 * low
    total = zeta(exponent, kmin)
    while True:
        short = (zeta(exponent, high) / total >= survival) & (high < 2.0**52)
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, 2 * high, high)
    for _ in range(53):
        middle = np.floor((low + high) / 2)
        beyond = zeta(exponent, middle) / total >= survival
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return low.astype(np.int64)


def power_law(graph: Source, direction: str = "in", bootstrap: int = 0, seed: Seed = None) -> PowerLaw:
    """Return the power law fitted to the fan-in, the fan-out or the degree of the nodes; nodes with none left out.

    Raises
    ------
    ArgumentError
        If `direction` is not "in", "out" or "total", or `bootstrap` below 0.
    StructureError
        If fewer than 50 nodes lie in the tail, all have the same degree, or the degrees fall faster than k^-20.

    References
    ----------
    Clauset, Shalizi & Newman, SIAM Review 51 (2009), 661-703.

    Examples
    --------
    >>> import numpy as np
    >>> from deepgraph.analysis import EdgeArrays
    >>> hub = np.repeat(np.arange(60), np.arange(60) % 6 + 1)
    >>> fit = power_law(EdgeArrays.from_arrays(hub, 60 + np.arange(len(hub)), 60 + len(hub)), "out")
    >>> fit.kmin, fit.tail
    (2, 50)
    """
    return fit_power_law(degrees(graph, direction), bootstrap=bootstrap, seed=seed)


def power_law_exponent(graph: Source, direction: str = "in") -> float:
    """Return the exponent of the fitted power law; see `power_law`.

    Raises
    ------
    ArgumentError
        If `direction` is not "in", "out" or "total".
    StructureError
        If fewer than 50 nodes lie in the tail, all have the same degree, or the degrees fall faster than k^-20.

    Examples
    --------
    >>> import numpy as np
    >>> from deepgraph.analysis import EdgeArrays
    >>> hub = np.repeat(np.arange(60), np.arange(60) % 6 + 1)
    >>> star = EdgeArrays.from_arrays(hub, 60 + np.arange(len(hub)), 60 + len(hub))
    >>> round(power_law_exponent(star, "out"), 2)
    2.17
    """
    return power_law(graph, direction).exponent

"""A power law against other heavy tails: Vuong's likelihood ratio."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import erfc, log_ndtr, zeta

from deepgraph.analysis.degrees import degrees
from deepgraph.analysis.edges import FloatArray, IntArray
from deepgraph.analysis.powerlaw import PowerLaw, fit_power_law, positive_counts
from deepgraph.errors import ArgumentError

if TYPE_CHECKING:
    from deepgraph.analysis.edges import Source

__all__ = ["ALTERNATIVES", "TailTest", "power_law_against", "tail_test"]

ALTERNATIVES = ("lognormal", "truncated_power_law")
# Terms of a normalising sum that are added one by one; the rest is an integral with its end correction.
_TERMS = 1_000
_LEVEL = 0.1


@dataclass(frozen=True)
class TailTest:
    """A fitted power law against another distribution, on the same tail.

    Attributes
    ----------
    alternative : {"lognormal", "truncated_power_law"}
    ratio : float
        Log likelihood of the power law minus that of the alternative, summed over the tail; above 0 speaks for the
        power law.
    normalised : float
        `ratio` over its standard deviation under "both are equally far from the truth"; 0 where they do not differ.
    p : float
        Probability of a ratio as large, in either direction, if they were equally good.
    parameters : tuple of float
        Of the alternative: mean and sd of the logarithm, or exponent and rate of the cut-off.
    kmin, tail : int
        Start of the tail and number of values in it.
    """

    alternative: str
    ratio: float
    normalised: float
    p: float
    parameters: tuple[float, float]
    kmin: int
    tail: int

    @property
    def verdict(self) -> str:
        """ "power_law" or the alternative where p < .1, else "neither": these data cannot tell them apart."""
        if self.p >= _LEVEL:
            return "neither"
        return "power_law" if self.ratio > 0 else self.alternative


def tail_test(values: npt.ArrayLike, alternative: str = "lognormal", kmin: int | None = None) -> TailTest:
    """Return the likelihood ratio of the power law fitted to positive integers (K,) against another distribution.

    Parameters
    ----------
    values : (K,) int
        Zeros are left out.
    alternative : {"lognormal", "truncated_power_law"}
        The latter is k^-a exp(-b k), of which the power law is the case b = 0.
    kmin : int or None
        Start of the tail; None takes that of the power law's best fit.

    Raises
    ------
    ArgumentError
        If `alternative` is none of these, or as in `fit_power_law`.
    StructureError
        If fewer than 50 values lie in the tail, all of them are equal, or they fall faster than k^-20.

    References
    ----------
    .. [1] Clauset, Shalizi & Newman, SIAM Review 51 (2009), 661-703, section 5.1 and appendix C.
    .. [2] Vuong, "Likelihood ratio tests for model selection and non-nested hypotheses", Econometrica 57 (1989).

    Notes
    -----
    p comes from the normal limit of the ratio, and for the truncated power law, which contains the power law, from
    the chi-square limit of twice the ratio. Differs from the paper: the lognormal is one rounded to whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> typical = np.random.default_rng(0).lognormal(3.0, 0.4, 2000).round()
    >>> tail_test(typical, kmin=5).verdict, tail_test(np.random.default_rng(0).zipf(2.5, 2000)).verdict
    ('lognormal', 'neither')
    """
    if alternative not in ALTERNATIVES:
        raise ArgumentError(f"alternative must be one of {', '.join(ALTERNATIVES)}, got {alternative!r}")
    fit = fit_power_law(values, kmin)
    distinct, count = positive_counts(values)
    distinct, count = distinct[distinct >= fit.kmin], count[distinct >= fit.kmin]
    own = -fit.exponent * np.log(distinct) - _log_zeta(fit.exponent, fit.kmin)
    other, parameters = _FITS[alternative](distinct, count, fit)
    difference = own - other
    ratio = float(count @ difference)
    spread = math.sqrt(max(float(count @ (difference - ratio / fit.tail) ** 2), 0.0))
    equal = spread <= 1e-9 * max(1.0, float(np.abs(own).max())) * fit.tail
    normalised = 0.0 if equal else ratio / spread
    if alternative == "truncated_power_law":
        p = float(erfc(math.sqrt(max(-ratio, 0.0))))  # chi-square of one degree of freedom at -2 ratio
    else:
        p = 1.0 if equal else float(erfc(abs(normalised) / math.sqrt(2)))
    return TailTest(alternative, ratio, normalised, p, parameters, fit.kmin, fit.tail)


def _log_zeta(exponent: float, kmin: int) -> float:
    """Return the logarithm of the sum of k^-exponent from kmin on, also where the sum itself underflows."""
    return math.log(float(zeta(exponent, kmin)) * float(kmin) ** exponent) - exponent * math.log(kmin)


Fitted = tuple[FloatArray, tuple[float, float]]


def _lognormal(distinct: IntArray, count: IntArray, fit: PowerLaw) -> Fitted:
    """Return the log probability (U,) of each distinct value under the most likely rounded lognormal tail."""
    upper, lower = np.log(distinct + 0.5), np.log(distinct - 0.5)
    start = math.log(fit.kmin - 0.5)

    def log_probability(point: FloatArray) -> FloatArray:
        mean, sd = float(point[0]), math.exp(float(point[1]))
        high, low = (upper - mean) / sd, (lower - mean) / sd
        # Above the mean the two distribution functions are close to 1: their complements differ more.
        flip = low > 0
        high, low = np.where(flip, -low, high), np.where(flip, -high, low)
        inside: FloatArray = log_ndtr(high) + np.log1p(-np.exp(np.minimum(log_ndtr(low) - log_ndtr(high), -1e-300)))
        return np.asarray(inside - log_ndtr((mean - start) / sd), dtype=np.float64)

    logs = np.log(distinct)
    middle = float(np.average(logs, weights=count))
    spread = math.sqrt(float(np.average((logs - middle) ** 2, weights=count))) or 1.0
    # A true power law is the limit of ever wider lognormals far to the left; there the likelihood is flat.
    bounds = [(-50.0 * spread, float(logs.max()) + 5.0), (math.log(0.05 * spread), math.log(20.0 * spread) + 2.0)]
    starts = [(middle, math.log(spread)), (0.0, math.log(2 * spread))]
    likely, point = _most_likely(log_probability, count, starts, bounds)
    return likely, (point[0], math.exp(point[1]))


def _truncated(distinct: IntArray, count: IntArray, fit: PowerLaw) -> Fitted:
    """Return the log probability (U,) of each distinct value under the most likely truncated power law."""
    logs, own = np.log(distinct), distinct.astype(np.float64)

    def log_probability(point: FloatArray) -> FloatArray:
        exponent, rate = float(point[0]), float(point[1]) ** 2
        return np.asarray(-exponent * logs - rate * (own - fit.kmin) - _log_norm(exponent, rate, fit.kmin))

    mean = float(np.average(own, weights=count))
    first = math.sqrt(1.0 / mean)
    bounds = [(-5.0, 20.0), (0.0, 10.0)]
    likely, point = _most_likely(log_probability, count, [(fit.exponent, 1e-3), (1.0, first)], bounds)
    plain = -fit.exponent * logs - _log_zeta(fit.exponent, fit.kmin)
    if float(count @ plain) >= float(count @ likely):  # no cut-off fits better than none
        return plain, (fit.exponent, 0.0)
    return likely, (point[0], point[1] ** 2)


def _log_norm(exponent: float, rate: float, kmin: int) -> float:
    """Return the logarithm of the sum of k^-exponent exp(-rate (k - kmin)) from kmin on."""
    if rate < 1e-12:
        return _log_zeta(exponent, kmin) if exponent > 1 + 1e-9 else math.inf
    k = np.arange(kmin, kmin + _TERMS, dtype=np.float64)
    shift = math.log(kmin)
    total = float(np.exp(-exponent * (np.log(k) - shift) - rate * (k - kmin)).sum())
    end = float(kmin + _TERMS)
    last = math.exp(-exponent * (math.log(end) - shift) - rate * (end - kmin))
    if last > 1e-18 * total:

        def scaled(t: float) -> float:
            # The integral over k = end * e^t of the terms behind, relative to the first of them.
            return math.exp((1 - exponent) * t - rate * end * math.expm1(t))

        width = math.log1p(60.0 / (rate * end))
        total += last * (end * float(quad(scaled, 0.0, width, limit=200)[0]) + 0.5 + (exponent / end + rate) / 12)
    return math.log(total) - exponent * shift


def _most_likely(
    log_probability: Callable[[FloatArray], FloatArray],
    count: IntArray,
    starts: list[tuple[float, float]],
    bounds: list[tuple[float, float]],
) -> Fitted:
    """Return the log probabilities and the parameters of the highest likelihood, from the best of several starts."""

    def cost(point: Any) -> float:
        found = -float(count @ log_probability(point)) / float(count.sum())
        return found if math.isfinite(found) else 1e30

    inside = [np.clip(start, *np.array(bounds).T) for start in starts]
    options: Any = {"xatol": 1e-6, "fatol": 1e-10, "maxiter": 400}
    tries = [
        minimize(cost, np.asarray(start), method="Nelder-Mead", bounds=bounds, options=options) for start in inside
    ]
    best = min(tries, key=lambda found: float(found.fun))
    return log_probability(best.x), (float(best.x[0]), float(best.x[1]))


_FITS: dict[str, Callable[[IntArray, IntArray, PowerLaw], Fitted]] = {
    "lognormal": _lognormal,
    "truncated_power_law": _truncated,
}


def power_law_against(graph: Source, alternative: str = "lognormal", direction: str = "in") -> TailTest:
    """Return the likelihood ratio of the power law against another tail, for fan-in, fan-out or degree of the nodes.

    Raises
    ------
    ArgumentError
        If `alternative` or `direction` is none of those known.
    StructureError
        If fewer than 50 nodes lie in the tail, all have the same degree, or the degrees fall faster than k^-20.

    References
    ----------
    Clauset, Shalizi & Newman, SIAM Review 51 (2009), 661-703, section 5.1.

    Examples
    --------
    >>> import deepgraph as dg
    >>> test = power_law_against(dg.priors.barabasi_albert(3000, 4, seed=0), "truncated_power_law", "out")
    >>> test.verdict, test.ratio <= 0
    ('neither', True)
    """
    return tail_test(degrees(graph, direction), alternative)

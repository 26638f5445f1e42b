"""A value against its values in random graphs: mean, spread, rank and z."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["FEWEST_FOR_Z", "NULL_NAMES", "NullTest", "compare_with_nulls"]

NULL_NAMES = {"er": "Erdos-Renyi", "degree": "degree-preserving"}
FEWEST_FOR_Z = 20
# Sums taken in another order differ in the last digits; values this close are equal.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class NullTest:
    """A value against n random graphs.

    Attributes
    ----------
    n : int
        Random graphs in which the measure is defined.
    mean, sd : float
        Of these values; sd with n - 1, NaN for n = 1.
    p : float or None
        Rank p in (0, 1], two-sided: (r + 1) / (n + 1), where r nulls lie at least as far from the mean of all n + 1
        values as the graph does. None where the null fixes the measure.
    z : float or None
        (value - mean) / sd, from 20 nulls on and where sd > 0.
    fixed : bool
        Whether every null has exactly the value of the graph, so that there is nothing to compare.
    """

    n: int
    mean: float
    sd: float
    p: float | None
    z: float | None
    fixed: bool


def compare_with_nulls(value: float, nulls: Sequence[float]) -> NullTest | None:
    """Return the test of `value` against the values (n,) of its nulls; None where either is undefined.

    NaN marks an undefined value; undefined nulls are left out.

    References
    ----------
    Phipson & Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), article 39: p = (r + 1) / (n + 1) is exact.

    Examples
    --------
    >>> compare_with_nulls(3.0, [1.0, 2.0, 1.5])
    NullTest(n=3, mean=1.5, sd=0.5, p=0.25, z=None, fixed=False)
    >>> compare_with_nulls(3.0, [3.0, 3.0]).fixed
    True
    """
    drawn = np.array([x for x in nulls if math.isfinite(x)])
    n = len(drawn)
    if not math.isfinite(value) or n == 0:
        return None
    slack = _ROUNDING * max(1e-300, abs(value), float(np.abs(drawn).max()))
    mean = float(drawn.mean())
    sd = float(drawn.std(ddof=1)) if n > 1 else math.nan
    if n > 1 and float(np.ptp(drawn)) <= slack:
        sd = 0.0
        if abs(value - mean) <= slack:
            return NullTest(n, mean, sd, None, None, True)
    # The centre includes the graph itself: only then are all n + 1 values alike when the null is true.
    centre = (float(drawn.sum()) + value) / (n + 1)
    farther = int(np.count_nonzero(np.abs(drawn - centre) >= abs(value - centre) - slack))
    z = (value - mean) / sd if n >= FEWEST_FOR_Z and sd > 0 else None
    return NullTest(n, mean, sd, (farther + 1) / (n + 1), z, False)

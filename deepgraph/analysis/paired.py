"""Differences of paired scores with their interval: inside the interval nobody wins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from deepgraph.errors import ArgumentError, ShapeError

__all__ = ["PairedDifference", "paired_difference"]


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference of n pairs and its two-sided Student interval.

    Attributes
    ----------
    n : int
        Pairs of which both scores are finite.
    mean, sd : float
        Of the differences first - second; sd with n - 1. NaN where n is too small.
    low, high : float
        Bounds of the interval; infinite with fewer than two pairs.
    level : float
        Its confidence.
    """

    n: int
    mean: float
    sd: float
    low: float
    high: float
    level: float

    @property
    def sign(self) -> int:
        """1 where the whole interval lies above 0, -1 where it lies below, 0 where it holds 0: nobody wins."""
        return (self.low > 0) - (self.high < 0)


def paired_difference(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> PairedDifference:
    """Return the mean of `first - second` (n,) with its Student interval; pairs that are not finite are left out.

    Raises
    ------
    ShapeError
        If the two differ in length.
    ArgumentError
        If `level` is outside (0, 1).

    References
    ----------
    Student, "The probable error of a mean", Biometrika 6 (1908), 1-25.

    Examples
    --------
    >>> found = paired_difference([0.82, 0.84, 0.83], [0.80, 0.81, 0.81])
    >>> found.n, round(found.mean, 4), round(found.low, 4), round(found.high, 4), found.sign
    (3, 0.0233, 0.009, 0.0377, 1)
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.ndim != 1 or one.shape != two.shape:
        raise ShapeError(f"paired scores must be (n,) arrays of one length, got {one.shape} and {two.shape}")
    if not 0.0 < level < 1.0:
        raise ArgumentError(f"level must be in (0, 1), got {level}; 0.95 is usual")
    kept = (one - two)[np.isfinite(one) & np.isfinite(two)]
    n = len(kept)
    if n < 2:
        return PairedDifference(n, float(kept.mean()) if n else math.nan, math.nan, -math.inf, math.inf, level)
    mean, sd = float(kept.mean()), float(kept.std(ddof=1))
    half = float(stdtrit(n - 1, 0.5 + 0.5 * level)) * sd / math.sqrt(n)
    return PairedDifference(n, mean, sd, mean - half, mean + half, level)

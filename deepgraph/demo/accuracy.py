"""Accuracy on a test set with its binomial interval, and what two intervals allow one to say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from deepgraph.errors import ArgumentError

__all__ = ["Accuracy", "apart"]

Z95 = 1.959963984540054
"""The 97.5th percentile of the standard normal distribution."""


@dataclass(frozen=True)
class Accuracy:
    """The share of right answers on a test set, with its 95 % interval.

    Parameters
    ----------
    right, total : int
        Images classified correctly, and all images; total >= 1.

    Raises
    ------
    ArgumentError
        Unless 0 <= right <= total and total >= 1.

    Notes
    -----
    The interval is Wilson's score interval [1]_: it treats the test images as drawn at random and the trained model
    as given, so it does not contain the spread between seeds.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
       American Statistical Association 22, 1927.

    Examples
    --------
    >>> accuracy = Accuracy(820, 1000)
    >>> accuracy.share, [round(bound, 4) for bound in accuracy.interval]
    (0.82, [0.795, 0.8426])
    """

    right: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.right <= self.total or self.total < 1:
            raise ArgumentError(f"expected 0 <= right <= total and total >= 1, got {self.right} of {self.total}")

    @property
    def share(self) -> float:
        """Right answers over all, in [0, 1]."""
        return self.right / self.total

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval, in [0, 1]."""
        p, n, z2 = self.share, self.total, Z95**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = Z95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(middle - half, 0.0), min(middle + half, 1.0)


def apart(accuracies: Sequence[Accuracy]) -> list[tuple[int, int]]:
    """Return the pairs (i, j) whose intervals do not overlap, the more accurate one first.

    Examples
    --------
    >>> apart([Accuracy(820, 1000), Accuracy(300, 1000), Accuracy(830, 1000)])
    [(0, 1), (2, 1)]
    """
    ordered = [
        (i, j) if accuracies[i].share >= accuracies[j].share else (j, i)
        for i, j in combinations(range(len(accuracies)), 2)
    ]
    return [(i, j) for i, j in ordered if accuracies[i].interval[0] > accuracies[j].interval[1]]

"""How many edges go: a share, a number, or a sum of saliency."""

from __future__ import annotations

from enum import Enum

import numpy as np
import numpy.typing as npt

from deepgraph.errors import ArgumentError

__all__ = ["PruningStrategy"]


class PruningStrategy(Enum):
    """What `amount` means.

    PERCENTAGE is a share of the edges in [0, 1], ABSOLUTE a number of them, and BUCKET a sum: the least salient edges
    go for as long as the scores of all that went add up to no more than `amount`.
    """

    PERCENTAGE = "percentage"
    ABSOLUTE = "absolute"
    BUCKET = "bucket"

    def count(self, amount: float, scores: npt.NDArray[np.float64]) -> int:
        """Return how many of the edges with scores (E,) go.

        Raises
        ------
        ArgumentError
            If `amount` is out of range.

        Examples
        --------
        >>> scores = np.array([0.1, 0.4, 0.2, 0.9])
        >>> PruningStrategy.PERCENTAGE.count(0.5, scores), PruningStrategy.BUCKET.count(0.35, scores)
        (2, 2)
        """
        whole = isinstance(amount, (int, np.integer)) and not isinstance(amount, bool)
        if self is PruningStrategy.PERCENTAGE:
            if not 0 <= amount <= 1:
                raise ArgumentError(f"amount: expected a share of the edges in [0, 1], got {amount!r}")
            return round(float(amount) * len(scores))
        if self is PruningStrategy.ABSOLUTE:
            if not whole or not 0 <= amount <= len(scores):
                raise ArgumentError(f"amount: expected a number of edges from 0 to {len(scores)}, got {amount!r}")
            return int(amount)
        if not amount >= 0:
            raise ArgumentError(f"amount: expected a sum of saliency >= 0, got {amount!r}")
        return int(np.searchsorted(np.cumsum(np.sort(scores)), amount, side="right"))

"""What the demo runs: sizes, budgets and learning rates, in one place."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from deepgraph.errors import ArgumentError

__all__ = ["FULL", "QUICK", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Sizes, budgets and rates of one demo; every method gets the same data, batches and epochs.

    The rates were chosen on 400 of the 2,000 training images that were held out for it, never on the test images.

    Parameters
    ----------
    hidden : tuple of int
        Widths of the FFN's hidden layers.
    density : float
        Edges over pairs of the sparse FFN, in (0, 1], shared among its layers by the Erdos-Renyi rule.
    neurons, neighbours : int
        Nodes of the small world, and neighbours of each on the ring.
    rewired : float
        Probability that an edge of the ring moves its far end, in [0, 1].
    epochs, batch : int
        Passes over the training images, and images in a batch.
    learning_rate, deepr_rate : float
        Of Adam, which trains everything but DEEPR; and of DEEPR, which is an optimizer of its own. Both fall to 0
        along half a cosine.
    drop_fraction : float
        Share of edges that RigL's first edit drops; it edits once an epoch until three quarters of the training.
    images : int or None
        Training images to use; test images: half as many. None takes all.
    nulls : int
        Random graphs of each null model in the report.
    rounds : int
        Measured rounds of the timing.

    Raises
    ------
    ArgumentError
        If `epochs` < 1.

    Examples
    --------
    >>> FULL.with_epochs(3).epochs, FULL.with_epochs(None) == FULL
    (3, True)
    """

    hidden: tuple[int, ...] = (1000, 1000, 1000)
    density: float = 0.05
    neurons: int = 5000
    neighbours: int = 8
    rewired: float = 0.3
    epochs: int = 20
    batch: int = 50
    learning_rate: float = 2e-3
    deepr_rate: float = 0.5
    drop_fraction: float = 0.3
    images: int | None = None
    nulls: int = 3
    rounds: int = 15

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ArgumentError(f"epochs must be at least 1, got {self.epochs}")

    def with_epochs(self, epochs: int | None) -> Settings:
        """Return the settings with another number of epochs; None keeps it."""
        return self if epochs is None else replace(self, epochs=epochs)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return asdict(self) | {"hidden": list(self.hidden)}


FULL = Settings()
"""About a minute on two cores."""

QUICK = Settings(hidden=(100, 100), neurons=200, neighbours=8, epochs=3, images=600, nulls=1, rounds=2)
"""A few seconds: every part of the demo runs, and no number of it means anything."""

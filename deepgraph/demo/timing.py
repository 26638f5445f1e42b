"""Times of training steps, measured side by side: every round runs each step once, in alternating order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from tqdm import tqdm

from deepgraph.errors import ArgumentError

__all__ = ["Ratio", "Timings", "interleave", "threads", "training_step"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """How many times one step takes as long as another: the median over rounds, and its quartiles.

    Parameters
    ----------
    value, low, high : float
        Median, lower and upper quartile of the ratios of single rounds.

    Examples
    --------
    >>> print(Ratio(6.5, 6.25, 7.0))
    6.50x (6.25 to 7.00)
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}x ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Timings:
    """Seconds of several steps over the same rounds.

    Parameters
    ----------
    seconds : mapping from name to (R,) array
        One value a round; row r of all steps was measured within one round.

    Examples
    --------
    >>> times = Timings({"dense": np.array([0.03, 0.05, 0.04]), "csr": np.array([0.01, 0.01, 0.01])})
    >>> times.milliseconds("dense"), times.ratio("dense", "csr").value
    (40.0, 4.0)
    """

    seconds: Mapping[str, Floats]

    def milliseconds(self, name: str) -> float:
        """Return the median time of a step in ms."""
        return float(np.median(self.seconds[name])) * 1e3

    def ratio(self, name: str, other: str) -> Ratio:
        """Return time of `name` over time of `other`, formed within each round, so that a slow moment hits both."""
        low, value, high = np.quantile(self.seconds[name] / self.seconds[other], [0.25, 0.5, 0.75])
        return Ratio(float(value), float(low), float(high))

    def to_dict(self) -> dict[str, Any]:
        """Return median and quartiles in ms by name, and the number of rounds, as plain data."""
        quartiles = {
            name: (np.quantile(times, [0.25, 0.5, 0.75]) * 1e3).tolist() for name, times in self.seconds.items()
        }
        steps = {
            name: {"median_ms": median, "lower_quartile_ms": low, "upper_quartile_ms": high}
            for name, (low, median, high) in quartiles.items()
        }
        return {"rounds": len(next(iter(self.seconds.values()), ())), "steps": steps}


def interleave(
    steps: Mapping[str, Callable[[], object]], *, rounds: int = 20, warmup: int = 3, progress: str | None = None
) -> Timings:
    """Return the times of several steps, measured in one process in turns, so that they meet the same machine.

    Parameters
    ----------
    steps : mapping from name to callable
        Called without arguments; what they return is not looked at. The same callable under two names measures what
        a ratio of 1 looks like here.
    rounds : int
        Measured rounds R >= 1. Every second round runs the steps in reverse order. Each turn runs its step twice and
        measures the second: in training a step follows one of its own and finds the caches filled by it.
    warmup : int
        Rounds before, >= 0, which compile and fill caches and are not measured.
    progress : str or None
        Text of a progress bar, shown on a terminal only; None shows none.

    Raises
    ------
    ArgumentError
        If `rounds` < 1 or `warmup` < 0.

    Examples
    --------
    >>> times = interleave({"a": lambda: sum(range(100)), "b": lambda: None}, rounds=4)
    >>> len(times.seconds["a"]), times.ratio("a", "b").value > 0
    (4, True)
    """
    if rounds < 1 or warmup < 0:
        raise ArgumentError(f"expected rounds >= 1 and warmup >= 0, got rounds={rounds} and warmup={warmup}")
    order = list(steps.items())
    seconds = {name: np.empty(rounds) for name in steps}
    for at in tqdm(
        range(-warmup, rounds), desc=progress, unit="round", leave=False, disable=None if progress else True
    ):
        for name, step in order if at % 2 == 0 else reversed(order):
            step()
            begin = perf_counter()
            step()
            if at >= 0:
                seconds[name][at] = perf_counter() - begin
    return Timings(seconds)


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Callable[[], None]:
    """Return a callable that makes one full training step: zero gradients, forward, loss, backward, optimizer.

    The loss is the cross entropy where y (B,) holds classes, and the mean square error otherwise.

    Examples
    --------
    >>> model = nn.Linear(3, 2)
    >>> step = training_step(model, torch.optim.SGD(model.parameters(), lr=0.1), torch.ones(4, 3), torch.ones(4, 2))
    >>> before = model.weight.detach().clone()
    >>> step()
    >>> torch.equal(model.weight, before)
    False
    """
    loss = nn.functional.mse_loss if y.is_floating_point() else nn.functional.cross_entropy

    def step() -> None:
        optimizer.zero_grad()
        loss(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Give torch, and the kernels that follow it, `count` threads for the duration of a with block.

    Raises
    ------
    ArgumentError
        If `count` < 1.

    Examples
    --------
    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    """
    if count < 1:
        raise ArgumentError(f"expected at least 1 thread, got {count}")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

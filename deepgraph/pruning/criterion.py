"""`Criterion`: what scores edges; and the data that some criteria look at."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError
from deepgraph.sparse.values import EdgeValues

__all__ = ["Criterion", "Sample", "working_copy"]

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What a criterion may look at besides the weights.

    Parameters
    ----------
    generator : np.random.Generator
        For what is random.
    data : (x, y), iterable of (x, y), or None
        One batch or several.
    loss : callable
        (outputs, y) -> scalar.
    """

    generator: np.random.Generator
    data: Any = None
    loss: Callable[[Any, Any], Tensor] = torch.nn.functional.cross_entropy

    def batches(self, name: str) -> Iterable[tuple[Any, Any]]:
        """Return the batches; ArgumentError says that the criterion `name` needs some."""
        if self.data is None:
            raise ArgumentError(
                f"data: expected a batch (x, y) or batches, which criterion {name!r} needs, got None; pass data=(x, y)"
            )
        single = isinstance(self.data, (tuple, list)) and len(self.data) == 2 and isinstance(self.data[0], Tensor)
        found: Iterable[tuple[Any, Any]] = [self.data] if single else self.data
        return found


class Criterion(ABC):
    """Scores the edges of a model: those with the lowest scores are pruned first."""

    rounds = 1
    """Rounds that `prune` makes by default."""

    @abstractmethod
    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return the scores (E,) of each edge set, in canonical order.

        Parameters
        ----------
        model : nn.Module
        values : list of EdgeValues
            All edge sets of the model.
        sample : Sample
        """

    def settle(self, values: EdgeValues, rows: npt.NDArray[np.int64]) -> None:  # noqa: B027 - an optional hook
        """Prepare an edge set for the loss of the edges `rows` (K,), just before they go; here nothing."""

    def graph_scores(self, weight: Scores, sample: Sample) -> Scores:
        """Return the scores (E,) of the edges of a graph, by their weights (E,); ArgumentError if they need a model."""
        raise ArgumentError(
            f"criterion: expected one that knows weights alone for a graph, got {type(self).__name__}, which needs a "
            "model; prune the model, or use 'magnitude' or 'random'"
        )


@contextmanager
def working_copy(model: nn.Module, sample: Sample) -> Iterator[nn.Module]:
    """Yield a copy of a model to run backwards on: gradients, buffers and random state stay as they are."""
    twin = copy.deepcopy(model)
    twin.zero_grad()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
        torch.manual_seed(int(sample.generator.integers(2**62)))
        yield twin

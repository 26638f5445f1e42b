"""`Criterion`: what scores edges; and the data that some criteria look at."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError, DtypeError, ShapeError
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["Criterion", "Sample", "edge_gradient", "working_copy"]

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

    def batches(self, name: str) -> Iterator[tuple[Any, Any]]:
        """Return the batches; ArgumentError says that the criterion `name` needs some, ShapeError that one is no pair.

        Examples
        --------
        >>> sample = Sample(np.random.default_rng(0), (torch.zeros(3, 2), None))
        >>> [tuple(x.shape) for x, _ in sample.batches("synflow")]
        [(3, 2)]
        """
        if self.data is None:
            raise ArgumentError(
                f"data: expected a batch (x, y) or batches, which criterion {name!r} needs, got None; pass data=(x, y)"
            )
        single = isinstance(self.data, (tuple, list)) and len(self.data) == 2 and isinstance(self.data[0], Tensor)
        return map(_pair, [self.data] if single else self.data)


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


def _pair(batch: Any) -> tuple[Any, Any]:
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    raise ShapeError(
        f"data: expected a batch (x, y) of tensors or batches (x, y), got {type(batch).__name__} in place of a pair"
    )


def edge_gradient(values: EdgeValues) -> Tensor:
    """Return the gradient (E,) of the edges of a set: 0 where the loss does not depend on them."""
    return torch.zeros_like(values.values()) if values.parameter.grad is None else values.gradient()


@contextmanager
def working_copy(model: nn.Module, sample: Sample) -> Iterator[nn.Module]:
    """Yield a copy of a model to run backwards on, frozen or not: gradients, buffers and random state stay as they are.

    Raises
    ------
    DtypeError
        If the loss is no function.
    """
    if not callable(sample.loss):
        raise DtypeError(f"loss: expected a function of (outputs, y), got {sample.loss!r}")
    twin = copy.deepcopy(model)
    twin.zero_grad()
    for values in edge_values(twin):
        values.parameter.requires_grad_()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
        torch.manual_seed(int(sample.generator.integers(2**62)))
        yield twin

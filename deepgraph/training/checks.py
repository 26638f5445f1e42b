"""Checks of what `fit` is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType
from typing import Any

from deepgraph.errors import DtypeError, ShapeError
from deepgraph.training.callbacks import Callback
from deepgraph.training.history import History

__all__ = ["check_kinds", "pair_of"]


def check_kinds(loss: Any, metrics: Any, callbacks: Any, scheduler: Any, history: Any) -> None:
    """Raise DtypeError where an argument of `fit` is of another kind than expected."""
    if not callable(loss):
        raise DtypeError(f"loss: expected a function of (outputs, y), got {loss!r}")
    if metrics is not None and not (isinstance(metrics, Mapping) and all(map(callable, metrics.values()))):
        raise DtypeError(f"metrics: expected functions of (outputs, y) by name, got {metrics!r}")
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) or callable(c) for c in callbacks):
        raise DtypeError(f"callbacks: expected a list of Callbacks or of functions of the run, got {callbacks!r}")
    if scheduler is not None and not callable(getattr(scheduler, "step", None)):
        raise DtypeError(f"scheduler: expected a learning rate scheduler with step(), got {scheduler!r}")
    if not isinstance(history, (History, NoneType)):
        raise DtypeError(f"history: expected a History of deepgraph.training, got {type(history).__name__}")


def pair_of(batch: Any) -> tuple[Any, Any]:
    """Return a batch as (x, y).

    Raises
    ------
    ShapeError
        If it is something else.

    Examples
    --------
    >>> import torch
    >>> pair_of([torch.zeros(2), torch.ones(2)])[1].tolist()
    [1.0, 1.0]
    """
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    shown = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, (tuple, list)) else type(batch).__name__
    raise ShapeError(
        f"data: expected batches (x, y), got a {shown}; arrays become tensors by torch.as_tensor, and more inputs than "
        "one are a tuple x"
    )

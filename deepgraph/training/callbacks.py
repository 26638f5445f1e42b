"""`Callback`: what can be done between the epochs of `fit`; `EarlyStopping`."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.training.history import History

__all__ = ["Callback", "EarlyStopping", "Run"]


@dataclass
class Run:
    """A training while it runs; callbacks read it, and set `stop`.

    Attributes
    ----------
    model, optimizer
        What is trained, and by what.
    history : History
        The rows so far.
    epoch, step : int
        Finished epochs, and optimizer steps.
    stop : bool
        Set it to end the training after this epoch.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    history: History = field(default_factory=History)
    epoch: int = 0
    step: int = 0
    stop: bool = False


class Callback:
    """Empty hooks; a subclass overrides those that it needs.

    Examples
    --------
    >>> class Printer(Callback):
    ...     def on_epoch(self, run):
    ...         print(run.epoch, sorted(run.history.last))
    """

    def on_start(self, run: Run) -> None:
        """Before the first epoch."""

    def on_step(self, run: Run) -> None:
        """After every step of the optimizer."""

    def on_epoch(self, run: Run) -> None:
        """After every epoch, when its row is in the history."""

    def on_end(self, run: Run) -> None:
        """After the training, however it ended."""


class EarlyStopping(Callback):
    """Stops when a column of the history did not get better for some epochs.

    Parameters
    ----------
    monitor : str
        Column of the history.
    patience : int
        Epochs without progress that are allowed, >= 0.
    min_delta : float
        What counts as progress, >= 0.
    mode : {"auto", "min", "max"}
        "auto": "max" for columns named accuracy, "min" for others.
    restore : bool
        Give the model the state of its best epoch at the end, edges included.

    Raises
    ------
    ArgumentError
        If an argument is not valid; from `fit` if the column is not recorded.

    Examples
    --------
    >>> EarlyStopping("val_accuracy", patience=3).mode
    'max'
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0, mode: str = "auto",
        restore: bool = False,
    ) -> None:  # fmt: skip
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f"mode: expected 'auto', 'min' or 'max', got {mode!r}")
        if patience < 0 or not min_delta >= 0:
            raise ArgumentError(f"expected patience and min_delta >= 0, got {patience!r} and {min_delta!r}")
        self.monitor, self.patience, self.min_delta, self.restore = monitor, patience, min_delta, restore
        self.mode = ("max" if "accuracy" in monitor else "min") if mode == "auto" else mode
        self.on_start(None)

    def on_start(self, run: Any) -> None:
        """Forget what was best."""
        self.best, self.best_epoch = math.inf, 0
        self._state: dict[str, Any] | None = None

    def on_epoch(self, run: Run) -> None:
        """Compare the newest value with the best so far."""
        if self.monitor not in run.history.last:
            raise ArgumentError(
                f"monitor: expected one of {run.history.columns}, got {self.monitor!r}; val_ columns need validation="
            )
        value = float(run.history.last[self.monitor]) * (1 if self.mode == "min" else -1)
        if value < self.best - self.min_delta:
            self.best, self.best_epoch = value, run.epoch
            if self.restore:
                self._state = copy.deepcopy(run.model.state_dict())
        elif run.epoch - self.best_epoch > self.patience:
            run.stop = True

    def on_end(self, run: Run) -> None:
        """Restore the best state where that was asked for."""
        if self._state is not None:
            run.model.load_state_dict(self._state)

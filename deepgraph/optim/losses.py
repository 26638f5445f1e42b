"""Losses with their gradients, by the same operators that torch's autograd runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from deepgraph.errors import ArgumentError
from deepgraph.kernels.products import single_thread

__all__ = ["LOSSES", "Loss", "cross_entropy", "mse", "named_loss"]

Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(outputs (B, O), targets) -> (mean loss (), its gradient (B, O))."""

_IGNORED = -100
_SMALL = 1 << 15


def _threads_for(y: Tensor) -> AbstractContextManager[None]:
    """Return a block in which a small loss runs on one thread.

    torch wakes its threads for a softmax over a thousand numbers, and they then spin for milliseconds on the cores
    that the kernels want next.
    """
    return single_thread() if y.numel() < _SMALL else nullcontext()


def cross_entropy(y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean cross entropy of logits and its gradient, as `torch.nn.functional.cross_entropy`.

    Parameters
    ----------
    y : (B, C) Tensor
        Logits.
    target : (B,) int64 Tensor
        Classes in [0, C); -100 leaves a sample out.

    Raises
    ------
    ArgumentError
        If the target is not (B,) of int64.
    IndexError
        torch's, for a class out of range.

    Examples
    --------
    >>> loss, gradient = cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
    >>> round(loss.item(), 4), gradient
    (0.6931, tensor([[ 0.5000, -0.5000]]))
    """
    if target.dtype != torch.int64 or target.shape != y.shape[:1]:
        raise ArgumentError(
            f"cross_entropy: expected classes ({y.shape[0]},) of int64, got {tuple(target.shape)} of {target.dtype}; "
            "for class probabilities use the ordinary training loop"
        )
    with _threads_for(y):
        logs = torch.ops.aten._log_softmax.default(y, 1, False)
        loss, weight = torch.ops.aten.nll_loss_forward.default(logs, target, None, 1, _IGNORED)
        gradient = torch.ops.aten.nll_loss_backward.default(y.new_ones(()), logs, target, None, 1, _IGNORED, weight)
        return loss, torch.ops.aten._log_softmax_backward_data.default(gradient, logs, 1, y.dtype)


def mse(y: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared error and its gradient, as `torch.nn.functional.mse_loss`.

    Parameters
    ----------
    y : (B, O) Tensor
    target : Tensor
        Of the shape and dtype of y, or of a shape (B, ...) that flattens to it.

    Raises
    ------
    ArgumentError
        If the target does not fit.

    Examples
    --------
    >>> mse(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    (tensor(2.), tensor([[2., 0.]]))
    """
    if target.dtype != y.dtype or target.shape[:1] != y.shape[:1] or target.numel() != y.numel():
        raise ArgumentError(
            f"mse: expected a target of shape {tuple(y.shape)} and dtype {y.dtype}, got {tuple(target.shape)} and "
            f"{target.dtype}"
        )
    target = target.reshape(y.shape)
    with _threads_for(y):
        loss: Tensor = torch.ops.aten.mse_loss.default(y, target, 1)
        return loss, torch.ops.aten.mse_loss_backward.default(y.new_ones(()), y, target, 1)


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "mse": mse}


def named_loss(name: str) -> Loss:
    """Return a loss by its name; ArgumentError lists those that there are.

    Examples
    --------
    >>> named_loss("mse") is mse
    True
    """
    found = LOSSES.get(name) if isinstance(name, str) else None
    if found is None:
        raise ArgumentError(
            f"loss: expected one of {', '.join(LOSSES)}, got {name!r}; for another loss use the ordinary training loop"
        )
    return found

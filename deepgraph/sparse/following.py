"""What may follow the edits of edge values, and what an edit makes void of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from deepgraph.errors import DtypeError

__all__ = ["checked_optimizer", "forget_joint_memory"]


def checked_optimizer(optimizer: Any) -> Any:
    """Return an optimizer; DtypeError for anything else.

    Examples
    --------
    >>> sgd = torch.optim.SGD([torch.zeros(2)], lr=0.1)
    >>> checked_optimizer(sgd) is sgd
    True
    """
    if isinstance(optimizer, torch.optim.Optimizer):
        return optimizer
    shown = optimizer.__name__ if isinstance(optimizer, type) else type(optimizer).__name__
    raise DtypeError(
        "optimizer: expected a torch.optim.Optimizer such as torch.optim.SGD(model.parameters(), lr=0.1), "
        f"got {'the class ' if isinstance(optimizer, type) else ''}{shown}"
    )


def forget_joint_memory(optimizers: Sequence[Any]) -> None:
    """Let LBFGS start anew: its memory is of steps of all weights at once, in which edges have no rows of their own.

    Examples
    --------
    >>> p = torch.ones(2, requires_grad=True)
    >>> lbfgs = torch.optim.LBFGS([p])
    >>> def closure():
    ...     lbfgs.zero_grad()
    ...     loss = p.square().sum()
    ...     loss.backward()
    ...     return loss
    >>> loss = lbfgs.step(closure)
    >>> before = len(lbfgs.state)
    >>> forget_joint_memory([lbfgs])
    >>> before, len(lbfgs.state)
    (1, 0)
    """
    for optimizer in optimizers:
        if isinstance(optimizer, torch.optim.LBFGS):
            optimizer.state.clear()
            # The number of weights that it sums up over parameters may be another now.
            optimizer._numel_cache = None

"""`train_step`: one step of training without autograd, for models that are chains of graph operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deepgraph.errors import DtypeError, UnsupportedOperationError
from deepgraph.optim.losses import named_loss
from deepgraph.sparse.engine import Engine
from deepgraph.sparse.module import GraphModule

__all__ = ["TrainStep", "train_step"]

_AUTOGRAD: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": nn.functional.cross_entropy,
    "mse": lambda y, target: nn.functional.mse_loss(y, target.reshape(y.shape)),
}


class TrainStep:
    """A callable (x, y) -> loss that runs forward, loss, backward and the optimizer's step; see `train_step`."""

    def __init__(self, model: GraphModule, loss: str, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self._loss = named_loss(loss)
        _check(model)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss () of a batch, before the step that it takes."""
        engines: list[Engine] = list(self.model._engines.values())
        if any(engine.armed for engine in engines):
            return self._by_autograd(x, y)
        with torch.no_grad():
            loss = self._gradients(engines, self.model._input(x, engines[0].width, "x"), y)
        self.optimizer.step()
        return loss

    def _gradients(self, engines: list[Engine], x: Tensor, target: Tensor) -> Tensor:
        """Put the gradients of all parameters where autograd puts them, and return the loss."""
        engines[0].check(x)
        passes = []
        for engine in engines:
            kernel = engine.program().kernel
            weights = [layer.weight.detach() for layer, _, _ in engine.parts]
            x, saved = kernel.forward(x, weights, engine.bias(weights[0]).detach())
            passes.append((engine, kernel, weights, saved))
        loss, dy = self._loss(x, target)
        for number, (engine, kernel, weights, saved) in reversed(list(enumerate(passes))):
            dx, dweights, dbias, _ = kernel.backward(dy, saved, weights, number > 0, False)
            engine.accept(dweights, dbias)
            dy = dy if dx is None else dx
        return loss

    def _by_autograd(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = _AUTOGRAD[self.loss](self.model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return loss.detach()

    def __repr__(self) -> str:
        return f"TrainStep({type(self.model).__name__}, {self.loss!r}, {type(self.optimizer).__name__})"


def _check(model: Any) -> None:
    if not isinstance(model, GraphModule):
        raise DtypeError(
            f"train_step: expected a MaskedDeepFFN, MaskedDeepDAN or SparseLinear, got {type(model).__name__}; "
            "train other modules with the ordinary loop"
        )
    if not all(type(engine) is Engine for engine in model._engines.values()) or len(getattr(model, "norms", ())):
        raise UnsupportedOperationError(
            "train_step: expected a model without layer norm, got one with it; train it with the ordinary loop"
        )


def train_step(model: GraphModule, loss: str, optimizer: torch.optim.Optimizer) -> TrainStep:
    """Return a callable (x, y) -> loss that takes one training step without autograd.

    It does what `optimizer.zero_grad(); loss(model(x), y).backward(); optimizer.step()` does, with the same results
    and less around them. Edits between steps are followed. A step for which a rewirer captures gradients of absent
    edges runs through autograd, with the same results. Hooks of modules and tensors do not run.

    Parameters
    ----------
    model : MaskedDeepFFN, MaskedDeepDAN or SparseLinear
        Without layer norm.
    loss : {"cross_entropy", "mse"}
        Mean over the batch. "cross_entropy" takes classes (B,) of int64.
    optimizer : torch.optim.Optimizer
        Of the model's parameters: torch's, one of `SGD`, `Adam` and `AdamW` of this package, or a rewirer.

    Returns
    -------
    TrainStep
        Its result is the loss () before the step, apart from autograd.

    Raises
    ------
    DtypeError
        If the model is none of ours.
    ArgumentError
        If the loss is unknown.
    UnsupportedOperationError
        If the model has layer norms.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(4, 2, [8], density=0.5, seed=0)
    >>> step = train_step(model, "cross_entropy", torch.optim.SGD(model.parameters(), lr=0.5))
    >>> x, y = torch.eye(4), torch.tensor([0, 1, 0, 1])
    >>> losses = [step(x, y).item() for _ in range(200)]
    >>> losses[-1] < 0.01 < losses[0]
    True
    """
    return TrainStep(model, loss, optimizer)

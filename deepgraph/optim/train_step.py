"""`train_step`: one step of training, without autograd for models that are chains of graph operators."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepgraph.errors import DtypeError
from deepgraph.optim.losses import named_loss
from deepgraph.sparse.engine import Engine
from deepgraph.sparse.module import GraphModule

__all__ = ["TrainStep", "train_step"]


class TrainStep:
    """A callable (x, y) -> loss that runs forward, loss, backward and the optimizer's step; see `train_step`."""

    def __init__(self, model: nn.Module, loss: str, optimizer: torch.optim.Optimizer) -> None:
        if not isinstance(model, nn.Module):
            raise DtypeError(f"train_step: expected a module, got {type(model).__name__}; pass the model, not a call")
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self._loss = named_loss(loss)

    @property
    def uses_autograd(self) -> bool:
        """Whether the next step runs through autograd: the model is no chain of graph operators, or one is armed."""
        return self._chain() is None

    def _chain(self) -> list[Engine] | None:
        """Return the engines that a step can run one after another, None where it takes autograd."""
        if not isinstance(self.model, GraphModule) or len(getattr(self.model, "norms", ())):
            return None
        engines = list(self.model._engines.values())
        return engines if all(type(engine) is Engine and not engine.armed for engine in engines) else None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss () of a batch, before the step that it takes."""
        engines = self._chain()
        if engines is None:
            return self._by_autograd(x, y)
        with torch.no_grad():
            loss = self._gradients(engines, GraphModule._input(x, engines[0].width, "x"), y)
        self.optimizer.step()
        return loss

    def _gradients(self, engines: list[Engine], x: Tensor, target: Tensor) -> Tensor:
        """Put the gradients of all parameters where autograd puts them, and return the loss."""
        engines[0].check(x)
        passes = []
        for engine in engines:
            kernel = engine.program().kernel
            weights = [layer.weight.detach() for layer, _, _ in engine.parts]
            bias = engine.bias(weights[0]).detach()
            x, saved = kernel.forward(x, weights, bias)
            passes.append((engine, kernel, weights, bias, saved))
        loss, dy = self._loss(x, target)
        for number, (engine, kernel, weights, bias, saved) in reversed(list(enumerate(passes))):
            dx, dweights, dbias, _ = kernel.backward(dy, saved, weights, number > 0, bias, False)
            engine.accept(dweights, dbias)
            dy = dy if dx is None else dx
        return loss

    def _by_autograd(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        result = self.model(x)
        with torch.no_grad():
            loss, gradient = self._loss(result.detach(), y)
        result.backward(gradient)
        self.optimizer.step()
        return loss

    def __repr__(self) -> str:
        return f"TrainStep({type(self.model).__name__}, {self.loss!r}, {type(self.optimizer).__name__})"


def train_step(model: nn.Module, loss: str, optimizer: torch.optim.Optimizer) -> TrainStep:
    """Return a callable (x, y) -> loss that takes one training step, without autograd where the model allows it.

    It does what `optimizer.zero_grad(); loss(model(x), y).backward(); optimizer.step()` does, with the same results
    and less around them. Edits between steps are followed.

    Parameters
    ----------
    model : nn.Module
        A MaskedDeepFFN, MaskedDeepDAN or SparseLinear without layer norm runs without autograd; hooks of modules and
        tensors do not run then. Others (convolutions, cells, layer norm, any module with sparse layers in it) and steps
        for which a rewirer captures gradients of absent edges run through autograd; `uses_autograd` tells.
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
        If the model is no module.
    ArgumentError
        If the loss is unknown.

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

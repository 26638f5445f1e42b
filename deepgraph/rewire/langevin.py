"""`Langevin`: the walk of DEEPR's parameters, before edges are dropped and grown."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepgraph.rewire.arguments import at_least_zero
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["AUTHORS_NOISE", "Langevin"]

AUTHORS_NOISE = 1e-5
"""The authors' code adds noise of standard deviation lr * 1e-5, whatever the temperature of the paper."""


class Langevin(torch.optim.Optimizer):
    """Moves |w| of every edge by noisy gradient descent with an L1 pull, and other parameters by plain SGD.

    Parameters
    ----------
    model : nn.Module
    walkers : sequence of EdgeValues
        Edge sets whose weights walk; the other parameters of the model are stepped by SGD.
    lr : float
        Learning rate, >= 0.
    l1 : float
        Pull towards 0 per unit of lr, >= 0.
    temperature : float or None
        T of the noise sqrt(2 lr T), >= 0; None takes the authors' standard deviation lr * 1e-5.
    generator : torch.Generator
        Where noise comes from: drawn for the edges in canonical order, whatever the storage.

    Attributes
    ----------
    theta : list of (E,) Tensor
        For each of `walkers`, theta after the last step; an edge is active where it is > 0.

    Raises
    ------
    ArgumentError
        If lr, l1 or temperature is no finite number >= 0.

    Examples
    --------
    See `DEEPR`.
    """

    def __init__(
        self,
        model: nn.Module,
        walkers: Sequence[EdgeValues],
        *,
        lr: float,
        l1: float,
        temperature: float | None,
        generator: torch.Generator,
    ) -> None:
        for name, value in (("lr", lr), ("l1", l1), ("temperature", 0.0 if temperature is None else temperature)):
            at_least_zero(name, value)
        self.walkers, self.generator = list(walkers), generator
        self.theta: list[Tensor] = []
        edges = {id(one.parameter): one.parameter for one in walkers}
        # Several edge sets may share a parameter, and those that are dense do not walk.
        self.resting = [one for one in edge_values(model) if id(one.parameter) in edges and not _among(one, walkers)]
        parameters = list(model.parameters())
        groups: list[dict[str, Any]] = [
            {"params": list(edges.values()), "l1": l1, "temperature": temperature, "edges": True},
            {"params": [parameter for parameter in parameters if id(parameter) not in edges], "edges": False},
        ]
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "edges": False})

    def __getstate__(self) -> dict[str, Any]:
        # The base class would keep groups and state only.
        return {name: entry for name, entry in self.__dict__.items() if not name.endswith("_hooks")}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters that have a gradient, and return the closure's loss where one is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["edges"]:
                self.theta = [self._walked(one, group) for one in self.walkers]
                for one in self.resting:
                    if one.parameter.grad is not None:
                        one.set_values(one.values() - float(group["lr"]) * one.gradient())
                continue
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.add_(parameter.grad, alpha=-group["lr"])
        return loss

    def _walked(self, values: EdgeValues, group: dict[str, Any]) -> Tensor:
        """Write the new weights of the active edges and return theta (E,)."""
        weight = values.values()
        sign, theta = weight.sign(), weight.abs()
        if values.parameter.grad is None:
            return theta
        lr, l1 = float(group["lr"]), float(group["l1"])
        theta = theta - lr * values.gradient() * sign - lr * l1
        temperature = group["temperature"]
        noise = lr * AUTHORS_NOISE if temperature is None else math.sqrt(2 * lr * temperature)
        if noise > 0:
            drawn = self.normal(values, weight.shape, weight.dtype)
            theta = theta + noise * drawn.to(weight.device)
        values.set_values(sign * theta.clamp_min(0))
        return theta

    def normal(self, values: EdgeValues, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return standard normal numbers: (E,) for the edges of a set in canonical order, or (R, C) for all pairs."""
        return torch.randn(shape, generator=self.generator, dtype=dtype)


def _among(values: EdgeValues, others: Sequence[EdgeValues]) -> bool:
    return any(values is other for other in others)

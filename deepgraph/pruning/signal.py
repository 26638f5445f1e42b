"""GraSP: what a weight does for the flow of gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError
from deepgraph.pruning.criterion import Criterion, Sample, Scores, edge_gradient, working_copy
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["GraSP"]


class GraSP(Criterion):
    """w (H g): what the squared norm of the gradient loses, to first order and by a factor 2, if the edge goes.

    The edges of the lowest *signed* scores go: those without which gradients flow best.

    Parameters
    ----------
    temperature : float
        The outputs are divided by it before the loss, > 0.
    step : float
        Of the difference by which H g is found, relative to the size of the weights, > 0.

    Raises
    ------
    ArgumentError
        If an argument is not > 0; from `scores` if there is no data.

    Notes
    -----
    Wang, Zhang and Grosse 2020 [1]_, equation 8 and algorithm 1, at initialisation and with scope "global": S(-w) =
    -w (H g) is the gain of a removal, and the highest gains are removed. g and H are those of all edges' weights, of
    the loss summed over the batches. H g is a central difference of gradients in float64, exact up to the square of
    the step, because the operators of the modules here have no second derivatives.

    Differs from the paper: the difference, and that no batch is put together from a number of samples of each class:
    give one in `data`.

    References
    ----------
    .. [1] Wang, Zhang, Grosse: Picking winning tickets before training by preserving gradient flow, ICLR 2020,
       arXiv 2002.07376.

    Examples
    --------
    With the loss (w1 + 2 w2)^2 the gradient is 2 s (1, 2) and H g is 20 s (1, 2), with s = w1 + 2 w2.

    >>> import numpy as np, deepgraph as dg
    >>> model = dg.SparseLinear(2, 1, bias=False, seed=0, dtype=torch.float64)
    >>> model.layer.edges.set_values(torch.tensor([3.0, -1.0], dtype=torch.float64))
    >>> data = torch.tensor([[1.0, 2.0]], dtype=torch.float64), None
    >>> sample = Sample(np.random.default_rng(0), data, lambda out, _: out.square().sum())
    >>> GraSP(temperature=1.0).scores(model, edge_values(model), sample)[0].round(6).tolist()
    [60.0, -40.0]
    """

    def __init__(self, temperature: float = 200.0, step: float = 1e-5) -> None:
        for name, value in (("temperature", temperature), ("step", step)):
            if not 0 < value < math.inf:
                raise ArgumentError(f"{name}: expected a number > 0, got {value!r}")
        self.temperature, self.step = float(temperature), float(step)

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return w (H g), (E,), of each edge set."""
        batches = list(sample.batches("grasp"))
        if not batches:
            raise ArgumentError("data: expected at least one batch (x, y) for criterion 'grasp', got none")
        seed = int(sample.generator.integers(2**62))
        with working_copy(model, sample) as twin:
            twin.double()
            held = edge_values(twin)
            weights = [one.values().clone() for one in held]
            gradients = self._gradients(twin, held, batches, sample, seed)
            size = math.sqrt(sum(float(g.square().sum()) for g in gradients))
            length = math.sqrt(sum(float(w.square().sum()) for w in weights)) or 1.0
            if size == 0:
                return [torch.zeros_like(weight).cpu().numpy() for weight in weights]
            step = self.step * length / size
            sides = []
            for sign in (1, -1):
                for one, weight, gradient in zip(held, weights, gradients, strict=True):
                    one.set_values(weight + sign * step * gradient)
                sides.append(self._gradients(twin, held, batches, sample, seed))
            return [
                (weight * (up - down) / (2 * step)).cpu().numpy()
                for weight, up, down in zip(weights, *sides, strict=True)
            ]

    def _gradients(
        self, twin: nn.Module, values: Sequence[EdgeValues], batches: Sequence[Any], sample: Sample, seed: int
    ) -> list[Tensor]:
        """Return the gradients (E,) of each edge set, summed over the batches; what is drawn is the same every time."""
        twin.zero_grad()
        torch.manual_seed(seed)
        for x, y in batches:
            double = x.double() if isinstance(x, Tensor) and x.is_floating_point() else x
            target = y.double() if isinstance(y, Tensor) and y.is_floating_point() else y
            sample.loss(twin(double) / self.temperature, target).backward()  # type: ignore[no-untyped-call]
        return [edge_gradient(one).clone() for one in values]

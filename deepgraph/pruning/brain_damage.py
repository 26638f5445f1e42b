"""Optimal brain damage: what the loss would grow by, from the diagonal of its Hessian."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError
from deepgraph.pruning.criterion import Criterion, Sample, Scores, edge_gradient, working_copy
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["OBD", "hessian_diagonals"]

EXACT = 2000
"""Edges up to which every entry of the diagonal is computed by itself."""
PROBES = 64
STEP = 1e-4
"""Half of the distance between two gradients; in float64 its error is that of rounding, about 1e-11."""


class OBD(Criterion):
    """h w^2 / 2, where h is the edge's entry on the diagonal of the Hessian of the loss, averaged over batches.

    Parameters
    ----------
    probes : int, optional
        Random vectors for an estimate of the diagonal, >= 1. None: every entry exactly, by itself, where there are at
        most 2,000 edges, and 64 random vectors where there are more.

    Raises
    ------
    ArgumentError
        If `probes` is no number >= 1; from `scores` if there is no data.

    Notes
    -----
    LeCun, Denker and Solla 1990 [1]_, equation 3. Products of the Hessian with a vector v are differences of gradients
    at w + eps v and w - eps v in float64, so that no model needs second derivatives; random v of +-1 give the diagonal
    as the mean of v * (H v) (Hutchinson).

    Differs from the paper: the diagonal of the Hessian itself, not of its Gauss-Newton part, so it may be negative:
    such edges go first, as the loss falls without them.

    References
    ----------
    .. [1] LeCun, Denker, Solla: Optimal brain damage, NeurIPS 1989.

    Examples
    --------
    >>> import numpy as np, deepgraph as dg
    >>> model = dg.SparseLinear(2, 1, bias=False, seed=0, dtype=torch.float64)
    >>> x, y = torch.tensor([[1.0, 3.0]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    >>> sample = Sample(np.random.default_rng(0), (x, y), torch.nn.functional.mse_loss)
    >>> (found,) = OBD().scores(model, edge_values(model), sample)
    >>> weight = model.edge_sets[0].weight
    >>> bool(np.allclose(found, [1.0, 9.0] * weight**2))
    True
    """

    def __init__(self, probes: int | None = None) -> None:
        if probes is not None and (isinstance(probes, bool) or not isinstance(probes, int) or probes < 1):
            raise ArgumentError(f"probes: expected an integer >= 1 or None, got {probes!r}")
        self.probes = probes

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return h w^2 / 2 (E,) for each edge set."""
        diagonals = hessian_diagonals(model, sample, self.probes)
        weights = [one.values().double().cpu().numpy() for one in values]
        return [h * w**2 / 2 for h, w in zip(diagonals, weights, strict=True)]


def hessian_diagonals(model: nn.Module, sample: Sample, probes: int | None = None) -> list[Scores]:
    """Return the diagonal of the Hessian of the loss for the edges of each set, (E,) each; see `OBD`.

    Parameters
    ----------
    model : nn.Module
        Unchanged; a copy of it in float64 is run.
    sample : Sample
        Data and loss. The mean over batches counts.
    probes : int, optional
        As for `OBD`.

    Raises
    ------
    ArgumentError
        If there is no data.
    """
    with working_copy(model, sample) as twin:
        values = edge_values(twin.double())
        start = [one.values() for one in values]
        counts = [len(part) for part in start]
        gradient = _gradient_at(twin, values, counts, sample)
        flat = torch.cat(start)

        def change(direction: Tensor) -> Tensor:
            return (gradient(flat + STEP * direction) - gradient(flat - STEP * direction)) / (2 * STEP)

        total = torch.zeros_like(flat)
        if probes is None and len(flat) <= EXACT:
            for edge in range(len(flat)):
                direction = torch.zeros_like(flat)
                direction[edge] = 1
                total[edge] = change(direction)[edge]
        else:
            number = probes or PROBES
            for _ in range(number):
                signs = torch.from_numpy(sample.generator.choice([-1.0, 1.0], len(flat))).to(flat)
                total += signs * change(signs) / number
        return [part.cpu().numpy() for part in torch.split(total, counts)]


def _gradient_at(
    twin: nn.Module, values: list[EdgeValues], counts: list[int], sample: Sample
) -> Callable[[Tensor], Tensor]:
    """Return a function from all weights to the mean gradient over batches, both as one vector."""
    batches = [(_doubled(x), _doubled(y)) for x, y in sample.batches("obd")]
    if not batches:
        raise ArgumentError("data: expected at least one batch (x, y) for criterion 'obd', got none")

    def gradient(flat: Tensor) -> Tensor:
        twin.zero_grad()
        for one, part in zip(values, torch.split(flat, counts), strict=True):
            one.set_values(part)
        for x, y in batches:
            (sample.loss(twin(x), y) / len(batches)).backward()  # type: ignore[no-untyped-call]
        return torch.cat([edge_gradient(one) for one in values])

    return gradient


def _doubled(side: Tensor) -> Tensor:
    return side.double() if isinstance(side, Tensor) and side.is_floating_point() else side

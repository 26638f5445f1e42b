"""Sensitivity of the loss: SNIP and Taylor, by weight times gradient."""

from __future__ import annotations

import numpy as np
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.pruning.criterion import Criterion, Sample, Scores, edge_gradient, working_copy
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["SNIP", "Taylor"]


def _products(model: nn.Module, sample: Sample, name: str) -> list[list[Scores]]:
    """Return w dL/dw (E,) of each edge set, for each batch."""
    found = []
    with working_copy(model, sample) as twin:
        values = edge_values(twin)
        for x, y in sample.batches(name):
            twin.zero_grad()
            sample.loss(twin(x), y).backward()  # type: ignore[no-untyped-call]
            found.append([(edge_gradient(one) * one.values()).double().cpu().numpy() for one in values])
    if not found:
        raise ArgumentError(f"data: expected at least one batch (x, y) for criterion {name!r}, got none")
    return found


class SNIP(Criterion):
    """|w dL/dw|: what the loss would change by if the edge went, with the gradient summed over batches.

    Notes
    -----
    Lee, Ajanthan and Torr 2019 [1]_, equation 5; scope "global" at initialisation, on one batch or on several.

    Differs from the paper: scores are not divided by their sum, which changes no order.

    References
    ----------
    .. [1] Lee, Ajanthan, Torr: SNIP: single-shot network pruning based on connection sensitivity, ICLR 2019,
       arXiv 1810.02340.

    Examples
    --------
    >>> import torch, deepgraph as dg
    >>> model = dg.SparseLinear(2, 1, bias=False, seed=0)
    >>> sample = Sample(np.random.default_rng(0), (torch.tensor([[1.0, 0.0]]), None), lambda out, _: out.sum())
    >>> (found,) = SNIP().scores(model, edge_values(model), sample)
    >>> bool(found[0] == abs(model.edge_sets[0].weight[0])), float(found[1])
    (True, 0.0)
    """

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return |w| times the size of the summed gradient, (E,), for each edge set."""
        return [np.abs(np.sum(one, axis=0)) for one in zip(*_products(model, sample, "snip"), strict=True)]


class Taylor(Criterion):
    """(w dL/dw)^2, summed over batches: the first-order importance of a weight of a trained network.

    Notes
    -----
    Molchanov et al. 2019 [1]_, equation 8. With one batch the order is that of SNIP.

    Differs from the paper: single edges are scored, not groups of them.

    References
    ----------
    .. [1] Molchanov, Mallya, Tyree, Frosio, Kautz: Importance estimation for neural network pruning, CVPR 2019,
       arXiv 1906.10771.

    Examples
    --------
    >>> import torch, deepgraph as dg
    >>> model = dg.SparseLinear(1, 1, bias=False, seed=0)
    >>> batches = [(torch.ones(1, 1), 1.0), (torch.ones(1, 1), -1.0)]
    >>> sample = Sample(np.random.default_rng(0), batches, lambda out, sign: sign * out.sum())
    >>> [float(one.scores(model, edge_values(model), sample)[0][0]) > 0 for one in (SNIP(), Taylor())]
    [False, True]
    """

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return the sums of squares (E,) for each edge set."""
        return [np.square(one).sum(axis=0) for one in zip(*_products(model, sample, "taylor"), strict=True)]

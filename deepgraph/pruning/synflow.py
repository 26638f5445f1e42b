"""SynFlow: pruning without data, by the flow of positive weights from inputs to outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError
from deepgraph.pruning.criterion import Criterion, Sample, Scores, edge_gradient, working_copy
from deepgraph.sparse.values import EdgeValues, edge_values

__all__ = ["SynFlow"]


class SynFlow(Criterion):
    """|w dR/dw| of R = the sum of the outputs for an input of ones, with the size of every parameter for it.

    Notes
    -----
    Tanaka et al. 2020 [1]_, equation 2 and algorithm 1: many rounds, 100 by default, with a density that falls
    exponentially, and scope "global", never leave a layer without edges before others are nearly so. It runs in eval
    mode and in float64, without which products of many layers underflow. Of `data` only the shape of x is used.

    Differs from the paper: nothing but float64.

    References
    ----------
    .. [1] Tanaka, Kunin, Yamins, Ganguli: Pruning neural networks without any data by iteratively conserving synaptic
       flow, NeurIPS 2020, arXiv 2006.05467.

    Examples
    --------
    >>> import numpy as np, deepgraph as dg
    >>> model = dg.MaskedDeepFFN(3, 2, [4], density=0.5, storage="masked", seed=0)
    >>> sample = Sample(np.random.default_rng(0), (torch.zeros(1, 3), None))
    >>> scores = SynFlow().scores(model, edge_values(model), sample)
    >>> bool(np.isclose(scores[0].sum(), scores[1].sum()))
    True
    """

    rounds = 100

    def scores(self, model: nn.Module, values: list[EdgeValues], sample: Sample) -> list[Scores]:
        """Return the flow (E,) through each edge of each edge set."""
        x, _ = next(sample.batches("synflow"), (None, None))
        if x is None:
            raise ArgumentError("data: expected at least one batch (x, y) for criterion 'synflow', got none")
        if not isinstance(x, Tensor) or not x.dtype.is_floating_point:
            raise ArgumentError("data: expected x of floating dtype for criterion 'synflow', got another input")
        with working_copy(model, sample) as twin:
            twin.eval().double()
            with torch.no_grad():
                for parameter in twin.parameters():
                    parameter.abs_()
            output = twin(torch.ones_like(x[:1], dtype=torch.float64))
            output.sum().backward()
            return [(edge_gradient(one) * one.values()).cpu().numpy() for one in edge_values(twin)]

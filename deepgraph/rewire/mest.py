"""`MEST`: memory-economic sparse training."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from deepgraph.graph.arrays import Array
from deepgraph.rewire.arguments import at_least_zero
from deepgraph.rewire.growth import RandomGrowth
from deepgraph.rewire.options import Options
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.sparse.values import EdgeValues

__all__ = ["MEST"]


class MEST(Rewirer):
    """Memory-economic sparse training: drop the smallest |w| + c |gradient|, grow as many at random.

    Parameters
    ----------
    model, optimizer
        As for `Rewirer`.
    gradient_weight : float
        c, >= 0: how much the gradient of an edge in the last batch speaks for it.
    **options
        Those of `Rewirer`.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if `gradient_weight` is not >= 0.
    EditRefusedError
        From `step`, if an edge set has no gradient.

    Notes
    -----
    Yuan et al. 2021 [1]_, section 3.1. An edit follows the optimizer's step.

    Differs from the paper: the number of edges stays as it is, where "elastic mutation" lets it rise and fall; the
    authors' code leaves the gradient out, which `gradient_weight=0` does.

    References
    ----------
    .. [1] Yuan, Ma, Niu, Li, Kong, Liu, Gong, Zhan, He, Jin, Wang, Qian, Lin, Liu, Wang, Wang: MEST: accurate and fast
       memory-economic sparse training framework on the edge, NeurIPS 2021, arXiv 2110.14032.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = MEST(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1, seed=0)
    >>> model(torch.ones(5, 6)).square().sum().backward()
    >>> optimizer.step()
    >>> optimizer.edited, model.num_edges
    (True, 18)
    """

    growth = RandomGrowth()

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        gradient_weight: float = 0.01,
        **options: Unpack[Options],
    ) -> None:
        self.gradient_weight = at_least_zero("gradient_weight", gradient_weight)
        super().__init__(model, optimizer, **options)

    def drop_scores(self, values: EdgeValues) -> Tensor | Array:
        """Return |w| + c |gradient| (E,) of each edge."""
        size = values.values().abs()
        return size + self.gradient_weight * values.gradient().abs() if self.gradient_weight else size

    def _schedule(self) -> list[str]:
        return [*super()._schedule(), "gradient_weight"]

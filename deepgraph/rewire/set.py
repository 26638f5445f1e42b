"""`SET`: sparse evolutionary training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.errors import ArgumentError
from deepgraph.graph.arrays import Array
from deepgraph.rewire.arguments import at_least_zero
from deepgraph.rewire.candidates import lowest, split_rows
from deepgraph.rewire.growth import RandomGrowth
from deepgraph.rewire.options import Options
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.sparse.values import EdgeValues

__all__ = ["SET"]

Index = npt.NDArray[np.int64]


class SET(Rewirer):
    """Sparse evolutionary training: drop the weights nearest to zero, on both sides, and grow as many at random.

    An edit comes after the optimizer's step. With `every` the steps of an epoch and `until` those of the training,
    every epoch but the last ends with an edit, as in the paper.

    Parameters
    ----------
    model, optimizer
        As for `Rewirer`.
    by : {"sign", "magnitude"}
        "sign" drops the share zeta of the positive weights, the smallest, and of the negative ones, the largest.
        "magnitude" drops the share zeta of all weights by |w|.
    grown_std : float
        Grown edges start at 0, or normally distributed with this standard deviation, >= 0.
    **options
        Those of `Rewirer`; `drop_fraction` is the paper's zeta, 0.3.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if `by` or `grown_std` is not valid.

    Notes
    -----
    Algorithm 1 of Mocanu et al. 2018 [1]_.

    Differs from the paper: weights of exactly 0 count as the smallest positive ones, where the authors' code drops them
    all on top of the share; the initial density is the model's.

    References
    ----------
    .. [1] Mocanu, Mocanu, Stone, Nguyen, Gibescu, Liotta: Scalable training of artificial neural networks with adaptive
       sparse connectivity inspired by network science, Nature Communications 9, 2383 (2018), arXiv 1707.04780.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = SET(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1, seed=0)
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
        by: str = "sign",
        grown_std: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        if by not in ("sign", "magnitude"):
            raise ArgumentError(f"by: expected 'sign' or 'magnitude', got {by!r}")
        self.by, self.grown_std = by, at_least_zero("grown_std", grown_std)
        super().__init__(model, optimizer, **options)

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows to drop of each edge set: those of the lowest scores, for each sign by itself."""
        if self.by == "magnitude":
            return super().choose_drop(values, share)
        scores = np.concatenate([self._drop_scores(one) for one in values])
        negative = np.concatenate([(one.values() < 0).cpu().numpy() for one in values])
        sides = [np.flatnonzero(side) for side in (negative, ~negative)]
        rows = np.concatenate([side[lowest(scores[side], int(share * len(side)))] for side in sides])
        return split_rows(np.sort(rows), [one.edge_set.num_edges for one in values])

    def grow_scores(self, values: EdgeValues, u: Index, v: Index) -> Tensor | Array:
        """Return random scores (C,) in [0, 1): the best of them are a uniform sample."""
        return torch.rand(len(u), generator=self.generator, dtype=torch.float64)

    def grown_weights(self, values: EdgeValues, u: Index, v: Index) -> Tensor | Array:
        """Return 0, or normal numbers with standard deviation `grown_std`, (K,)."""
        if self.grown_std == 0:
            return np.zeros(len(u))
        return self.grown_std * torch.randn(len(u), generator=self.generator, dtype=torch.float64)

    def _schedule(self) -> list[str]:
        return [*super()._schedule(), "by", "grown_std"]

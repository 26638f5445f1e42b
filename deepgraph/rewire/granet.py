"""`GraNet`: gradual pruning with neuroregeneration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from deepgraph.rewire.candidates import lowest, split_rows
from deepgraph.rewire.gmp import GMP
from deepgraph.rewire.groups import Group
from deepgraph.rewire.growth import GradientGrowth
from deepgraph.sparse.values import EdgeValues

__all__ = ["GraNet"]

Index = npt.NDArray[np.int64]


class GraNet(GMP):
    """Gradual pruning with regeneration: `GMP`, and at every edit a share of what is left is exchanged by gradient.

    Parameters
    ----------
    model, optimizer, density, every, begin, until, group, seed
        As for `GMP`.

    Raises
    ------
    ArgumentError, DtypeError
        As `GMP`.

    Notes
    -----
    Liu et al. 2021 [1]_, algorithm 1: edges are pruned by |w| to a density that falls with the third power; then half
    of the smallest, a share that falls with a cosine, are replaced by the pairs of the largest |gradient|, with weight
    0. An edit follows the optimizer's step.

    Differs from the paper: with `group="set"`, the default, each edge set is pruned by itself, where the authors rank
    all weights together; the exchange ends with the pruning, at `until`.

    References
    ----------
    .. [1] Liu, Chen, Chen, Atashgahi, Yin, Kou, Shen, Pechenizkiy, Wang, Mocanu: Sparse training via boosting pruning
       plasticity with neuroregeneration, NeurIPS 2021, arXiv 2106.10404.

    Examples
    --------
    >>> import torch, deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.5, seed=0)
    >>> optimizer = GraNet(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.25, every=2, until=6)
    >>> for _ in range(6):
    ...     optimizer.zero_grad()
    ...     model(torch.ones(5, 6)).square().sum().backward()
    ...     optimizer.step()
    >>> [row["edges"] for row in optimizer.log], optimizer.budget(6)
    ([24, 18], 18)
    """

    growth = GradientGrowth()
    captures = True
    default_fraction = 0.5
    default_decay = "cosine"

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows of the lowest |w|: what the density leaves too much, and the share of the rest."""
        scores = [self._drop_scores(one) for one in values]
        joined, left = np.concatenate(scores), self._left_in(values)
        return split_rows(lowest(joined, len(joined) - left + int(share * left)), [len(score) for score in scores])

    def _left_in(self, values: Sequence[EdgeValues]) -> int:
        return sum(self._left(self._position(one), self.steps) for one in values)

    def _grow_count(self, group: Group, dropped: Sequence[Index]) -> int:
        members = [self.values[index] for index in group.members]
        before = sum(one.edge_set.num_edges for one in members)
        return self._left_in(members) - before + sum(len(rows) for rows in dropped)

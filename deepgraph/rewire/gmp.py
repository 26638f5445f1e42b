"""`GMP`: gradual magnitude pruning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.graph.edge_set import EdgeSet
from deepgraph.priors.densities import edge_budget
from deepgraph.rewire.arguments import at_least_one
from deepgraph.rewire.candidates import lowest, split_rows
from deepgraph.rewire.groups import Group, Grouping
from deepgraph.rewire.growth import Growth, RandomGrowth
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.sparse.build import check_density
from deepgraph.sparse.randomness import Seed
from deepgraph.sparse.values import EdgeValues

__all__ = ["GMP", "cubic_count"]

Index = npt.NDArray[np.int64]


def cubic_count(step: int, start: int, end: int, begin: int, until: int) -> int:
    """Return how many edges are left at a step: from `start` at step `begin` to `end` at step `until`.

    Notes
    -----
    Equation 1 of Zhu and Gupta 2017, in edges instead of sparsity: end + (start - end) (1 - t)^3, t in [0, 1].

    Examples
    --------
    >>> [cubic_count(step, 100, 10, 0, 10) for step in (0, 5, 10, 20)]
    [100, 21, 10, 10]
    """
    done = min(max((step - begin) / (until - begin), 0.0), 1.0)
    return min(start, end + round((start - end) * (1 - done) ** 3))


class GMP(Rewirer):
    """Gradual magnitude pruning: every few steps the smallest |w| go, by a density that falls with the third power.

    Parameters
    ----------
    model, optimizer, every, seed
        As for `Rewirer`. All edge sets are pruned, dense ones too, but frozen ones.
    density : float or sequence of float
        Edges over pairs at the end, in (0, 1]: of every edge set, or one for each. Sets that have fewer are left alone.
    begin, until : int
        The steps between which edges go, begin < until; the step `until` is an edit whatever `every`.
    group : {"set", "graph"}
        Whether |w| are ranked in each edge set, or over all of them.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if `density`, `begin` or `group` is not valid.

    Notes
    -----
    Zhu and Gupta 2017 [1]_, equation 1. An edit follows the optimizer's step.

    Differs from the paper: dropped weights do not come back, where the authors' masks let them; the numbers of edges
    are rounded, and `budget(step)` says them.

    References
    ----------
    .. [1] Zhu, Gupta: To prune, or not to prune: exploring the efficacy of pruning for model compression, 2017,
       arXiv 1710.01878.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], seed=0)
    >>> optimizer = GMP(model, torch.optim.SGD(model.parameters(), lr=0.1), density=0.25, every=2, until=6)
    >>> for _ in range(6):
    ...     model(torch.ones(5, 6)).square().sum().backward()
    ...     optimizer.step()
    >>> [row["edges"] for row in optimizer.log], optimizer.budget(5)
    ([34, 20, 18], 20)
    """

    growth: Growth = RandomGrowth()

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        density: float | Sequence[float],
        every: int = 100,
        begin: int = 0,
        until: int,
        group: Grouping = "set",
        seed: Seed = None,
    ) -> None:
        if group not in ("set", "graph"):
            raise ArgumentError(f"group: expected 'set' or 'graph', got {group!r}")
        if not isinstance(begin, (int, np.integer)) or not 0 <= begin < at_least_one("until", until):
            raise ArgumentError(f"begin: expected a step, an integer from 0 to below until={until}, got {begin!r}")
        self.begin = int(begin)
        super().__init__(model, optimizer, every=every, until=until, group=group, seed=seed)
        given = list(density) if isinstance(density, Sequence) else [density] * len(self.values)
        if len(given) != len(self.values):
            raise ArgumentError(f"density: expected a number or {len(self.values)}, one a set, got {len(given)}")
        self.start = [edges.num_edges for edges in self.edge_sets]
        self.end = [
            edges.num_edges if alone else min(edges.num_edges, edge_budget(edges.num_admissible, check_density(d)))
            for edges, d, alone in zip(self.edge_sets, given, self._dense, strict=True)
        ]

    def leaves_alone(self, edges: EdgeSet) -> bool:
        """Return False: dense edge sets are where pruning starts."""
        return False

    def edits_at(self, step: int) -> bool:
        """Return whether `step`, counted from 1, drops edges."""
        last = self.until or 0
        return bool(self._groups) and self.begin < step <= last and (step % self.every == 0 or step == last)

    def budget(self, step: int) -> int:
        """Return the number of edges of the model after `step`."""
        edits = [t for t in (step - step % self.every, self.until or 0) if self.edits_at(t) and t <= step]
        return sum(self._left(index, max(edits, default=0)) for index in range(len(self.values)))

    def _left(self, index: int, step: int) -> int:
        return cubic_count(step, self.start[index], self.end[index], self.begin, self.until or 0)

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows of the lowest |w|, as many as the density of this step leaves too much."""
        scores = [self._drop_scores(one) for one in values]
        joined = np.concatenate(scores)
        left = sum(self._left(self._position(one), self.steps) for one in values)
        return split_rows(lowest(joined, len(joined) - left), [len(score) for score in scores])

    def _grow_count(self, group: Group, dropped: Sequence[Index]) -> int:
        return 0

    def _schedule(self) -> list[str]:
        return [*super()._schedule(), "begin", "start", "end"]

"""`SNFS`: sparse networks from scratch, by sparse momentum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire.arguments import at_least_one
from deepgraph.rewire.candidates import lowest
from deepgraph.rewire.groups import Group
from deepgraph.rewire.growth import GradientGrowth, Pairs
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.schedule import Decay
from deepgraph.sparse.randomness import Seed
from deepgraph.sparse.values import EdgeValues

__all__ = ["SNFS", "MomentumGrowth", "shared_out"]

Index = npt.NDArray[np.int64]


def shared_out(count: int, shares: Sequence[float], rooms: Sequence[int]) -> Index:
    """Return how many of `count` new edges each of L sets gets, (L,): by its share, at most its room.

    What a full set cannot take goes to the others by their shares; fractions go to the largest remainder.

    Parameters
    ----------
    count : int
        At most the sum of `rooms`.
    shares : (L,) float
        >= 0, in any unit; all 0 counts as all equal.
    rooms : (L,) int
        Free pairs.

    Examples
    --------
    >>> shared_out(10, [8.0, 1.0, 1.0], [4, 100, 100]).tolist()
    [4, 3, 3]
    """
    room, given = np.asarray(rooms, np.int64), np.zeros(len(rooms), np.int64)
    share = np.asarray(shares, np.float64)
    while (rest := count - int(given.sum())) > 0:
        open_ = given < room
        weight = np.where(open_, share, 0.0)
        if not weight.sum() > 0:
            weight = open_.astype(np.float64)
        wanted = rest * (weight / weight.sum())
        part = np.floor(wanted).astype(np.int64)
        by_remainder = np.argsort(part - wanted, kind="stable")
        by_remainder = by_remainder[open_[by_remainder]]
        part[by_remainder[: rest - int(part.sum())]] += 1
        given = np.minimum(given + part, room)
    return given


class MomentumGrowth(GradientGrowth):
    """The pairs of the largest momentum, in numbers that follow the mean momentum of the edges of each set."""

    def choose(
        self, rewirer: Rewirer, values: Sequence[EdgeValues], free: Sequence[AbsentPairs], count: int
    ) -> list[Pairs]:
        """Return the best pairs of each edge set; see `Growth.choose`."""
        shares = []
        for one in values:
            momentum = rewirer.gradients(one, *_pairs(one)).abs()
            shares.append(float(momentum.mean()) if len(momentum) else 0.0)
        counts = shared_out(count, shares, [pairs.count for pairs in free]).tolist()
        found = [self.best(rewirer, *each) for each in zip(values, free, counts, strict=True)]
        return [(u, v) for u, v, _ in found]


class SNFS(Rewirer):
    """Sparse momentum: drop the smallest |w| of each edge set, grow by momentum, and more where momentum is large.

    Parameters
    ----------
    model, optimizer, every, until, drop_fraction, decay, seed
        As for `Rewirer`; the paper takes the steps of an epoch, 0.5 and "cosine".
    momentum : float
        In (0, 1): a gradient counts this much less with every step of age.
    window : int
        Gradients of absent pairs are followed for this many steps before an edit, >= 1.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if `momentum` or `window` is out of range.

    Notes
    -----
    Algorithm 1 of Dettmers and Zettlemoyer 2019 [1]_: an edit follows the optimizer's step. Each edge set of E edges
    loses its int(f(t) E) smallest |w|. The sum is shared out by the mean |momentum| of the edges of each set; what a
    full set cannot take goes to the others. Pairs of the largest |momentum| grow; a just-dropped one among them keeps
    weight and state.

    Differs from the paper: momentum is the sum of gradients over the last `window` steps, each weighted by
    momentum**age, for edges and absent pairs alike and whatever the wrapped optimizer does; the authors keep the
    optimizer's dense buffer and divide by the root of Adam's second moment. Grown edges start with zero state. Their
    rule that slows dropping in nearly full layers is left out.

    References
    ----------
    .. [1] Dettmers, Zettlemoyer: Sparse networks from scratch: faster training without losing performance, 2019,
       arXiv 1907.04840.

    Examples
    --------
    >>> import deepgraph as dg
    >>> model = dg.MaskedDeepFFN(6, 3, [8], density=0.25, seed=0)
    >>> optimizer = SNFS(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), every=2, until=100, seed=0)
    >>> x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     model(x).square().sum().backward()
    ...     optimizer.step()
    >>> sum(edges.num_edges for edges in model.edge_sets), optimizer.log
    (18, EditLog(2 edits, 9 edges dropped, 9 grown))
    """

    growth = MomentumGrowth()
    captures = True
    keeps_regrown = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 100,
        until: int | None = None,
        drop_fraction: float | Callable[[int], float] = 0.5,
        decay: Decay = "cosine",
        momentum: float = 0.9,
        window: int = 10,
        seed: Seed = None,
    ) -> None:
        if not 0 < momentum < 1:
            raise ArgumentError(f"momentum: expected a number in (0, 1), got {momentum!r}")
        self.gradient_decay = float(momentum)
        super().__init__(
            model, optimizer, every=every, until=until, drop_fraction=drop_fraction, decay=decay, group="set",
            average=at_least_one("window", window), seed=seed,
        )  # fmt: skip

    def grouped(self) -> list[Group]:
        """Return one group of all edge sets: they share the edges to grow."""
        sparse = tuple(index for index, dense in enumerate(self._dense) if not dense)
        return [Group(sparse)] if sparse else []

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows of the lowest |w| of each edge set by itself."""
        scores = [self._drop_scores(one) for one in values]
        return [lowest(score, int(share * len(score))) for score in scores]

    def _schedule(self) -> list[str]:
        return [*super()._schedule(), "gradient_decay"]


def _pairs(values: EdgeValues) -> tuple[Index, Index]:
    src, dst = values.edge_set.pairs()
    return src.astype(np.int64), dst.astype(np.int64)

"""`SNFS`: sparse networks from scratch, by sparse momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from deepgraph.errors import ArgumentError
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire.arguments import at_least_one, is_number
from deepgraph.rewire.candidates import lowest
from deepgraph.rewire.capture import Capture
from deepgraph.rewire.groups import Group
from deepgraph.rewire.growth import GradientGrowth, Pairs
from deepgraph.rewire.options import Options
from deepgraph.rewire.pair_gradients import AdamGradients, PairGradients, gradients_of
from deepgraph.rewire.rewirer import Rewirer
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
    model, optimizer
        As for `Rewirer`.
    momentum : float, optional
        In (0, 1): a gradient counts this much less with every step of age. None: the first beta of an Adam, else 0.9.
    second_moment : float, optional
        In (0, 1): the same for squares of gradients, by whose root momentum is divided. None: the second beta of an
        Adam, else nothing is divided.
    window : int
        Gradients of absent pairs are followed for this many steps before an edit, >= 1.
    **options
        Those of `Rewirer` but `average` and `group`; the paper takes the steps of an epoch, 0.5 and "cosine".

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if `momentum`, `second_moment` or `window` is out of range, or `group` is not "set".

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
    default_fraction = 0.5
    default_decay = "cosine"
    default_group = "set"

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        momentum: float | None = None,
        second_moment: float | None = None,
        window: int = 10,
        **options: Unpack[Options],
    ) -> None:
        betas = getattr(optimizer, "defaults", {}).get("betas", (0.9, None))
        first = betas[0] if momentum is None else momentum
        second = betas[1] if second_moment is None and momentum is None else second_moment
        for name, value in (("momentum", first), ("second_moment", 0.5 if second is None else second)):
            if not is_number(value) or not 0 < value < 1:
                raise ArgumentError(f"{name}: expected a number in (0, 1), got {value!r}")
        if options.get("group") not in (None, "set"):
            raise ArgumentError(
                f"group: expected 'set', as momentum shares edges out to the sets, got {options.get('group')!r}"
            )
        self.gradient_decay, self.second_moment = float(first), None if second is None else float(second)
        options["average"] = at_least_one("window", window)
        super().__init__(model, optimizer, **options)

    def pair_gradients(self, values: EdgeValues) -> PairGradients:
        """Return the momentum of all pairs, over the root of the second moment where there is one."""
        if self.second_moment is None:
            return super().pair_gradients(values)
        steps = [gradients_of([step], "none", self.ranks.sum) for step in self._capture.captured(values)]
        return AdamGradients(steps, self.gradient_decay, self.second_moment)

    def _new_capture(self) -> Capture:
        members = [self.values[i] for one in self._groups for i in one.members]
        return Capture(members, self.gradient_decay, separate=self.second_moment is not None)

    def grouped(self) -> list[Group]:
        """Return one group of all edge sets: they share the edges to grow."""
        sparse = tuple(index for index, dense in enumerate(self._dense) if not dense)
        return [Group(sparse)] if sparse else []

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows of the lowest |w| of each edge set by itself."""
        scores = [self._drop_scores(one) for one in values]
        return [lowest(score, int(share * len(score))) for score in scores]

    def _schedule(self) -> list[str]:
        return [*super()._schedule(), "gradient_decay", "second_moment"]


def _pairs(values: EdgeValues) -> tuple[Index, Index]:
    src, dst = values.edge_set.pairs()
    return src.astype(np.int64), dst.astype(np.int64)

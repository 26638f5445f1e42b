"""`ScoredRewirer`: rewiring by three functions: which weights stay, which come, and how many of them each weight gets.

They are called as those of `deepgraph.compat.sparsity` are: `keep_score_f(p, opt=)` and `grow_score_f(p, opt=)` return
a score for every entry of a weight, `redistribute_f(params, masks, opt)` a share for each weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from deepgraph.compat.sparsity import gradient_momentum, momentum_redistribution
from deepgraph.errors import ArgumentError, ShapeError
from deepgraph.kernels.growth import AbsentPairs
from deepgraph.rewire.candidates import lowest
from deepgraph.rewire.groups import Group
from deepgraph.rewire.growth import Pairs, ScoredGrowth
from deepgraph.rewire.rewirer import Rewirer
from deepgraph.rewire.snfs import shared_out
from deepgraph.sparse.masked_weight import WeightValues
from deepgraph.sparse.randomness import Seed
from deepgraph.sparse.values import EdgeValues

__all__ = ["Redistribute", "Score", "ScoredRewirer"]

Index = npt.NDArray[np.int64]
Score = Callable[..., Tensor]
Redistribute = Callable[[Sequence[Tensor], Sequence[Tensor], Any], Sequence[float]]

MOMENTUM = 0.9
WINDOW = 10
"""Steps over which gradients of absent weights are followed, where a momentum of them is asked for."""


class RedistributedGrowth(ScoredGrowth):
    """The best pairs of each edge set, in numbers that follow `redistribute_f`, or that replace what each set lost."""

    def choose(
        self, rewirer: Rewirer, values: Sequence[EdgeValues], free: Sequence[AbsentPairs], count: int
    ) -> list[Pairs]:
        """Return the best pairs of each edge set; see `Growth.choose`."""
        counts = [count]
        if isinstance(rewirer, ScoredRewirer) and rewirer.redistribute_f is not None:
            counts = shared_out(count, rewirer.shares(values), [pairs.count for pairs in free]).tolist()
        found = [self.best(rewirer, *each) for each in zip(values, free, counts, strict=True)]
        return [(u, v) for u, v, _ in found]


class ScoredRewirer(Rewirer):
    """Drop the weights of the lowest `keep_score_f`, grow those of the highest `grow_score_f`, by `redistribute_f`.

    Parameters
    ----------
    model, optimizer, every, until, drop_fraction, decay, seed
        As for `Rewirer`; every weight was made sparse by `sparsify` or `sparsify_model`.
    keep_score_f, grow_score_f : callable
        `f(p, opt=optimizer)` returns a score for every entry of the parameter p. `p.grad` is the dense gradient, that
        of entries which are off included, of the backwards since the last step.
    redistribute_f : callable, optional
        `f(params, masks, opt)` returns a share >= 0 for each weight; of what all lose together each grows its share.
        Without, each grows what it lost.

    Raises
    ------
    ArgumentError, DtypeError
        As `Rewirer`, and if the model has edge sets of modules of deepgraph, whose absent weights have no entry.
    ShapeError
        From `step`, if a function returns scores of another shape, or another number of shares.

    Notes
    -----
    An edit takes the place of the optimizer's step, as in RigL, and grown edges start at 0 with zero state. Where one
    of the functions is `gradient_momentum` or `momentum_redistribution`, `opt.state` shows it the sum of the dense
    gradients of the last 10 steps, each weighted by 0.9**age, since an optimizer has no momentum for what is off.

    Examples
    --------
    >>> from deepgraph.compat.fastsparse import gradient_magnitude, sparsify_model, weight_magnitude
    >>> model = nn.Sequential(nn.Linear(6, 4))
    >>> _ = sparsify_model(model, 0.5, seed=0)
    >>> optimizer = ScoredRewirer(model, torch.optim.SGD(model.parameters(), lr=0.1), every=1,
    ...                           keep_score_f=weight_magnitude, grow_score_f=gradient_magnitude)
    >>> model(torch.ones(3, 6)).square().sum().backward()
    >>> optimizer.step()
    >>> optimizer.edited, optimizer.budget(1)
    (True, 12)
    """

    growth = RedistributedGrowth()
    captures = True
    replaces_step = True
    keeps_regrown = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        keep_score_f: Score,
        grow_score_f: Score,
        redistribute_f: Redistribute | None = None,
        every: int = 100,
        until: int | None = None,
        drop_fraction: float | Callable[[int], float] = 0.3,
        decay: Any = "cosine",
        seed: Seed = None,
    ) -> None:
        self.keep_score_f, self.grow_score_f, self.redistribute_f = keep_score_f, grow_score_f, redistribute_f
        self._grow: dict[int, Tensor] = {}
        asked = (keep_score_f, grow_score_f, redistribute_f)
        self._follows = any(f in (gradient_momentum, momentum_redistribution) for f in asked)
        self.gradient_decay = MOMENTUM if self._follows else 1.0
        super().__init__(
            model, optimizer, every=every, until=until, drop_fraction=drop_fraction, decay=decay, group="set",
            average=WINDOW if self._follows else 1, seed=seed,
        )  # fmt: skip
        foreign = [one.edge_set.name for one in self.values if not isinstance(one, WeightValues)]
        if foreign:
            raise ArgumentError(
                f"model: expected weights that sparsify_model made sparse, got edges of a module of deepgraph, "
                f"{foreign[0]}; use SET, SNFS or RigL"
            )

    def grouped(self) -> list[Group]:
        """Return one group for each edge set, or, with `redistribute_f`, one of all."""
        sparse = [index for index, dense in enumerate(self._dense) if not dense]
        if self.redistribute_f is None:
            return [Group((index,)) for index in sparse]
        return [Group(tuple(sparse))] if sparse else []

    def choose_drop(self, values: Sequence[EdgeValues], share: float) -> list[Index]:
        """Return the rows of the lowest keep scores of each edge set by itself."""
        scores = [self._drop_scores(one) for one in values]
        return [lowest(score, int(share * len(score))) for score in scores]

    def _edit(self) -> bool:
        try:
            return super()._edit()
        finally:
            self._grow.clear()

    def drop_scores(self, values: EdgeValues) -> Tensor:
        """Return the keep scores (E,) of the edges."""
        return self._scores(self.keep_score_f, values).reshape(-1)[values.index()]

    def grow_scores(self, values: EdgeValues, u: Index, v: Index) -> Tensor:
        """Return the grow scores (C,) of the pairs (u, v)."""
        row, column = self._weight(values).places()
        # Pairs come in blocks, and a function that draws is asked once.
        if id(values) not in self._grow:
            self._grow[id(values)] = self._scores(self.grow_score_f, values).reshape(-1).cpu()
        return self._grow[id(values)][torch.from_numpy(row[v] + column[u])]

    def shares(self, values: Sequence[EdgeValues]) -> list[float]:
        """Return what `redistribute_f` says of each edge set: the share of its weight, by its part of the edges."""
        if self.redistribute_f is None:
            return [1.0] * len(values)
        weights = {id(one.parameter): one.parameter for one in values}
        own: dict[int, list[EdgeValues]] = {key: [one for one in values if id(one.parameter) == key] for key in weights}
        masks = [torch.stack([one.mask() for one in own[key]]).any(0) for key in weights]
        with self._shown(values):
            found = list(self.redistribute_f(list(weights.values()), masks, self._seen(values)))
        if len(found) != len(weights):
            raise ShapeError(f"redistribute_f: expected a share for each of {len(weights)} weights, got {len(found)}")
        share = dict(zip(weights, found, strict=True))
        edges = {key: max(1, sum(one.edge_set.num_edges for one in own[key])) for key in weights}
        keys = [id(one.parameter) for one in values]
        return [float(share[k]) * one.edge_set.num_edges / edges[k] for k, one in zip(keys, values, strict=True)]

    def _scores(self, function: Score, values: EdgeValues) -> Tensor:
        with self._shown([values]):
            scores = function(values.parameter, opt=self._seen([values]))
        if not isinstance(scores, Tensor) or scores.shape != values.parameter.shape:
            name = getattr(function, "__name__", "score function")
            raise ShapeError(
                f"{name}: expected a score for each entry of a weight {tuple(values.parameter.shape)}, got "
                f"{tuple(getattr(scores, 'shape', ()))}"
            )
        return scores.detach()

    @contextmanager
    def _shown(self, values: Sequence[EdgeValues]) -> Iterator[None]:
        """Let `grad` of the parameters be the dense gradient meanwhile."""
        kept = {one.parameter: one.parameter.grad for one in values}
        try:
            for parameter in kept:
                parameter.grad = self._dense_gradient(parameter, newest=True)
            yield
        finally:
            for parameter, gradient in kept.items():
                parameter.grad = gradient

    def _dense_gradient(self, parameter: nn.Parameter, newest: bool) -> Tensor:
        """Return the gradient of all entries of a parameter, of the last step or its momentum, over all processes."""
        dense = torch.zeros_like(parameter)
        for one in self.values:
            if one.parameter is not parameter or not any(one is v for v in self._capture.values):
                continue
            row, column = self._weight(one).places()
            at = torch.from_numpy(column[:, None] + row[None, :]).to(parameter.device)
            # What was captured of earlier steps is in the last part, decayed.
            dense.view(-1)[at] = (one.captured() if newest else self._capture.captured(one)[-1])[0].to(parameter)
        if self.ranks.sum is not None:
            self.ranks.sum(dense)
        return dense

    def _seen(self, values: Sequence[EdgeValues]) -> Any:
        """Return the optimizer as the functions see it."""
        return _Seen(self, [one.parameter for one in values]) if self._follows else self.optimizer

    @staticmethod
    def _weight(values: EdgeValues) -> WeightValues:
        if not isinstance(values, WeightValues):
            raise ArgumentError(f"{values.edge_set.name}: expected a sparsified weight, got edges of another module")
        return values


class _Seen:
    """An optimizer whose state says the dense momentum of some parameters; all else is the optimizer's own."""

    def __init__(self, rewirer: ScoredRewirer, parameters: Sequence[nn.Parameter]) -> None:
        self._optimizer = rewirer.optimizer
        dense = {p: rewirer._dense_gradient(p, newest=False) for p in parameters}
        state: dict[Any, Any] = dict(rewirer.optimizer.state)
        state.update({p: {"momentum_buffer": momentum} for p, momentum in dense.items()})
        self.state = state

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

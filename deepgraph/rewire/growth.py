"""Where new edges come: at random, by the gradient of the pairs, or by the scores of an algorithm of one's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from deepgraph.errors import ArgumentError, ShapeError
from deepgraph.kernels.growth import AbsentPairs, sample_absent
from deepgraph.rewire.candidates import absent_blocks, absent_into, best

if TYPE_CHECKING:
    from deepgraph.rewire.rewirer import Rewirer
    from deepgraph.sparse.values import EdgeValues

__all__ = ["GradientGrowth", "Growth", "Pairs", "RandomGrowth", "Scored", "ScoredGrowth", "checked_scores"]

Index = npt.NDArray[np.int64]
Pairs = tuple[Index, Index]
Scored = tuple[Index, Index, npt.NDArray[np.float64]]


class Growth(ABC):
    """Chooses pairs among those that are no edges once the edit's drops are made: just-dropped ones may come back."""

    captures = False
    """Whether gradients of absent pairs are needed."""

    @abstractmethod
    def choose(
        self, rewirer: Rewirer, values: Sequence[EdgeValues], free: Sequence[AbsentPairs], count: int
    ) -> list[Pairs]:
        """Return for each edge set the pairs (u, v) to grow, `count` over all of them.

        Parameters
        ----------
        rewirer : Rewirer
            Whose scores and random numbers are used.
        values : sequence of EdgeValues
            The edge sets that share the budget.
        free : sequence of AbsentPairs
            What may grow in each.
        count : int
            Edges to grow, at most the number of free pairs.
        """

    def choose_per_target(self, rewirer: Rewirer, values: EdgeValues, free: AbsentPairs, quota: Index) -> Pairs:
        """Return the pairs (u, v) of the highest `grow_scores`, `quota[v]` into each target v.

        Parameters
        ----------
        rewirer : Rewirer
        values : EdgeValues
        free : AbsentPairs
        quota : (C,) int
            Edges to grow into each target, at most the free pairs there.
        """
        found: list[Pairs] = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for targets, u, v in absent_into(free, np.flatnonzero(quota)):
            scores = np.full((len(targets), free.num_sources), -np.inf)
            scores[np.searchsorted(targets, v), u] = self.scores_into(rewirer, values, targets, u, v)
            found.append(_best_per_target(scores, targets, quota[targets]))
        sources, into = zip(*found, strict=True)
        return np.concatenate(sources), np.concatenate(into)

    def scores_into(
        self, rewirer: Rewirer, values: EdgeValues, targets: Index, u: Index, v: Index
    ) -> npt.NDArray[np.float64]:
        """Return the scores (K,) of the pairs (u, v), all of them into `targets` (T,), which ascend."""
        return pair_scores_of(rewirer, values, u, v)


class ScoredGrowth(Growth):
    """The pairs with the highest `rewirer.grow_scores`: every free pair is scored, a block at a time."""

    def choose(
        self, rewirer: Rewirer, values: Sequence[EdgeValues], free: Sequence[AbsentPairs], count: int
    ) -> list[Pairs]:
        """Return the best pairs of all edge sets together; see `Growth.choose`."""
        found = [
            self.best(rewirer, one, pairs, min(count, pairs.count)) for one, pairs in zip(values, free, strict=True)
        ]
        return _best_of_all(found, count)

    def best(self, rewirer: Rewirer, values: EdgeValues, free: AbsentPairs, count: int) -> Scored:
        """Return `(u, v, score)`, each (count,), of the best free pairs of one edge set, best first."""
        top: Scored = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        for u, v in absent_blocks(free) if count > 0 else ():
            block = u, v, pair_scores_of(rewirer, values, u, v)
            us, vs, scores = (np.concatenate(side) for side in zip(top, block, strict=True))
            rows = best(scores, us * free.num_targets + vs, count)
            top = us[rows], vs[rows], scores[rows]
        return top


class GradientGrowth(ScoredGrowth):
    """The pairs of the largest gradient |dL / dw_uv|, from what the rewirer captured."""

    captures = True

    def choose(
        self, rewirer: Rewirer, values: Sequence[EdgeValues], free: Sequence[AbsentPairs], count: int
    ) -> list[Pairs]:
        """Return the best pairs of all edge sets together; see `Growth.choose`."""
        if len(values) == 1:
            # Alone, an edge set needs no scores and no order.
            return [rewirer.pair_gradients(values[0]).best_pairs(free[0], count)]
        return super().choose(rewirer, values, free, count)

    def best(self, rewirer: Rewirer, values: EdgeValues, free: AbsentPairs, count: int) -> Scored:
        """Return `(u, v, |gradient|)`, each (count,), of the best free pairs of one edge set, best first."""
        return rewirer.pair_gradients(values).best(free, count)

    def scores_into(
        self, rewirer: Rewirer, values: EdgeValues, targets: Index, u: Index, v: Index
    ) -> npt.NDArray[np.float64]:
        """Return |gradient| (K,) of the pairs (u, v), read from one product of all sources with `targets` (T,)."""
        into = rewirer.pair_gradients(values).into(targets)
        dense: npt.NDArray[np.float64] = into.abs().cpu().double().numpy()
        return dense[u, np.searchsorted(targets, v)]


class RandomGrowth(Growth):
    """Free pairs drawn uniformly without replacement."""

    def choose(
        self, rewirer: Rewirer, values: Sequence[EdgeValues], free: Sequence[AbsentPairs], count: int
    ) -> list[Pairs]:
        """Return random pairs of all edge sets together; see `Growth.choose`."""
        if len(free) == 1:
            return [sample_absent(free[0], count, rewirer.generator)]
        ends = np.cumsum([pairs.count for pairs in free])
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=rewirer.generator)))
        numbers = np.sort(rng.choice(int(ends[-1]), count, replace=False, shuffle=False))
        parts = np.split(numbers, np.searchsorted(numbers, ends[:-1]))
        return [
            pairs.take(part - (end - pairs.count)) for pairs, part, end in zip(free, parts, ends.tolist(), strict=True)
        ]


def _best_of_all(found: Sequence[Scored], count: int) -> list[Pairs]:
    """Return the pairs of each edge set that are among the `count` best of all; ties go to the first set and pair."""
    if len(found) == 1:
        return [found[0][:2]]
    scores = np.concatenate([score for _, _, score in found])
    # Each list is best first with ties by key, so the place in the joined lists is a key.
    chosen = np.zeros(len(scores), bool)
    chosen[best(scores, np.arange(len(scores)), count)] = True
    parts = np.split(chosen, np.cumsum([len(score) for _, _, score in found])[:-1])
    return [(u[part], v[part]) for (u, v, _), part in zip(found, parts, strict=True)]


def _best_per_target(scores: npt.NDArray[np.float64], targets: Index, quota: Index) -> Pairs:
    """Return the pairs of the `quota[t]` highest entries of row t of scores (T, R); ties go to the first source."""
    most = min(int(quota.max(initial=0)), scores.shape[1])
    limit = np.partition(scores, scores.shape[1] - most, axis=1)[:, scores.shape[1] - most]
    row, u = np.nonzero((scores >= limit[:, None]) & (scores > -np.inf))
    order = np.lexsort((u, -scores[row, u], row))
    row, u = row[order], u[order]
    chosen = np.arange(len(row)) - np.searchsorted(row, row) < quota[row]
    return u[chosen], targets[row[chosen]]


def pair_scores_of(rewirer: Rewirer, values: EdgeValues, u: Index, v: Index) -> npt.NDArray[np.float64]:
    """Return `rewirer.grow_scores` of the pairs as (C,) float64; raises as `checked_scores`."""
    return checked_scores(rewirer.grow_scores(values, u, v), len(u), f"{type(rewirer).__name__}.grow_scores")


def checked_scores(scores: Any, count: int, name: str) -> npt.NDArray[np.float64]:
    """Return scores, a tensor or an array (count,), as finite float64.

    Raises
    ------
    ShapeError
        If there are not `count` scores.
    ArgumentError
        If a score is not finite.

    Examples
    --------
    >>> checked_scores(torch.tensor([1, 2]), 2, "scores")
    array([1., 2.])
    """
    if isinstance(scores, torch.Tensor):
        scores = scores.detach().cpu().double().numpy()
    found = np.asarray(scores, np.float64)
    if found.shape != (count,):
        raise ShapeError(f"{name}: expected one number for each of {count}, got shape {found.shape}")
    if not np.isfinite(found).all():
        raise ArgumentError(f"{name}: expected finite numbers, got NaN or infinity; weights or gradients diverged")
    return found

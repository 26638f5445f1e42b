"""Gradients of all pairs of an edge set, edges or not: from factors of our modules, or dense ones of PyTorch's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from deepgraph.kernels.growth import AbsentPairs, best_absent, best_absent_pairs, pair_scores
from deepgraph.kernels.products import product
from deepgraph.kernels.selection import highest, largest
from deepgraph.rewire.candidates import absent_into, best

__all__ = ["AdamGradients", "DenseGradients", "FactorGradients", "PairGradients", "gradients_of"]

Index = npt.NDArray[np.int64]
Pairs = tuple[Index, Index]
Scored = tuple[Index, Index, npt.NDArray[np.float64]]
Scale = Literal["none", "rms"]
Sum = Callable[[Tensor], Any] | None


class PairGradients(ABC):
    """The gradient of the loss for the weight of every pair (u, v) of one edge set, summed over processes."""

    @abstractmethod
    def at(self, u: Index, v: Index) -> Tensor:
        """Return the gradients (P,) of pairs, signed and scaled."""

    @abstractmethod
    def into(self, targets: Index) -> Tensor:
        """Return the gradients (R, T), signed and not scaled, of all sources with a few targets (T,)."""

    @abstractmethod
    def best(self, free: AbsentPairs, count: int, ranked: bool = True) -> Scored:
        """Return `(u, v, |gradient|)`, each (count,), of the free pairs of the largest scaled gradient.

        They come best first, or, faster, in canonical order where `ranked` is False.
        """

    def best_pairs(self, free: AbsentPairs, count: int) -> Pairs:
        """Return `(u, v)`, each (count,), the pairs of `best`, in canonical order."""
        return self.best(free, count, ranked=False)[:2]


class FactorGradients(PairGradients):
    """Gradients `(A[u] * dZ[v]).sum()` from captured factors; no matrix of all pairs is ever made.

    Parameters
    ----------
    factors : sequence of (A (R, B), dZ (C, B))
        One for each step; their gradients add up.
    scale : {"none", "rms"}
        "rms" divides by the root mean square of dZ_v over the samples.
    add_up : callable or None
        Sums a tensor over processes in place.
    """

    def __init__(self, factors: Sequence[tuple[Tensor, Tensor]], scale: Scale, add_up: Sum) -> None:
        self.factors, self.scale, self.add_up = list(factors), scale, add_up

    def at(self, u: Index, v: Index) -> Tensor:
        """Return the gradients (P,) of pairs; see `PairGradients`."""
        return pair_scores(self.factors, u, v, scale=self.scale, reduce_block=self.add_up)

    def into(self, targets: Index) -> Tensor:
        """Return the gradients (R, T) of all sources with a few targets; see `PairGradients`."""
        rows = torch.from_numpy(targets)
        products = torch.stack([product(A, dZ[rows.to(dZ.device)].T) for A, dZ in self.factors]).sum(0)
        if self.add_up is not None:
            self.add_up(products)
        return products

    def best(self, free: AbsentPairs, count: int, ranked: bool = True) -> Scored:
        """Return the best free pairs; see `PairGradients`."""
        return best_absent(free, self.factors, count, scale=self.scale, reduce_block=self.add_up, ranked=ranked)

    def best_pairs(self, free: AbsentPairs, count: int) -> Pairs:
        """Return the best free pairs; see `PairGradients`."""
        return best_absent_pairs(free, self.factors, count, scale=self.scale, reduce_block=self.add_up)


class DenseGradients(PairGradients):
    """Gradients of a dense weight, as its backward computes them anyway.

    Parameters
    ----------
    dense : sequence of (R, C) Tensor
        One for each step; they add up.
    scale : {"none", "rms"}
        "rms" divides by the root mean square over the sources of the gradients into v: dZ_v is not known here.
    add_up : callable or None
        Sums a tensor over processes in place.
    """

    def __init__(self, dense: Sequence[Tensor], scale: Scale, add_up: Sum) -> None:
        self.dense = torch.stack(list(dense)).sum(0)
        if add_up is not None:
            add_up(self.dense)
        self.scaled = self.dense
        if scale == "rms":
            rms = self.dense.square().mean(0).sqrt()
            self.scaled = self.dense * torch.where(rms > 0, 1 / rms, 0.0)

    def at(self, u: Index, v: Index) -> Tensor:
        """Return the gradients (P,) of pairs; see `PairGradients`."""
        return self.scaled[tuple(torch.from_numpy(np.asarray(side, np.int64)) for side in (u, v))]

    def into(self, targets: Index) -> Tensor:
        """Return the gradients (R, T) of all sources with a few targets; see `PairGradients`."""
        return self.dense[:, torch.from_numpy(targets)]

    def best(self, free: AbsentPairs, count: int, ranked: bool = True) -> Scored:
        """Return the best free pairs; see `PairGradients`."""
        free.check(count)
        if count == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        score = self.scaled.abs().contiguous()
        flat = score.view(-1)
        flat[torch.from_numpy(free.src * score.shape[1] + free.dst).to(flat.device)] = -1
        places, found = largest(flat, count)
        rows = highest(found, places, count)
        if ranked:
            rows = rows[np.argsort(-found[rows], kind="stable")]
        u, v = np.divmod(places[rows], score.shape[1])
        return u, v, found[rows]


class AdamGradients(PairGradients):
    """What Adam's step would be, m / (sqrt(v) + 1e-8), with both moments over the steps that were captured.

    Parameters
    ----------
    steps : sequence of PairGradients
        One for each step, oldest first.
    first, second : float
        Decays of the moments, in (0, 1): m = (1 - first) sum first**age g, v = (1 - second) sum second**age g^2.

    Examples
    --------
    >>> a, dz = torch.tensor([[1.0]]), torch.tensor([[2.0]])
    >>> step = gradients_of([(a, dz)], "none", None)
    >>> round(AdamGradients([step, step], 0.5, 0.5).at(np.array([0]), np.array([0])).item(), 4)
    0.866
    """

    def __init__(self, steps: Sequence[PairGradients], first: float, second: float) -> None:
        self.steps, self.first, self.second = list(steps), first, second

    def _moments(self, gradients: Iterable[Tensor]) -> Tensor:
        m: Any = 0.0
        v: Any = 0.0
        for gradient in gradients:
            m = self.first * m + (1 - self.first) * gradient
            v = self.second * v + (1 - self.second) * gradient.square()
        found: Tensor = m / (v.sqrt() + 1e-8)
        return found

    def at(self, u: Index, v: Index) -> Tensor:
        """Return the steps (P,) of pairs; see `PairGradients`."""
        return self._moments(step.at(u, v) for step in self.steps)

    def into(self, targets: Index) -> Tensor:
        """Return the steps (R, T) of all sources with a few targets; see `PairGradients`."""
        return self._moments(step.into(targets) for step in self.steps)

    def best(self, free: AbsentPairs, count: int, ranked: bool = True) -> Scored:
        """Return the best free pairs, a few targets at a time; see `PairGradients`."""
        free.check(count)
        top: Scored = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
        for targets, u, v in absent_into(free, np.sort(free.targets)) if count else ():
            size = self.into(targets).abs().cpu().double().numpy()[u, np.searchsorted(targets, v)]
            us, vs, sizes = (np.concatenate(sides) for sides in zip(top, (u, v, size), strict=True))
            rows = best(sizes, us * free.num_targets + vs, count)
            top = us[rows], vs[rows], sizes[rows]
        return top


def gradients_of(captured: Sequence[tuple[Tensor, ...]], scale: Scale, add_up: Sum) -> PairGradients:
    """Return the gradients that captured steps say, each step (A (R, B), dZ (C, B)) or (G (R, C),).

    Examples
    --------
    >>> a, dz = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [-2.0]])
    >>> pairs = np.array([0, 1]), np.array([1, 1])
    >>> [gradients_of([part], "none", None).at(*pairs).tolist() for part in ((a, dz), (a @ dz.T,))]
    [[-2.0, -6.0], [-2.0, -6.0]]
    """
    if len(captured[0]) == 1:
        return DenseGradients([step[0] for step in captured], scale, add_up)
    return FactorGradients([(step[0], step[1]) for step in captured], scale, add_up)

"""Choosing absent pairs: the best by gradient, streamed in blocks, or random ones, exactly uniform.

The gradient of the loss with respect to the weight of any pair (u, v), an edge or not, is sum_b A[u, b] * dZ[v, b],
where A (N, B) are outputs and dZ (N, B) gradients of sums, as a backward pass captures them. No matrix of all pairs is
ever made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.errors import ArgumentError, ShapeError
from deepgraph.kernels.absent_pairs import AbsentPairs
from deepgraph.kernels.growth_scan import best_by_bytes
from deepgraph.kernels.products import add_product
from deepgraph.kernels.selection import highest, largest

__all__ = ["AbsentPairs", "Factors", "best_absent", "best_absent_pairs", "pair_scores", "sample_absent"]

Factors = Sequence[tuple[Tensor, Tensor]]
"""Captured (A (S, B), dZ (T, B)), one for each backward pass; their gradients add up."""

Int64 = NDArray[np.int64]
Scale = Literal["none", "rms"]
Reduce = Callable[[Tensor], Any]

BLOCK_BYTES = 64 * 2**20
"""Size of one block of scores."""


def sample_absent(
    pairs: AbsentPairs, k: int, generator: np.random.Generator | torch.Generator | None = None
) -> tuple[Int64, Int64]:
    """Return (u (k,), v (k,)), absent admissible pairs drawn uniformly without replacement, in canonical order.

    Parameters
    ----------
    pairs : AbsentPairs
    k : int
        At least 0.
    generator : numpy or torch Generator, optional
        Default: torch's global generator.

    Raises
    ------
    ArgumentError, CapacityError
        If k is negative, or more than there are absent pairs.

    Examples
    --------
    >>> u, v = sample_absent(AbsentPairs(2, 2, [0], [0]), 3, np.random.default_rng(0))
    >>> list(zip(u.tolist(), v.tolist()))
    [(0, 1), (1, 0), (1, 1)]
    """
    pairs.check(k)
    if not isinstance(generator, np.random.Generator):
        generator = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    if 2 * (k + pairs.num_edges) > pairs.num_admissible:
        u, v = pairs.take(generator.choice(pairs.count, k, replace=False, shuffle=False))
        keys = np.sort(u * pairs.num_targets + v)
    else:
        keys = _some_absent(pairs, k, generator)
    return divmod(keys, max(pairs.num_targets, 1))


def _some_absent(pairs: AbsentPairs, k: int, generator: np.random.Generator) -> Int64:
    """Return sorted numbers (k,), u * num_targets + v, of distinct absent pairs, where most pairs are absent.

    What a uniform sequence brings, whenever one stops for the sake of its number, is a uniform subset of that number;
    so is what a uniform choice leaves of it. Few more than k pairs are looked at, whatever the number of edges.
    """
    keys = np.empty(0, np.int64)
    while len(keys) < k:
        u, v = pairs.pairs_of(generator.integers(0, pairs.num_admissible, size=k - len(keys) + k // 8 + 8))
        found = np.sort(np.concatenate([keys, u * pairs.num_targets + v]))
        found = found[np.r_[True, found[1:] > found[:-1]]]
        keys = found[~pairs.taken(*np.divmod(found, pairs.num_targets))]
    stays = np.ones(len(keys), bool)
    stays[generator.choice(len(keys), len(keys) - k, replace=False, shuffle=False)] = False
    return keys[stays]


def _inverse_rms(factors: Factors, reduce_block: Reduce | None) -> Tensor:
    """Return (T,), one over the root mean square of dZ over all samples, 0 for targets without gradient."""
    squares = torch.stack([dz.square().sum(1) for _, dz in factors]).sum(0)
    samples = squares.new_tensor([float(sum(dz.shape[1] for _, dz in factors))])
    joined = torch.cat([squares, samples])
    if reduce_block is not None:
        reduce_block(joined)
    rms = (joined[:-1] / joined[-1]).sqrt()
    return torch.where(rms > 0, 1 / rms, 0.0)


def _check_factors(factors: Factors, num_sources: int | None = None, num_targets: int | None = None) -> None:
    if not factors:
        raise ArgumentError(
            "expected captured factors (A, dZ) of at least one backward pass, got none; arm the program first"
        )
    for a, dz in factors:
        wrong = a.dim() != 2 or dz.dim() != 2 or a.shape[1] != dz.shape[1]
        wrong |= num_sources is not None and a.shape[0] != num_sources
        wrong |= num_targets is not None and dz.shape[0] != num_targets
        if wrong:
            raise ShapeError(
                f"expected A of shape ({'S' if num_sources is None else num_sources}, B) and dZ of shape "
                f"({'T' if num_targets is None else num_targets}, B), got {tuple(a.shape)} and {tuple(dz.shape)}"
            )


def pair_scores(factors: Factors, u: Any, v: Any, scale: Scale = "none", reduce_block: Reduce | None = None) -> Tensor:
    """Return (P,), the gradient of the loss for the weight of each pair (signed), on request over the RMS of dZ_v.

    Parameters
    ----------
    factors : list of (A (S, B), dZ (T, B))
    u, v : (P,) int
        Sources and targets.
    scale : {"none", "rms"}
    reduce_block : callable, optional
        Sums a tensor over ranks in place.

    Raises
    ------
    ArgumentError, ShapeError
        If there are no factors or their shapes do not fit.

    Examples
    --------
    >>> pair_scores([(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]))], [0], [0])
    tensor([11.])
    """
    _check_factors(factors)
    device = factors[0][0].device
    sources = torch.as_tensor(np.asarray(u, dtype=np.int64).copy(), device=device)
    targets = torch.as_tensor(np.asarray(v, dtype=np.int64).copy(), device=device)
    scores = factors[0][0].new_zeros(len(sources))
    for a, dz in factors:
        step = max(1, BLOCK_BYTES // (8 * a.element_size() * max(1, a.shape[1])))
        for at in range(0, len(sources), step):
            part = slice(at, at + step)
            scores[part] += (a.index_select(0, sources[part]) * dz.index_select(0, targets[part])).sum(1)
    if reduce_block is not None:
        reduce_block(scores)
    return scores if scale == "none" else scores * _inverse_rms(factors, reduce_block)[targets]


def _blocks(
    pairs: AbsentPairs, factors: Factors, inverse: Tensor | None, reduce_block: Reduce | None
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (first source place, first target place, |scores| of the block), with -1 for pairs that may not grow."""
    device = factors[0][0].device
    plain = pairs.stage is None and pairs.closed is None
    if plain:
        ranked, scales, width = [(a.contiguous(), dz.contiguous()) for a, dz in factors], inverse, pairs.num_targets
    else:
        order, targets = (
            torch.from_numpy(pairs.source_order.copy()).to(device),
            torch.from_numpy(pairs.targets.copy()).to(device),
        )
        fan = torch.from_numpy(pairs.fan.astype(np.int64)).to(device)
        ranked = [(a.index_select(0, order), dz.index_select(0, targets)) for a, dz in factors]
        scales, width = None if inverse is None else inverse[targets], len(targets)
    source, target = pairs.placed
    height = max(1, BLOCK_BYTES // (ranked[0][0].element_size() * max(1, width)))
    work = ranked[0][0].new_empty(min(height, pairs.num_sources) * width)
    for begin in range(0, pairs.num_sources, height):
        end = min(begin + height, pairs.num_sources)
        # Targets come by stage, so those that admit none of these sources come first.
        left = 0 if plain else int(np.searchsorted(pairs.fan, begin, side="right"))
        if left == width:
            return
        block = work[: (end - begin) * (width - left)].view(end - begin, -1)
        for number, (a, dz) in enumerate(ranked):
            add_product(block, a[begin:end], dz[left:].t(), beta=min(number, 1))
        if reduce_block is not None:
            reduce_block(block)
        if scales is not None:
            block *= scales[left:]
        block.abs_()
        if pairs.stage is not None:
            block.masked_fill_(torch.arange(begin, end, device=device)[:, None] >= fan[left:], -1)
        here = slice(*np.searchsorted(source, [begin, end]).tolist())
        rows, columns = source[here] - begin, target[here] - left
        if left:
            rows, columns = rows[columns >= 0], columns[columns >= 0]
        block.view(-1)[torch.from_numpy(rows * block.shape[1] + columns).to(device)] = -1
        yield begin, left, block


def best_absent(
    pairs: AbsentPairs, factors: Factors, k: int, scale: Scale = "none", reduce_block: Reduce | None = None,
    ranked: bool = True,
) -> tuple[Int64, Int64, NDArray[Any]]:  # fmt: skip
    """Return (u (k,), v (k,), score (k,)), the absent pairs with the largest |gradient|, best first.

    Exact: the same as sorting all absent pairs, with ties in canonical order. Memory is bounded by a few blocks of
    64 MB, k pairs, and a copy of the factors.

    Parameters
    ----------
    pairs : AbsentPairs
        What may grow.
    factors : list of (A (S, B), dZ (T, B))
        From `Program.captured`; several passes add up.
    k : int
        At least 0.
    scale : {"none", "rms"}
        "rms" divides each score by the root mean square of dZ_v over the samples.
    reduce_block : callable, optional
        Sums a tensor over ranks in place, so that all ranks choose the same pairs.
    ranked : bool
        Best first; False is faster and returns the same pairs in canonical order.

    Raises
    ------
    ArgumentError
        If there are no factors, k is negative, or gradients are not finite.
    CapacityError
        If fewer than k pairs are absent.
    ShapeError
        If the factors do not fit the pairs.

    Examples
    --------
    >>> a, dz = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [-2.0]])
    >>> u, v, score = best_absent(AbsentPairs(2, 2, [1], [1]), [(a, dz)], 2)
    >>> u.tolist(), v.tolist(), score.tolist()
    ([1, 0], [0, 1], [3.0, 2.0])
    """
    _check_factors(factors, pairs.num_sources, pairs.num_targets)
    if scale not in ("none", "rms"):
        raise ArgumentError(f"expected scale 'none' or 'rms', got {scale!r}")
    pairs.check(k)
    u, v = np.empty(0, np.int64), np.empty(0, np.int64)
    scores = np.empty(0, np.float64)
    if k == 0:
        return u, v, scores
    inverse = _inverse_rms(factors, reduce_block) if scale == "rms" else None
    threshold = 0.0
    for begin, left, block in _blocks(pairs, factors, inverse, reduce_block):
        at, found = largest(block.view(-1), k, threshold)
        rows, columns = np.divmod(at, block.shape[1])
        scores = np.concatenate([scores, found])
        u = np.concatenate([u, pairs.source_order[rows + begin]])
        v = np.concatenate([v, pairs.targets[columns + left]])
        if len(scores) > k:
            chosen = highest(scores, u * pairs.num_targets + v, k)
            u, v, scores = u[chosen], v[chosen], scores[chosen]
            threshold = max(threshold, float(scores.min()))
    if len(scores) < k:
        raise ArgumentError(
            f"expected finite gradients, got {pairs.count - len(scores):,} pairs with a score that is not a number; "
            "look for NaN or infinity in the loss"
        )
    keys = u * pairs.num_targets + v
    if ranked:
        order = np.lexsort((keys, -scores))
    elif (keys[1:] > keys[:-1]).all():
        return u, v, scores
    else:
        order = np.argsort(keys)
    return u[order], v[order], scores[order]


def best_absent_pairs(
    pairs: AbsentPairs, factors: Factors, k: int, scale: Scale = "none", reduce_block: Reduce | None = None
) -> tuple[Int64, Int64]:
    """Return (u (k,), v (k,)), the pairs of `best_absent`, which has the parameters and errors, in canonical order.

    Without scores, which most pairs then do not need: coarse products say that they are too small or large enough.

    Examples
    --------
    >>> a, dz = torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [-2.0]])
    >>> u, v = best_absent_pairs(AbsentPairs(2, 2, [1], [1]), [(a, dz)], 2)
    >>> u.tolist(), v.tolist()
    ([0, 1], [1, 0])
    """
    if reduce_block is None and 0 < k <= pairs.count:
        _check_factors(factors, pairs.num_sources, pairs.num_targets)
        inverse = _inverse_rms(factors, None) if scale == "rms" else None
        found = best_by_bytes(pairs, factors, k, inverse)
        if found is not None:
            return found
    return best_absent(pairs, factors, k, scale, reduce_block, ranked=False)[:2]

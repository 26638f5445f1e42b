"""The best absent pairs without all products: bytes say of most pairs that they are too small to matter.

A row of bytes stands for a row of floats up to an error whose norm is known. By Cauchy and Schwarz the product of two
rows of bytes is then off by a known amount, so pairs that cannot reach the k-th best score are left out, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.kernels.numba_walk import announce, thread_pool
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.selection import highest

if TYPE_CHECKING:
    from deepgraph.kernels.growth import AbsentPairs

__all__ = ["best_by_bytes"]

Floats = NDArray[np.float32]
Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

# Fewer pairs are computed as fast as they are sorted out.
_FEWEST = 1 << 16
# Sources and targets whose pairs give a first guess of the k-th best score.
_SAMPLE = 128
# Targets at a time, whose bytes stay in the second cache, and pairs that are put aside at a time.
_TARGETS = 4096
_CHUNK = 1 << 16
# Below this many multiply-adds a second thread costs more than it saves.
_THREAD_WORK = 64_000_000


def best_by_bytes(
    pairs: AbsentPairs, factors: Sequence[tuple[Tensor, Tensor]], k: int, inverse: Tensor | None
) -> Found | None:
    """Return (u (k,), v (k,), score (k,)), the best absent pairs in canonical order; None where this does not pay.

    Pairs are exactly those of a full sort, with ties in canonical order; their scores are right up to rounding.

    Parameters
    ----------
    pairs : AbsentPairs
    factors : sequence of (A (S, B), dZ (T, B))
    k : int
    inverse : (T,) Tensor, optional
        What the scores of each target are multiplied by.
    """
    if not _worth(pairs, factors, k):
        return None
    from deepgraph.kernels.vector_scores import can_multiply_bytes

    if not can_multiply_bytes():
        return None
    announce()
    search = _Search(pairs, factors, k, inverse)
    for share in (1.0, 4.0):
        limit = search.guess(share)
        # Bounds are float32 numbers that must neither vanish nor overflow.
        if not 1e-20 < limit < 1e20:
            return None
        found = search.above(limit)
        if found is not None:
            return found
    return None


def _worth(pairs: AbsentPairs, factors: Sequence[tuple[Tensor, Tensor]], k: int) -> bool:
    few = pairs.num_admissible < _FEWEST or 8 * k > pairs.count
    plain = pairs.stage is None and pairs.closed is None
    floats = all(side.dtype == torch.float32 and side.device.type == "cpu" for both in factors for side in both)
    batch = sum(a.shape[1] for a, _ in factors)
    return plain and not few and floats and 0 < batch < 2**15 and has_numba()


def _cuts(batches: Sequence[int]) -> NDArray[np.int64]:
    """Return where the chains of sums begin and end: at most 192 products, as matrix products of BLAS have them."""
    ends = [0]
    for batch in batches:
        length = -(-batch // 2) if 192 < batch <= 384 else 192
        start = ends[-1]
        ends += [start + min(at + length, batch) for at in range(0, batch, length)]
    return np.array(ends, np.int64)


def _aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return an array that begins at a multiple of 64 bytes, of zeros."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    begin = -raw.ctypes.data % 64
    found: NDArray[Any] = raw[begin : begin + size].view(dtype).reshape(shape)
    return found


class _Search:
    """Looks for the k best absent pairs."""

    def __init__(
        self, pairs: AbsentPairs, factors: Sequence[tuple[Tensor, Tensor]], k: int, inverse: Tensor | None
    ) -> None:
        from deepgraph.kernels.numba_scores import quantized_sources, quantized_targets
        from deepgraph.kernels.vector_scores import ROWS, WIDTH

        self.pairs, self.k = pairs, k
        self.a, self.z = (_joined([both[side] for both in factors]) for side in (0, 1))
        self.cuts = _cuts([a.shape[1] for a, _ in factors])
        (sources, batch), targets = self.a.shape, self.z.shape[0]
        self.scale = np.ones(targets, np.float32) if inverse is None else inverse.numpy()
        # Both the exact sum and any other one are off by half a last bit for each product, and some more.
        self.slack = (batch + 32) * 2.0**-23
        groups, blocks = -(-batch // 4), -(-targets // WIDTH)
        left, right = np.zeros((sources + ROWS - 1, 4 * groups), np.uint8), _aligned((blocks, groups, WIDTH), np.int32)
        rows, columns = np.zeros((sources + ROWS - 1, 4), np.float32), np.zeros((4, blocks * WIDTH), np.float32)
        quantized_sources(self.a, self.slack, left, rows)
        quantized_targets(self.z, self.scale, right, columns)
        self.coarse = left, rows, right, columns
        self.slack_of_all = self.slack * float(rows[:, 3].max()) * float(columns[2].max())
        indptr, dst, stays = pairs.compressed
        self.edges = indptr, dst, stays

    def guess(self, share: float) -> float:
        """Return what the k-th best score reaches almost surely, for a larger `share` more surely."""
        rows, columns = (
            np.unique((np.arange(_SAMPLE) * 0.6180339887 % 1 * size).astype(np.int64))
            for size in (len(self.a), len(self.z))
        )
        sample = np.abs(self.a[rows] @ self.z[columns].T) * self.scale[columns]
        expected = self.k / self.pairs.count * sample.size
        rank = int(share * (1.2 * expected + 4 * math.sqrt(expected) + 8))
        if rank >= sample.size:
            return 0.0
        return float(np.partition(sample, sample.size - rank, axis=None)[sample.size - rank])

    def above(self, limit: float) -> Found | None:
        """Return the best pairs if k scores reach `limit`, else None."""
        self.limit, self.first_limit = limit, limit
        self.parts: list[tuple[Any, Any, Floats]] = []
        self.held = 0
        targets = len(self.z)
        threads = torch.get_num_threads() if self.a.size * targets >= _THREAD_WORK else 1
        ends = np.linspace(0, len(self.a), threads + 1).astype(np.int64).tolist()
        for left in range(0, targets, _TARGETS):
            tasks = [(begin, end, left, min(left + _TARGETS, targets)) for begin, end in zip(ends, ends[1:])]
            if threads == 1:
                self._scan(*tasks[0])
            else:
                list(thread_pool(threads).map(lambda task: self._scan(*task), tasks))
        u, v, score = (np.concatenate(side) for side in zip(*self.parts, strict=True))
        return self._chosen(u, v, score)

    def _scan(self, begin: int, end: int, left: int, right: int) -> None:
        """Put aside the pairs of some sources and targets that may be among the best."""
        from deepgraph.kernels.numba_scores import scan
        from deepgraph.kernels.vector_scores import ROWS

        width = right - left
        room = max(_CHUNK, 2 * ROWS * width)
        hits, marks = np.zeros((ROWS, 4), np.int64), np.zeros((ROWS, width), np.uint8)
        work = hits, marks, np.empty((ROWS, width + 1), np.int32)
        found = np.empty(room, np.int32), np.empty(room, np.int32), np.empty(room, np.float32)
        while begin < end:
            bounds = begin, end, left, right
            limit = np.float32(self.limit)
            begin, count = scan(
                self.a, self.z, self.scale, self.coarse, self.edges, limit, self.slack, bounds, work, found
            )
            self._put_aside([side[:count].copy() for side in found])

    def _put_aside(self, part: list[NDArray[Any]]) -> None:
        self.parts.append((part[0], part[1], part[2]))
        self.held += len(part[0])
        if self.held > 3 * self.k + 2 * _CHUNK:
            # More than expected: what is below the k-th best so far is of no use.
            u, v, score = (np.concatenate(side) for side in zip(*self.parts, strict=True))
            self.limit = max(self.limit, float(_kth(score, self.k)) - 2 * self.slack_of_all)
            stays = score >= self.limit - 2 * self.slack_of_all
            self.parts = [(u[stays], v[stays], score[stays])]
            self.held = int(stays.sum())

    def _chosen(self, u: NDArray[Any], v: NDArray[Any], score: Floats) -> Found | None:
        """Return the best of the pairs (N,) that were put aside, None where there may be better ones."""
        if len(score) < self.k:
            return None
        kth, off = float(_kth(score, self.k)), 2 * self.slack_of_all
        if kth - off < self.first_limit:
            return None
        chosen = score > kth + off
        near = np.flatnonzero(~chosen & (score >= kth - off))
        missing = self.k - int(chosen.sum())
        if missing < len(near):
            near = near[highest(self._exact(u[near], v[near]), self._keys(u[near], v[near]), missing)]
        chosen[near] = True
        u, v, score = u[chosen].astype(np.int64), v[chosen].astype(np.int64), score[chosen]
        keys = self._keys(u, v)
        if not (keys[1:] > keys[:-1]).all():
            order = np.argsort(keys)
            u, v, score = u[order], v[order], score[order]
        return u, v, score.astype(np.float64)

    def _keys(self, u: NDArray[Any], v: NDArray[Any]) -> NDArray[np.int64]:
        keys: NDArray[np.int64] = u.astype(np.int64) * self.pairs.num_targets + v
        return keys

    def _exact(self, u: NDArray[Any], v: NDArray[Any]) -> NDArray[np.float64]:
        from deepgraph.kernels.numba_scores import exact_scores

        scores = np.empty(len(u), np.float32)
        exact_scores(self.a, self.z, self.scale, self.cuts, u, v, scores)
        return scores.astype(np.float64)


def _joined(sides: list[Tensor]) -> Floats:
    joined = sides[0] if len(sides) == 1 else torch.cat(sides, 1)
    found: Floats = joined.detach().contiguous().numpy()
    return found


def _kth(scores: Floats, k: int) -> Any:
    return np.partition(scores, len(scores) - k)[len(scores) - k]

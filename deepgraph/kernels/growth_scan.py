"""The best absent pairs without all products: bytes say of most pairs that they are too small to matter.

A row of bytes stands for a row of floats up to an error whose norm is known. By Cauchy and Schwarz the product of two
rows of bytes is then off by a known amount, so pairs that cannot reach the k-th best score are left out, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.kernels.absent_pairs import AbsentPairs
from deepgraph.kernels.compiler import has_numba
from deepgraph.kernels.numba_walk import announce, thread_pool
from deepgraph.kernels.selection import highest

__all__ = ["best_by_bytes"]

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
Part = tuple[Ids, Ids, Floats, Floats]
"""Sources and targets of pairs, and the lowest and the highest that their scores may be."""

_PART = (np.int32, np.int32, np.float32, np.float32)

# Fewer pairs are computed as fast as they are sorted out.
_FEWEST = 1 << 16
# Sources and targets whose pairs give a first guess of the k-th best score.
_SAMPLE = 160
# Targets at a time, whose bytes stay in the second cache, and pairs that are put aside at a time.
_TARGETS = 4096
_CHUNK = 1 << 16
# Below this many multiply-adds a second thread costs more than it saves.
_THREAD_WORK = 64_000_000


def best_by_bytes(
    pairs: AbsentPairs, factors: Sequence[tuple[Tensor, Tensor]], k: int, inverse: Tensor | None
) -> Pairs | None:
    """Return (u (k,), v (k,)), the best absent pairs; None where this does not pay.

    They are exactly those of a full sort, with ties in canonical order.

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
    for share in (1.0, 2.0, 8.0):
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
        quantized_sources(self.a, *_extremes(self.a), self.slack, left, rows)
        quantized_targets(self.z, *_extremes(self.z), self.scale, right, columns)
        self.coarse = left, rows, right, columns
        self.slack_of_all = self.slack * float(rows[:, 3].max()) * float(columns[2].max())
        self.edges = pairs.compressed

    def guess(self, share: float) -> float:
        """Return what the k-th best score reaches almost surely, for a larger `share` more surely."""
        rows, columns = _some(len(self.a)), _some(len(self.z))
        product = torch.from_numpy(self.a[rows]) @ torch.from_numpy(self.z[columns]).T
        sample = np.abs(product.numpy()) * self.scale[columns]
        expected = self.k / self.pairs.count * sample.size
        rank = int(share * (1.3 * expected + 3 * math.sqrt(expected) + 8))
        # Neurons that are off make many zeros, and equal numbers make partitions slow.
        sample = sample[sample > 0]
        return float(_kth(sample, rank)) if rank <= len(sample) else 0.0

    def above(self, limit: float) -> Pairs | None:
        """Return the best pairs if k scores reach `limit`, else None."""
        self.limit = limit
        self.parts: list[Part] = []
        self.held = 0
        targets = len(self.z)
        threads = torch.get_num_threads() if self.a.size * targets >= _THREAD_WORK else 1
        ends = np.linspace(0, len(self.a), threads + 1).astype(np.int64).tolist()
        for left in range(0, targets, _TARGETS):
            tasks = [(begin, end, left, min(left + _TARGETS, targets)) for begin, end in pairwise(ends)]
            if threads == 1:
                self._scan(tasks[0])
            else:
                list(thread_pool(threads).map(self._scan, tasks))
        return self._chosen(*_together(self.parts), limit)

    def _scan(self, bounds: tuple[int, int, int, int]) -> None:
        """Put aside the pairs of some sources and targets that may be among the best."""
        from deepgraph.kernels.numba_scores import scan
        from deepgraph.kernels.vector_scores import ROWS, WIDTH

        begin, end, left, right = bounds
        width = right - left
        room = max(_CHUNK, 2 * ROWS * width)
        work = (
            np.zeros((ROWS, 4), np.int64), np.empty((2, ROWS, WIDTH), np.float32), np.zeros((ROWS, width), np.uint8),
            *(np.empty((ROWS, width + 1), dtype) for dtype in _PART[1:]),
        )  # fmt: skip
        found: tuple[NDArray[Any], ...] = tuple(np.empty(room, dtype) for dtype in _PART)
        while begin < end:
            begin, count = scan(self.coarse, self.edges, np.float32(self.limit), (begin, end, left, right), work, found)
            u, v, low, high = (side[:count].copy() for side in found)
            self._put_aside((u, v, low, high))

    def _put_aside(self, part: Part) -> None:
        self.parts.append(part)
        self.held += len(part[0])
        if self.held > 3 * self.k + 2 * _CHUNK:
            # More than expected: what is below the k-th best so far is of no use.
            u, v, low, high = _together(self.parts)
            self.limit = max(self.limit, float(_kth(low, self.k)))
            stays = np.flatnonzero(high >= self.limit)
            self.parts = [(u[stays], v[stays], low[stays], high[stays])]
            self.held = len(stays)

    def _chosen(self, u: Ids, v: Ids, low: Floats, high: Floats, limit: float) -> Pairs | None:
        """Return the best of the pairs (N,) that were put aside, None where there may be better ones."""
        if len(u) < self.k:
            return None
        least, most = (float(_kth(side, self.k)) for side in (low, high))
        rows = np.flatnonzero(high >= least)
        unclear = np.flatnonzero(low[rows] <= most)
        at, missing = rows[unclear], self.k - (len(rows) - len(unclear))
        scores = self._scores(u[at], v[at])
        kth, off = float(_kth(scores, missing)), 2 * self.slack_of_all
        if kth - off < limit:
            return None
        stays = np.ones(len(rows), bool)
        stays[unclear] = self._best(u[at], v[at], scores, kth, off, missing)
        rows = rows[stays]
        return u[rows].astype(np.int64), v[rows].astype(np.int64)

    def _scores(self, u: Ids, v: Ids) -> Floats:
        """Return the scores of pairs (N,), off by at most `slack_of_all`."""
        from deepgraph.kernels.numba_scores import close_scores

        scores = np.empty(len(u), np.float32)
        close_scores(self.a, self.z, self.scale, u, v, scores)
        return scores

    def _best(self, u: Ids, v: Ids, scores: Floats, kth: float, off: float, count: int) -> NDArray[np.bool_]:
        """Return which of the pairs (N,) are the best `count`, ties in canonical order; the last is near `kth`."""
        from deepgraph.kernels.numba_scores import exact_scores

        chosen = scores > kth + off
        near = np.flatnonzero(~chosen & (scores >= kth - off))
        exact = np.empty(len(near), np.float32)
        exact_scores(self.a, self.z, self.scale, self.cuts, u[near], v[near], exact)
        keys = u[near].astype(np.int64) * self.pairs.num_targets + v[near]
        chosen[near[highest(exact.astype(np.float64), keys, count - int(chosen.sum()))]] = True
        return chosen


def _together(parts: list[Part]) -> Part:
    """Return parts as one, in canonical order if each part is and they follow each other."""
    u, v, low, high = (np.concatenate(side) for side in zip(*parts, strict=True))
    return u, v, low, high


@cache
def _some(size: int) -> NDArray[np.int64]:
    """Return some of the numbers below `size`, everywhere alike and in no rhythm."""
    return np.unique((np.arange(_SAMPLE) * 0.6180339887 % 1 * size).astype(np.int64))


def _joined(sides: list[Tensor]) -> Floats:
    joined = sides[0] if len(sides) == 1 else torch.cat(sides, 1)
    found: Floats = joined.detach().contiguous().numpy()
    return found


def _extremes(rows: Floats) -> tuple[Floats, Floats]:
    tensor = torch.from_numpy(rows)
    return tensor.amin(1).numpy(), tensor.amax(1).numpy()


def _kth(scores: Floats, k: int) -> Any:
    return np.partition(scores, len(scores) - k)[len(scores) - k]

"""The best absent pairs without all products: bytes say of most pairs that they are too small to matter.

By Cauchy and Schwarz a source or a target whose row is short has no pair that reaches the k-th best score. A row of
bytes stands for a row of floats up to an error whose norm is known; by the same inequality the product of two rows of
bytes is off by a known amount. So pairs that cannot reach the k-th best score are left out, exactly.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepgraph.kernels.absent_pairs import AbsentPairs
from deepgraph.kernels.buffers import Buffers
from deepgraph.kernels.compiler import has_numba
from deepgraph.kernels.numba_walk import announce, thread_pool

__all__ = ["best_by_bytes"]

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
Part = tuple[Ids, Ids, Floats, Floats]
"""Sources and targets of pairs, and the lowest and the highest that their scores may be."""

_PART = (np.int32, np.int32, np.float32, np.float32)

# Fewer pairs are computed as fast as they are sorted out, and fewer still as fast by a matrix product.
_FEWEST, _TOO_FEW = 1 << 16, 1 << 11
# Sources and targets whose pairs give a first guess of the k-th best score, how much more often long ones are among
# them, and how many times k pairs shall reach the guess.
_SAMPLE, _BEND, _MARGIN = 128, 2.0, 1.2
# Targets at a time, whose bytes stay in the second cache, and pairs that are put aside at a time.
_TARGETS = 4096
_CHUNK = 1 << 16
# As many are looked for in one go.
_MOST = 1 << 20
# Below this many multiply-adds a second thread costs more than it saves.
_THREAD_WORK = 64_000_000
# A search needs the same few arrays as the one before: memory that stays mapped.
_memory = Buffers(16)


def best_by_bytes(
    pairs: AbsentPairs, factors: Sequence[tuple[Tensor, Tensor]], k: int, inverse: Tensor | None
) -> Pairs | None:
    """Return (u (k,), v (k,)), the best absent pairs in canonical order; None where this does not pay.

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
    found = search.all() if pairs.num_admissible < _FEWEST else search.at_once()
    if found is not None or pairs.num_admissible < _FEWEST:
        return found
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
    if pairs.stage is not None or pairs.closed is not None or pairs.num_admissible < _TOO_FEW or not has_numba():
        return False
    if pairs.num_admissible >= _FEWEST and 8 * k > pairs.count:
        return False
    floats = all(side.dtype == torch.float32 and side.device.type == "cpu" for both in factors for side in both)
    return floats and 0 < sum(a.shape[1] for a, _ in factors) < 2**15


@cache
def _cuts(batches: tuple[int, ...]) -> NDArray[np.int64]:
    """Return where the chains of sums begin and end: at most 192 products, as matrix products of BLAS have them."""
    ends = [0]
    for batch in batches:
        length = -(-batch // 2) if 192 < batch <= 384 else 192
        start = ends[-1]
        ends += [start + min(at + length, batch) for at in range(0, batch, length)]
    return np.array(ends, np.int64)


class _Search:
    """Looks for the k best absent pairs."""

    def __init__(
        self, pairs: AbsentPairs, factors: Sequence[tuple[Tensor, Tensor]], k: int, inverse: Tensor | None
    ) -> None:
        self.pairs, self.k = pairs, k
        self.a, self.z = (_joined([both[side] for both in factors]) for side in (0, 1))
        self.cuts = _cuts(tuple(a.shape[1] for a, _ in factors))
        self.scaled = inverse is not None
        self.scale = np.ones(len(self.z), np.float32) if inverse is None else inverse.numpy()
        # Both the exact sum and any other one are off by half a last bit for each product, and some more.
        self.slack = (self.a.shape[1] + 32) * 2.0**-23
        # Norms, lowest and highest numbers of the rows.
        self.known_a, self.known_z = _facts(self.a), _facts(self.z)
        if self.scaled:
            self.known_z[0][:] *= self.scale
        self.most_a, self.most_z = (float(known[0].max()) for known in (self.known_a, self.known_z))
        self.slack_of_all = self.slack * self.most_a * self.most_z
        self.edges = pairs.compressed
        self.lock = threading.Lock()

    def _sample(self) -> tuple[Any, ...] | None:
        """Return gradients of some pairs, their sources and targets, and what these stand for; None if all are 0."""
        from deepgraph.kernels.numba_scores import sampled_rows

        places, weights = _places()
        names = np.empty((2, _SAMPLE), np.int64)
        rows, columns = (_memory.array((_SAMPLE, self.a.shape[1]), np.float32) for _ in range(2))
        none = names[0, :0].view(np.float32)
        sources = sampled_rows(self.a, self.known_a[0], none, places, names[0], rows)
        targets = sampled_rows(
            self.z, self.known_z[0], self.scale if self.scaled else none, places, names[1], columns
        )  # fmt: skip
        if not (sources and targets):
            return None
        product = torch.mm(torch.from_numpy(rows), torch.from_numpy(columns).t()).numpy().view(np.int32)
        return product, (names[0], names[1]), (weights * sources, weights * targets)

    def guess(self, share: float) -> float:
        """Return what the k-th best score reaches almost surely, for a larger `share` more surely."""
        from deepgraph.kernels.numba_scores import weighted_limit

        sample = self._sample()
        if sample is None:
            return 0.0
        product, names, weights = sample
        wanted = _MARGIN * share * self.k
        bits = weighted_limit(product, names, self.edges, self.pairs.num_targets, weights, wanted)
        return float(np.int32(bits).view(np.float32))

    def at_once(self) -> Pairs | None:
        """Return the best pairs as one thread finds them soonest; None where that takes threads or a better guess."""
        from deepgraph.kernels.numba_search import search

        shared = torch.get_num_threads() > 1 and len(self.a) * self.a.shape[1] * len(self.z) >= _THREAD_WORK
        if shared or len(self.z) > _TARGETS or self.k > _MOST:
            return None
        sample = self._sample()
        if sample is None:
            return None
        known, tensors = (self.known_a, self.known_z, self.most_a, self.most_z), (self.a, self.z, self.scale)
        us, vs = np.empty(self.k + 1, np.int64), np.empty(self.k + 1, np.int64)
        sample = *sample, _MARGIN * self.k
        coarse, found = self._bytes(), self._room(len(self.z), 3 * self.k)
        work = _work(len(found[0]))
        if search(tensors, known, sample, self.edges, self.k, self.slack, self.cuts, coarse, found, work, us, vs):
            return us[: self.k], vs[: self.k]
        return None

    def _bytes(self) -> tuple[NDArray[Any], ...]:
        """Return room for the bytes of all sources, and what is known of each, and for those of all targets."""
        from deepgraph.kernels.vector_scores import ROWS, WIDTH

        (sources, batch), targets = self.a.shape, len(self.z)
        groups, blocks = -(-batch // 4), -(-targets // WIDTH)
        return (
            _memory.array((sources + ROWS - 1, 4 * groups), np.uint8),
            _memory.array((sources + ROWS - 1, 4), np.float32),
            _memory.array((blocks, groups, WIDTH), np.int32),
            _memory.array((4, blocks * WIDTH), np.float32),
        )

    def _room(self, width: int, pairs: int = 0) -> tuple[NDArray[Any], ...]:
        """Return room for pairs that a scan finds, among them all of a tile of `width` targets, twice."""
        from deepgraph.kernels.vector_scores import ROWS

        room = max(_CHUNK, 2 * ROWS * width, pairs)
        return tuple(_memory.array((room,), dtype) for dtype in _PART)

    def _quantize(self, limit: float) -> None:
        """Make bytes of the sources and targets that have a pair which may reach `limit`."""
        from deepgraph.kernels.numba_scores import quantized_sources, quantized_targets

        left, above, right, below = self.coarse = self._bytes()
        names = np.empty(len(self.a), np.int64), np.empty(len(self.z), np.int64)
        rows = quantized_sources(self.a, self.known_a, self.most_z, limit, self.slack, names[0], left, above)
        columns = quantized_targets(self.z, self.known_z, self.most_a, limit, self.scale, names[1], right, below)
        self.rows, self.columns = names[0][:rows], names[1][:columns]

    def above(self, limit: float) -> Pairs | None:
        """Return the best pairs if k scores reach `limit`, else None."""
        self.limit = limit
        self.parts: list[Part] = []
        self.held = 0
        self._quantize(limit)
        sources, targets = len(self.rows), len(self.columns)
        if sources * targets < self.k:
            return None
        threads = torch.get_num_threads() if sources * targets * self.a.shape[1] >= _THREAD_WORK else 1
        ends = [sources * number // threads for number in range(threads + 1)]
        for left in range(0, targets, _TARGETS):
            tasks = [(begin, end, left, min(left + _TARGETS, targets)) for begin, end in pairwise(ends)]
            if threads == 1:
                self._scan(tasks[0])
            else:
                list(thread_pool(threads).map(self._scan, tasks))
        return self._chosen(_together(self.parts), limit)

    def all(self) -> Pairs | None:
        """Return the best pairs, by the scores of all; None where these are not finite."""
        from deepgraph.kernels.numba_scores import free_pairs

        if not math.isfinite(self.slack_of_all):
            return None
        u, v = (np.empty(self.pairs.num_admissible, np.int32) for _ in range(2))
        count = free_pairs(self.edges, self.pairs.num_targets, u, v)
        bound = np.zeros(count, np.float32)
        return self._chosen((u[:count], v[:count], bound, bound), -math.inf)

    def _scan(self, bounds: tuple[int, int, int, int]) -> None:
        """Put aside the pairs of some sources and targets that may be among the best."""
        from deepgraph.kernels.numba_scores import scan

        begin, end, left, right = bounds
        found = self._room(right - left)
        while begin < end:
            bounds = begin, end, left, right
            names = self.rows, self.columns
            begin, count = scan(self.coarse, names, self.edges, np.float32(self.limit), bounds, found)
            # What the next round does not write over need not be copied.
            last = begin >= end
            u, v, low, high = (side[:count] if last else side[:count].copy() for side in found)
            with self.lock:
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

    def _chosen(self, part: Part, limit: float) -> Pairs | None:
        """Return the best of the pairs (N,) that were put aside, None where there may be better ones."""
        from deepgraph.kernels.numba_search import choose

        if not _ascending(*part[:2]):
            order = np.lexsort(part[1::-1])
            part = part[0][order], part[1][order], part[2][order], part[3][order]
        us, vs = np.empty(self.k + 1, np.int64), np.empty(self.k + 1, np.int64)
        work, tensors = _work(len(part[0])), (self.a, self.z, self.scale)
        if choose(tensors, self.cuts, part, self.k, limit, self.slack_of_all, work, us, vs):
            return us[: self.k], vs[: self.k]
        return None


def _work(size: int) -> tuple[NDArray[Any], ...]:
    """Return room for what `choose` writes of so many pairs."""
    return tuple(_memory.array((size,), kind) for kind in (np.uint8, np.int32, np.uint32, np.float32, np.float32))


def _ascending(u: Ids, v: Ids) -> bool:
    return bool(((u[1:] > u[:-1]) | ((u[1:] == u[:-1]) & (v[1:] > v[:-1]))).all())


def _together(parts: list[Part]) -> Part:
    """Return parts as one, in canonical order if each part is and they follow each other."""
    if len(parts) == 1:
        return parts[0]
    u, v, low, high = (np.concatenate(side) for side in zip(*parts, strict=True))
    return u, v, low, high


@cache
def _places() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where in a list, in [0, 1), the rows of a sample are, and the share of the list that each stands for."""
    middles, ends = (np.arange(_SAMPLE) + 0.5) / _SAMPLE, np.arange(_SAMPLE + 1) / _SAMPLE
    return middles**_BEND, np.diff(ends**_BEND)


def _joined(sides: list[Tensor]) -> Floats:
    joined = sides[0] if len(sides) == 1 else torch.cat(sides, 1)
    found: Floats = joined.detach().contiguous().numpy()
    return found


def _facts(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the norms (N,), somewhat too large, of rows (N, B), and their lowest and highest numbers."""
    from deepgraph.kernels.numba_scores import row_facts

    norms, lows, highs = (np.empty(len(rows), np.float32) for _ in range(3))
    row_facts(rows, norms, lows, highs)
    return norms, lows, highs


def _kth(scores: Floats, k: int) -> Any:
    return np.partition(scores, len(scores) - k)[len(scores) - k]

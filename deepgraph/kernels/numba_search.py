"""The whole search for the largest gradients of absent pairs as one call, for one thread.

What surrounds a loop costs more than the loop where edges are few. Importing this file imports numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.numba_scores import (
    close_scores,
    exact_scores,
    quantized_sources,
    quantized_targets,
    scan,
    taken_pairs,
    weighted_limit,
)

__all__ = ["choose", "kth_highest", "search"]

_DIGITS = 11
_MASK, _MANY = (1 << _DIGITS) - 1, 1 << 13
_SIZE, _SIGN = np.int32(0x7FFFFFFF), np.int32(31)


def _kth_loop(numbers: Any, k: int, keys: Any) -> Any:
    """Return the k-th highest of float32 numbers (N,), 1 <= k <= N, none of them NaN; keys (N,) uint32 are written."""
    count, shift = numbers.shape[0], 32
    # Integers in the order of the floats, the lowest of which is 0; digits from the highest on say which is the k-th.
    bits = numbers.view(np.int32)
    for i in range(count):
        keys[i] = np.int64(bits[i] ^ ((bits[i] >> _SIGN) & _SIZE)) + 2**31
    totals, left = np.empty(1 << _DIGITS, np.int32), k
    # Several counts of the same digit, so that none waits for the one before.
    parts = np.empty((4, 1 << _DIGITS), np.int32)
    while shift > 0:
        shift = max(shift - _DIGITS, 0)
        totals[:] = 0
        whole = count - count % 4 if count > _MANY else 0
        if whole:
            parts[:] = 0
            for i in range(0, whole, 4):
                parts[0, (keys[i] >> shift) & _MASK] += 1
                parts[1, (keys[i + 1] >> shift) & _MASK] += 1
                parts[2, (keys[i + 2] >> shift) & _MASK] += 1
                parts[3, (keys[i + 3] >> shift) & _MASK] += 1
            for digit in range(totals.shape[0]):
                totals[digit] = parts[0, digit] + parts[1, digit] + parts[2, digit] + parts[3, digit]
        for i in range(whole, count):
            totals[(keys[i] >> shift) & _MASK] += 1
        digit = _MASK
        while totals[digit] < left:
            left -= totals[digit]
            digit -= 1
        kept = 0
        for i in range(count):
            key = keys[i]
            keys[kept] = key
            kept += ((key >> shift) & _MASK) == digit
        count = kept
    found = np.empty(1, np.int32)
    found[0] = np.int64(keys[0]) - 2**31
    found[0] ^= (found[0] >> _SIGN) & _SIZE
    return found.view(np.float32)[0]


kth_highest = compiled(_kth_loop)


def _choose_loop(
    tensors: Any, cuts: Any, pairs: Any, k: int, limit: float, slack: Any, work: Any, us: Any, vs: Any
) -> int:  # fmt: skip
    """Fill us and vs (k + 1,) with the best of pairs, in canonical order; return 0 where there may be better ones.

    `pairs` (N,) are as `scan` finds them, in canonical order, with all whose score reaches `limit` among them; `slack`
    is how much a sum may be off. `work` has room for uint8, int32, uint32 and twice float32 numbers of N pairs.
    """
    (a, z, scale), (u, v, low, high), (stays, near, keys, scores, exact) = tensors, pairs, work
    if u.shape[0] < k:
        return 0
    least, most = kth_highest(low, k, keys), kth_highest(high, k, keys)
    sure, number = close_scores(a, z, scale, pairs, least, most, stays, near, scores)
    kth, off = kth_highest(scores[:number], k - sure, keys), np.float32(2 * slack)
    if not kth - off >= limit:
        return 0
    above, number = exact_scores(a, z, scale, cuts, (u, v), scores[:number], kth, off, stays, near, exact)
    missing = k - sure - above
    last = kth_highest(exact[:number], missing, keys)
    # Of those at the last score the first ones: they come in canonical order.
    for n in range(number):
        missing -= exact[n] > last
    for n in range(number):
        tied = (exact[n] == last) & (missing > 0)
        missing -= tied
        stays[near[n]] = (exact[n] > last) | tied
    taken_pairs(u, v, stays, us, vs)
    return 1


choose = compiled(_choose_loop)


def _search_loop(
    tensors: Any, known: Any, sample: Any, edges: Any, k: int, slack: float, cuts: Any, coarse: Any, found: Any,
    work: Any, us: Any, vs: Any,
) -> Any:  # fmt: skip
    """Fill us and vs (k + 1,) with the best absent pairs in canonical order; return 0 where that takes a better guess.

    `tensors` are (a (S, B), z (T, B), scale (T,)), `known` what `row_facts` says of both and the largest norm of
    either, `sample` the first arguments of `weighted_limit` but for edges, and how many pairs shall reach the guess.
    `coarse` is filled by `quantized_sources` and `quantized_targets`, `found` by `scan`, `work` is that
    of `choose`.
    """
    (a, z, scale), (known_a, known_z, most_a, most_z), (bits, names, weights, wanted) = tensors, known, sample
    guess = np.empty(1, np.int32)
    guess[0] = weighted_limit(bits, names, edges, z.shape[0], weights, wanted)
    limit = guess.view(np.float32)[0]
    # Bounds are float32 numbers that must neither vanish nor overflow.
    if not 1e-20 < limit < 1e20:
        return 0
    left, above, right, below = coarse
    rows, columns = np.empty(a.shape[0], np.int64), np.empty(z.shape[0], np.int64)
    sources = quantized_sources(a, known_a, most_z, limit, slack, rows, left, above)
    targets = quantized_targets(z, known_z, most_a, limit, scale, columns, right, below)
    if sources * targets < k:
        return 0
    bounds = (0, sources, 0, targets)
    end, count = scan(coarse, (rows[:sources], columns[:targets]), edges, limit, bounds, found)
    u, v, low, high = found
    if end < sources:
        return 0
    pairs = (u[:count], v[:count], low[:count], high[:count])
    return choose(tensors, cuts, pairs, k, limit, slack * most_a * most_z, work, us, vs)


search = compiled(_search_loop)

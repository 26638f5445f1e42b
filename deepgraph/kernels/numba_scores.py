"""The compiled search for the largest gradients of absent pairs.

Rows are first multiplied as bytes, which says of nearly all pairs that they are too small; the others are computed.
Importing this file imports numba and compiles nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.vector_scores import ROWS, WIDTH, chained_product, coarse_tile, lowest_bit, row_product

__all__ = [
    "close_scores", "exact_scores", "free_pairs", "quantized_sources", "quantized_targets", "row_facts", "sampled_rows",
    "scan", "taken_pairs", "weighted_limit",
]  # fmt: skip

_LANES = 16
# Norms are rounded up by more than they can be off: sums of squares, and, in units, the numbers that are squared.
_UP, _OFF = 1.0001, 1e-4
# More than the norm of a row whose squares are all too small for floats.
TINY = 1e-16


# Numbers of one octave that are told apart, as a power of two, and how many of them are told apart in all.
_FINE, _BINS = 6, 1024
# What is left of the bits of a float without its sign, and from where on they are those of infinity or NaN.
_SIZE, _NOT_FINITE = 0x7FFFFFFF, 0x7F800000


def _limit_loop(bits: Any, names: Any, edges: Any, num_targets: int, weights_of: Any, wanted: float) -> Any:
    """Return the bits of a number that sizes (R, C) of a weight of `wanted` or more almost surely reach, 0 for none.

    `bits` (R, C) int32 are those of gradients, each of which stands for as many pairs as its row times its column; the
    weight that is counted is three standard deviations less. `names` (R,) and (C,) are sources and targets: edges that
    stay count for nothing, and become 0. -1 where one is no finite number.
    """
    rows_of, columns_of = names
    (indptr, dst, stays), (row_weights, column_weights) = edges, weights_of
    highest, taken = 0, np.zeros(num_targets, np.uint8)
    for i in range(bits.shape[0]):
        first, last = indptr[rows_of[i]], indptr[rows_of[i] + 1]
        for e in range(first, last):
            taken[dst[e]] = stays[e]
        for j in range(bits.shape[1]):
            size = bits[i, j] & _SIZE
            if size >= _NOT_FINITE:
                return -1
            bits[i, j] = 0 if taken[columns_of[j]] else size
            highest = max(highest, bits[i, j])
        for e in range(first, last):
            taken[dst[e]] = 0
    weights, squares = np.zeros(_BINS), np.zeros(_BINS)
    for i in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            below = (highest - bits[i, j]) >> (23 - _FINE)
            if below < _BINS:
                weight = row_weights[i] * column_weights[j]
                weights[below] += weight
                squares[below] += weight * weight
    total, square = 0.0, 0.0
    for below in range(_BINS):
        total += weights[below]
        square += squares[below]
        if total - 3 * math.sqrt(square) >= wanted:
            # The lowest number of these, which may be a hair below 0.
            return max(highest - ((below + 1) << (23 - _FINE)) + 1, 0)
    return 0


weighted_limit = compiled(_limit_loop)


def _quantized_loop(row: Any, low: Any, inverse: Any, out: Any) -> Any:
    """Fill out (B or more,) with the units above `low` of a row (B,); return norms in units.

    They are those of the row, of what its bytes stand for, and of the difference.
    """
    norm = coarse = error = half = low * 0
    half += 0.5
    start = low * inverse
    for b in range(row.shape[0]):
        exact = row[b] * inverse
        above = math.floor(exact - start + half)
        out[b] = np.int32(above)
        rounded = above + start
        norm += exact * exact
        coarse += rounded * rounded
        error += (exact - rounded) * (exact - rounded)
    return math.sqrt(norm) * _UP, math.sqrt(coarse) * _UP, math.sqrt(error) * _UP + _OFF * math.sqrt(row.shape[0])


_quantized = compiled(_quantized_loop, any_order=True)


def _facts_loop(rows: Any, norms: Any, lows: Any, highs: Any) -> None:
    """Fill the norms (N,), somewhat too large, of rows (N, B), and their lowest and highest numbers.

    Too large by more than rounding, and squares that vanish, can take away.
    """
    bits, low_bits, high_bits = rows.view(np.int32), lows.view(np.int32), highs.view(np.int32)
    size, sign = np.int32(_SIZE), np.int32(31)
    for i in range(rows.shape[0]):
        total = rows[i, 0] * 0
        for b in range(rows.shape[1]):
            total += rows[i, b] * rows[i, b]
        norms[i] = math.sqrt(total) * 1.02 + TINY
        # Integers in the order of the floats: comparisons of floats, which know NaN, are not vectorised.
        low, high = size, ~size
        for b in range(rows.shape[1]):
            number = bits[i, b] ^ ((bits[i, b] >> sign) & size)
            low, high = min(low, number), max(high, number)
        low_bits[i], high_bits[i] = low ^ ((low >> sign) & size), high ^ ((high >> sign) & size)


row_facts = compiled(_facts_loop, any_order=True)


def _sample_loop(rows: Any, long: Any, scale: Any, places: Any, names: Any, out: Any) -> int:
    """Fill out (P, B) with some of the rows (N, B) whose norms `long` (N,) are not 0; return how many rows these are.

    Of these, the longest first, they are those at `places` (P,), in [0, 1), times their `scale` (N,), which may be
    empty. Fills `names` (P,) with their numbers.
    """
    bits, highest, live = long.view(np.int32), 0, 0
    for i in range(bits.shape[0]):
        highest = max(highest, bits[i])
    ends = np.zeros(_BINS + 1, np.int64)
    for i in range(bits.shape[0]):
        if long[i] > 2 * TINY:
            ends[min((highest - bits[i]) >> (23 - _FINE), _BINS - 1) + 1] += 1
            live += 1
    if live == 0:
        return 0
    for length in range(_BINS):
        ends[length + 1] += ends[length]
    order = np.empty(live, np.int64)
    for i in range(bits.shape[0]):
        if long[i] > 2 * TINY:
            length = min((highest - bits[i]) >> (23 - _FINE), _BINS - 1)
            order[ends[length]] = i
            ends[length] += 1
    for p in range(places.shape[0]):
        row = names[p] = order[int(places[p] * live)]
        factor = scale[row] if scale.shape[0] else out.dtype.type(1)
        for b in range(out.shape[1]):
            out[p, b] = rows[row, b] * factor
    return live


sampled_rows = compiled(_sample_loop)


def _sources_loop(
    a: Any, known: Any, reach: float, limit: float, slack: float, rows: Any, out: Any, facts: Any
) -> int:  # fmt: skip
    """Fill out (R, 4 K) uint8 and facts (R, 4), (unit, low, error, norm), from some rows of a (S, B); return R.

    `known` are what `row_facts` says of the rows; those whose norm times `reach` reaches `limit` are taken, and named
    in `rows` (S,). `slack` is how much sums of floats may be off for norms of 1. Facts of ROWS - 1 more rows are 0.
    """
    norms, lows, highs = known
    count = 0
    for u in range(a.shape[0]):
        if not norms[u] * reach >= limit:
            continue
        row, low = a[u], lows[u]
        unit = (highs[u] - low) / a.dtype.type(255)
        flat = abs(low) * math.sqrt(row.shape[0])
        norm, coarse, error = flat, flat, 0.0
        out[count, row.shape[0] :] = 0
        if unit > 0:
            norm, coarse, error = _quantized(row, low, 1 / unit, out[count])
            norm, coarse, error = norm * unit, coarse * unit, error * unit
        else:
            out[count, :] = 0
        rows[count] = u
        facts[count, 0], facts[count, 1], facts[count, 3] = unit, low, coarse
        facts[count, 2] = error + slack * (norm + 3 * flat)
        count += 1
    facts[count : count + ROWS - 1] = 0
    return count


quantized_sources = compiled(_sources_loop)


def _targets_loop(
    z: Any, known: Any, reach: float, limit: float, scale: Any, columns: Any, out: Any, facts: Any
) -> int:  # fmt: skip
    """Fill out (blocks, K, WIDTH) int32, four bytes each, and facts (4, blocks * WIDTH) from C rows of z (T, B).

    Rows are taken, and named in `columns` (T,), as by `quantized_sources`. Facts are (unit, total, norm, error), times
    `scale` (T,), by which the scores of a target are multiplied; behind the last target they are 0. C is returned.
    """
    norms, lows, highs = known
    line = np.zeros(4 * out.shape[1], np.int8)
    words, zero, count = line.view(np.int32), z.dtype.type(0), 0
    for v in range(z.shape[0]):
        if not norms[v] * reach >= limit:
            continue
        unit = max(-lows[v], highs[v]) / z.dtype.type(127)
        norm, error, total = 0.0, 0.0, 0
        line[:] = 0
        if unit > 0:
            norm, _, error = _quantized(z[v], zero, 1 / unit, line)
            for b in range(line.shape[0]):
                total += line[b]
        for group in range(words.shape[0]):
            out[count // WIDTH, group, count % WIDTH] = words[group]
        facts[0, count], facts[1, count] = unit * scale[v], total * unit * scale[v]
        facts[2, count], facts[3, count] = norm * unit * scale[v], error * unit * scale[v]
        columns[count] = v
        count += 1
    end = min((count + WIDTH - 1) // WIDTH * WIDTH, facts.shape[1])
    facts[:, count:end] = 0
    return count


quantized_targets = compiled(_targets_loop)


def _scan_loop(coarse: Any, names: Any, edges: Any, limit: Any, bounds: Any, found: Any) -> Any:
    """Fill `found` with absent pairs whose score may reach `limit`; return (source, count).

    `found` are sources, targets, and the lowest and the highest that each |score| may be. `bounds` is (first source,
    last source, first target, last target); the source that is returned is the first that was not looked at because
    `found` may not hold more. `coarse` is what `quantized_sources` and `quantized_targets` filled, of the sources and
    targets in `names`, which bounds count.
    """
    left_bytes, sources, right_bytes, targets = coarse
    rows_of, columns_of = names
    indptr, dst, stays = edges
    us, vs, low, high = found
    begin, end, left, right = bounds
    count, lowest, highest = 0, columns_of[left], columns_of[right - 1]
    # Of the rows of a tile: which pairs may reach the limit, how large they may be, where edges are, and the pairs.
    hits, sizes = np.zeros((ROWS, WIDTH // _LANES), np.int64), np.empty((2, ROWS, WIDTH), np.float32)
    marks, columns = np.zeros((ROWS, highest - lowest + 1), np.uint8), np.empty((ROWS, right - left + 1), np.int32)
    lows, highs = np.empty(columns.shape, np.float32), np.empty(columns.shape, np.float32)
    while begin < end:
        if count + ROWS * (right - left) > us.shape[0]:
            return begin, count
        rows = min(ROWS, end - begin)
        number = [0] * ROWS
        for r in range(rows):
            u = rows_of[begin + r]
            for e in range(indptr[u], indptr[u + 1]):
                if lowest <= dst[e] <= highest:
                    marks[r, dst[e] - lowest] = stays[e]
        for block in range(left // WIDTH, (right + WIDTH - 1) // WIDTH):
            if coarse_tile(left_bytes, begin, right_bytes, block, sources, targets, limit, hits, sizes) == 0:
                continue
            for r in range(rows):
                n = number[r]
                for w in range(hits.shape[1]):
                    bits, first = hits[r, w], w * _LANES
                    while bits:
                        lane = first + lowest_bit(bits)
                        bits &= bits - 1
                        v = block * WIDTH + lane
                        columns[r, n], lows[r, n], highs[r, n] = v, sizes[0, r, lane], sizes[1, r, lane]
                        n += v < right and marks[r, columns_of[v] - lowest] == 0
                number[r] = n
        for r in range(rows):
            u = rows_of[begin + r]
            for i in range(number[r]):
                us[count], vs[count] = u, columns_of[columns[r, i]]
                low[count], high[count] = lows[r, i], highs[r, i]
                count += 1
            marks[r, : highest - lowest + 1] = 0
        begin += rows
    return begin, count


scan = compiled(_scan_loop)


def _free_loop(edges: Any, num_targets: int, u: Any, v: Any) -> int:
    """Fill u and v (K,) with the pairs, in canonical order, that are none of the edges that stay; return K."""
    indptr, dst, stays = edges
    taken, count = np.zeros(num_targets, np.uint8), 0
    for source in range(indptr.shape[0] - 1):
        for e in range(indptr[source], indptr[source + 1]):
            taken[dst[e]] = stays[e]
        for target in range(num_targets):
            if taken[target] == 0:
                u[count], v[count] = source, target
                count += 1
        taken[:] = 0
    return count


free_pairs = compiled(_free_loop)


def _close_loop(a: Any, z: Any, scale: Any, pairs: Any, least: Any, most: Any, stays: Any, near: Any, out: Any) -> Any:
    """Fill stays (K,) with 1 for pairs that surely score above `most`; return how many, and how many may reach `least`.

    `pairs` (K,) are as `scan` finds them. The places of those that may are in `near`, and their scores, up to rounding,
    in `out`.
    """
    u, v, low, high = pairs
    sure, count = 0, 0
    # What turns out to be no such pair is overwritten: there is no branch that nobody could foresee.
    for i in range(u.shape[0]):
        above = low[i] > most
        stays[i], near[count] = above, i
        sure += above
        count += (high[i] >= least) & (not above)
    for n in range(count):
        i = near[n]
        out[n] = abs(row_product(a, u[i], z, v[i]) * scale[v[i]])
    return sure, count


close_scores = compiled(_close_loop)


def _exact_loop(
    a: Any, z: Any, scale: Any, cuts: Any, pairs: Any, scores: Any, kth: Any, off: Any, stays: Any, near: Any, out: Any
) -> Any:  # fmt: skip
    """Set stays to 1 for those of `near` pairs whose scores are above `kth` by more than `off`; return how many.

    Those nearer to it than `off` come to the front of `near`, with their scores in `out`, exactly as matrix products
    give them: chains between `cuts`, added up. How many they are is returned besides.
    """
    u, v = pairs
    above, count = 0, 0
    for i in range(scores.shape[0]):
        larger = scores[i] > kth + off
        stays[near[i]], near[count] = larger, near[i]
        above += larger
        count += (scores[i] >= kth - off) & (not larger)
    for n in range(count):
        at = near[n]
        total = chained_product(a, u[at], z, v[at], cuts[0], cuts[1])
        for c in range(1, cuts.shape[0] - 1):
            total = total + chained_product(a, u[at], z, v[at], cuts[c], cuts[c + 1])
        out[n] = abs(total * scale[v[at]])
    return above, count


exact_scores = compiled(_exact_loop)


def _taken_loop(u: Any, v: Any, stays: Any, us: Any, vs: Any) -> bool:
    """Fill us and vs (k + 1,) with the k pairs that stay, and any; return whether they are in canonical order."""
    count, ascending = 0, True
    for i in range(u.shape[0]):
        us[count], vs[count] = u[i], v[i]
        count += stays[i] != 0
    for i in range(1, count):
        ascending &= (us[i - 1] < us[i]) | ((us[i - 1] == us[i]) & (vs[i - 1] < vs[i]))
    return ascending


taken_pairs = compiled(_taken_loop)

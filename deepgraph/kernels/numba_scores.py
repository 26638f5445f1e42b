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

__all__ = ["close_scores", "exact_scores", "norms", "quantized_sources", "quantized_targets", "scan", "weighted_limit"]

_LANES = 16
# Norms are rounded up by more than they can be off: sums of squares, and, in units, the numbers that are squared.
_UP, _OFF = 1.0001, 1e-4


# Numbers of one octave that are told apart, as a power of two, and how many of them are told apart in all.
_FINE, _BINS = 6, 1024


def _limit_loop(bits: Any, row_weights: Any, column_weights: Any, wanted: float) -> Any:
    """Return the bits of a number that scores (R, C) of a weight of `wanted` or more almost surely reach, 0 for none.

    `bits` (R, C) int32 are those of scores that are not negative, each of which stands for as many pairs as its row
    times its column; the weight that is counted is three standard deviations less. -1 where one is no finite number.
    """
    highest = 0
    for i in range(bits.shape[0]):
        for j in range(bits.shape[1]):
            highest = max(highest, bits[i, j])
    if highest >= 0x7F800000:
        return -1
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


def _norms_loop(rows: Any, out: Any) -> None:
    """Fill out (N,) with the norms of rows (N, B)."""
    for i in range(rows.shape[0]):
        total = rows[i, 0] * 0
        for b in range(rows.shape[1]):
            total += rows[i, b] * rows[i, b]
        out[i] = math.sqrt(total)


norms = compiled(_norms_loop, any_order=True)


def _sources_loop(a: Any, rows: Any, lows: Any, highs: Any, slack: float, out: Any, facts: Any) -> None:
    """Fill out (R, 4 K) uint8 and facts (R, 4), (unit, low, error, norm), from some rows (R,) of a (S, B).

    Row u of `a` lies between lows[u] and highs[u]; `slack` is how much sums of floats may be off for norms of 1.
    """
    for i in range(rows.shape[0]):
        u = rows[i]
        row, low = a[u], lows[u]
        unit = (highs[u] - low) / a.dtype.type(255)
        flat = abs(low) * math.sqrt(row.shape[0])
        norm, coarse, error = flat, flat, 0.0
        if unit > 0:
            norm, coarse, error = _quantized(row, low, 1 / unit, out[i])
            norm, coarse, error = norm * unit, coarse * unit, error * unit
        facts[i, 0], facts[i, 1], facts[i, 3] = unit, low, coarse
        facts[i, 2] = error + slack * (norm + 3 * flat)


quantized_sources = compiled(_sources_loop)


def _targets_loop(z: Any, columns: Any, lows: Any, highs: Any, scale: Any, out: Any, facts: Any) -> None:
    """Fill out (blocks, K, WIDTH) int32, each four bytes, and facts (4, blocks * WIDTH) from rows of z (T, B).

    These are `columns` (C,). Facts are (unit, total, norm, error), times `scale` (T,), by which the scores of a target
    are multiplied.
    """
    line = np.zeros(4 * out.shape[1], np.int8)
    words, zero = line.view(np.int32), z.dtype.type(0)
    for i in range(columns.shape[0]):
        v = columns[i]
        unit = max(-lows[v], highs[v]) / z.dtype.type(127)
        norm, error, total = 0.0, 0.0, 0
        line[:] = 0
        if unit > 0:
            norm, _, error = _quantized(z[v], zero, 1 / unit, line)
            for b in range(line.shape[0]):
                total += line[b]
        for group in range(words.shape[0]):
            out[i // WIDTH, group, i % WIDTH] = words[group]
        facts[0, i], facts[1, i] = unit * scale[v], total * unit * scale[v]
        facts[2, i], facts[3, i] = norm * unit * scale[v], error * unit * scale[v]


quantized_targets = compiled(_targets_loop)


def _scan_loop(coarse: Any, names: Any, edges: Any, limit: Any, bounds: Any, work: Any, found: Any) -> Any:
    """Fill `found` with absent pairs whose score may reach `limit`; return (source, count).

    `found` are sources, targets, and the lowest and the highest that each |score| may be. `bounds` is (first source,
    last source, first target, last target); the source that is returned is the first that was not looked at because
    `found` may not hold more. `coarse` is what `quantized_sources` and `quantized_targets` filled, of the sources and
    targets in `names`, which bounds count. `work` (hits (ROWS, 4) int64, sizes (2, ROWS, WIDTH), marks (ROWS, T) of 0,
    and the pairs of each row alike).
    """
    left_bytes, sources, right_bytes, targets = coarse
    rows_of, columns_of = names
    indptr, dst, stays = edges
    hits, sizes, marks, columns, lows, highs = work
    us, vs, low, high = found
    begin, end, left, right = bounds
    count, lowest, highest = 0, columns_of[left], columns_of[right - 1]
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


def _close_loop(a: Any, z: Any, scale: Any, u: Any, v: Any, out: Any) -> None:
    """Fill out (K,) with the scores of pairs, up to rounding."""
    for i in range(u.shape[0]):
        out[i] = abs(row_product(a, u[i], z, v[i]) * scale[v[i]])


close_scores = compiled(_close_loop)


def _exact_loop(a: Any, z: Any, scale: Any, cuts: Any, u: Any, v: Any, out: Any) -> None:
    """Fill out (K,) with the scores of pairs as matrix products give them: chains between `cuts`, added up."""
    for i in range(u.shape[0]):
        total = chained_product(a, u[i], z, v[i], cuts[0], cuts[1])
        for c in range(1, cuts.shape[0] - 1):
            total = total + chained_product(a, u[i], z, v[i], cuts[c], cuts[c + 1])
        out[i] = abs(total * scale[v[i]])


exact_scores = compiled(_exact_loop)

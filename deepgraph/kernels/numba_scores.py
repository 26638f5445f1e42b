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

__all__ = ["close_scores", "exact_scores", "quantized_sources", "quantized_targets", "scan"]

_LANES = 16
# Norms are rounded up by more than they can be off: sums of squares, and, in units, the numbers that are squared.
_UP, _OFF = 1.0001, 1e-4


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


def _sources_loop(a: Any, lows: Any, highs: Any, slack: float, out: Any, facts: Any) -> None:
    """Fill out (S, 4 K) uint8 and facts (S, 4), (unit, low, error, norm), from a (S, B), whose rows are in lows:highs.

    `slack` is how much, for vectors of norm 1, sums of floats may be off.
    """
    for u in range(a.shape[0]):
        row, low = a[u], lows[u]
        unit = (highs[u] - low) / a.dtype.type(255)
        flat = abs(low) * math.sqrt(row.shape[0])
        norm, coarse, error = flat, flat, 0.0
        if unit > 0:
            norm, coarse, error = _quantized(row, low, 1 / unit, out[u])
            norm, coarse, error = norm * unit, coarse * unit, error * unit
        facts[u, 0], facts[u, 1], facts[u, 3] = unit, low, coarse
        facts[u, 2] = error + slack * (norm + 3 * flat)


quantized_sources = compiled(_sources_loop)


def _targets_loop(z: Any, lows: Any, highs: Any, scale: Any, out: Any, facts: Any) -> None:
    """Fill out (blocks, K, WIDTH) int32, each four bytes, and facts (4, blocks * WIDTH) from z (T, B).

    Facts are (unit, total, norm, error), times `scale` (T,), by which the scores of a target are multiplied.
    """
    line = np.zeros(4 * out.shape[1], np.int8)
    words, zero = line.view(np.int32), z.dtype.type(0)
    for v in range(z.shape[0]):
        unit = max(-lows[v], highs[v]) / z.dtype.type(127)
        norm, error, total = 0.0, 0.0, 0
        line[:] = 0
        if unit > 0:
            norm, _, error = _quantized(z[v], zero, 1 / unit, line)
            for b in range(line.shape[0]):
                total += line[b]
        for group in range(words.shape[0]):
            out[v // WIDTH, group, v % WIDTH] = words[group]
        facts[0, v], facts[1, v] = unit * scale[v], total * unit * scale[v]
        facts[2, v], facts[3, v] = norm * unit * scale[v], error * unit * scale[v]


quantized_targets = compiled(_targets_loop)


def _scan_loop(coarse: Any, edges: Any, limit: Any, bounds: Any, work: Any, found: Any) -> Any:
    """Fill `found` with absent pairs whose score may reach `limit`; return (source, count).

    `found` are sources, targets, and the lowest and the highest that each |score| may be. `bounds` is (first source,
    last source, first target, last target); the source that is returned is the first that was not looked at because
    `found` may not hold more. `coarse` is what `quantized_sources` and `quantized_targets` fill, `work` (hits (ROWS, 4)
    int64, sizes (2, ROWS, WIDTH), marks (ROWS, targets) of 0, and the pairs of each row alike).
    """
    left_bytes, sources, right_bytes, targets = coarse
    indptr, dst, stays = edges
    hits, sizes, marks, columns, lows, highs = work
    us, vs, low, high = found
    begin, end, left, right = bounds
    count = 0
    while begin < end:
        if count + ROWS * (right - left) > us.shape[0]:
            return begin, count
        rows = min(ROWS, end - begin)
        number = [0] * ROWS
        for r in range(rows):
            for e in range(indptr[begin + r], indptr[begin + r + 1]):
                if left <= dst[e] < right:
                    marks[r, dst[e] - left] = stays[e]
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
                        n += v < right and marks[r, v - left] == 0
                number[r] = n
        for r in range(rows):
            for i in range(number[r]):
                us[count], vs[count] = begin + r, columns[r, i]
                low[count], high[count] = lows[r, i], highs[r, i]
                count += 1
            for e in range(indptr[begin + r], indptr[begin + r + 1]):
                if left <= dst[e] < right:
                    marks[r, dst[e] - left] = 0
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

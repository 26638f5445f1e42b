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

__all__ = ["exact_scores", "quantized_sources", "quantized_targets", "scan"]

_LANES = 16
# Norms are rounded up, by more than sums in any order can be off.
_UP = 1.00001


def _facts_loop(row: Any, quantized: Any, unit: Any, low: Any) -> Any:
    """Return the norms of a row, of what its bytes stand for, and of the difference of the two."""
    norm, coarse, error = 0.0, 0.0, 0.0
    for b in range(row.shape[0]):
        value, rounded = np.float64(row[b]), np.float64(quantized[b]) * unit + low
        norm += value * value
        coarse += rounded * rounded
        error += (value - rounded) * (value - rounded)
    return math.sqrt(norm) * _UP, math.sqrt(coarse) * _UP, math.sqrt(error) * _UP


_facts = compiled(_facts_loop, any_order=True)


def _sources_loop(a: Any, slack: float, out: Any, facts: Any) -> None:
    """Fill out (S, 4 K) uint8 and facts (S, 4), (unit, low, error, norm), from a (S, B).

    `slack` is how much, for vectors of norm 1, sums of floats may be off.
    """
    half = a.dtype.type(0.5)
    for u in range(a.shape[0]):
        row, into = a[u], out[u]
        low = high = row[0]
        for b in range(row.shape[0]):
            low, high = min(low, row[b]), max(high, row[b])
        unit = (high - low) / a.dtype.type(255)
        inverse = 1 / unit if unit > 0 else a.dtype.type(0)
        for b in range(row.shape[0]):
            into[b] = np.uint8(np.int32((row[b] - low) * inverse + half))
        norm, coarse, error = _facts(row, into, unit, low)
        facts[u, 0], facts[u, 1], facts[u, 3] = unit, low, coarse
        facts[u, 2] = error + slack * (norm + 3 * abs(low) * math.sqrt(row.shape[0]))


quantized_sources = compiled(_sources_loop, any_order=True)


def _targets_loop(z: Any, scale: Any, out: Any, facts: Any) -> None:
    """Fill out (blocks, K, WIDTH) int32, each four bytes, and facts (4, blocks * WIDTH) from z (T, B).

    Facts are (unit, total, norm, error), times `scale` (T,), by which the scores of a target are multiplied.
    """
    half, line = z.dtype.type(0.5), np.zeros(4 * out.shape[1], np.int8)
    words = line.view(np.int32)
    for v in range(z.shape[0]):
        row, into, column = z[v], out[v // WIDTH], v % WIDTH
        top = z.dtype.type(0)
        for b in range(row.shape[0]):
            top = max(top, abs(row[b]))
        unit = top / z.dtype.type(127)
        inverse = 1 / unit if unit > 0 else z.dtype.type(0)
        total = 0
        for b in range(row.shape[0]):
            value = np.int32(math.floor(row[b] * inverse + half))
            line[b] = np.int8(value)
            total += value
        for group in range(words.shape[0]):
            into[group, column] = words[group]
        norm, _, error = _facts(row, line, unit, z.dtype.type(0))
        facts[0, v], facts[1, v] = unit * scale[v], total * unit * scale[v]
        facts[2, v], facts[3, v] = norm * scale[v], error * scale[v]


quantized_targets = compiled(_targets_loop, any_order=True)


def _scan_loop(
    a: Any, z: Any, scale: Any, coarse: Any, edges: Any, limit: Any, slack: float, bounds: Any, work: Any, found: Any
) -> Any:
    """Fill `found` with absent pairs whose score may reach `limit`; return (source, count).

    `bounds` is (first source, last source, first target, last target); the source that is returned is the first that
    was not looked at because `found` may not hold more. `coarse` is what `quantized_sources` and `quantized_targets`
    fill, `work` (hits (ROWS, 4) int64, marks (ROWS, targets) of 0, their numbers alike).
    """
    left_bytes, sources, right_bytes, targets = coarse
    indptr, dst, stays = edges
    hits, marks, columns = work
    us, vs, values = found
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
            if coarse_tile(left_bytes, begin, right_bytes, block, sources, targets, limit, hits) == 0:
                continue
            for r in range(rows):
                n = number[r]
                for w in range(hits.shape[1]):
                    bits, first = hits[r, w], block * WIDTH + w * _LANES
                    while bits:
                        v = first + lowest_bit(bits)
                        bits &= bits - 1
                        columns[r, n] = v
                        n += v < right and marks[r, v - left] == 0
                number[r] = n
        for r in range(rows):
            for i in range(number[r]):
                v = columns[r, i]
                score = abs(row_product(a, begin + r, z, v) * scale[v])
                us[count], vs[count], values[count] = begin + r, v, score
                count += score >= limit - slack * sources[begin + r, 3] * targets[2, v]
            for e in range(indptr[begin + r], indptr[begin + r + 1]):
                if left <= dst[e] < right:
                    marks[r, dst[e] - left] = 0
        begin += rows
    return begin, count


scan = compiled(_scan_loop)


def _exact_loop(a: Any, z: Any, scale: Any, cuts: Any, u: Any, v: Any, out: Any) -> None:
    """Fill out (K,) with the scores of pairs as matrix products give them: chains between `cuts`, added up."""
    for i in range(u.shape[0]):
        total = chained_product(a, u[i], z, v[i], cuts[0], cuts[1])
        for c in range(1, cuts.shape[0] - 1):
            total = total + chained_product(a, u[i], z, v[i], cuts[c], cuts[c + 1])
        out[i] = abs(total * scale[v[i]])


exact_scores = compiled(_exact_loop)

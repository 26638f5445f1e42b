"""The loops of NumbaWalk: all neurons of one network in program order, one tile of the batch after the other.

Every function here releases the GIL and is compiled on first use, once per dtype (and per tile width), then cached on
disk. Importing this file imports numba and compiles nothing. The functions that are made per tile width close over
nothing but that number, because numba caches only such closures.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from deepgraph.kernels.activations import LEAKY_SLOPE, SOFTPLUS_THRESHOLD, activation
from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.numba_memory import at_address
from deepgraph.kernels.numba_reductions import reduce_row, send_back_row
from deepgraph.kernels.vector import row_backward, row_forward, row_weight_gradient
from deepgraph.kernels.vector_functions import block_copy, block_transpose, row_exponential, row_total

__all__ = [
    "LEAKY",
    "PRELU",
    "activate_node",
    "backward_walk",
    "bend_back",
    "bend_node",
    "forward_walk",
    "gather",
    "load_columns",
    "pull_back",
    "store_columns",
    "values_of",
]

RELU, LEAKY, TANH, SIGMOID, GELU, SILU, ELU, CELU, SOFTPLUS, PRELU = (
    activation(name).code
    for name in ("relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "elu", "celu", "softplus", "prelu")
)
_ROOT_HALF = math.sqrt(0.5)
_NORMAL = 1 / math.sqrt(2 * math.pi)
_SOFTPLUS_THRESHOLD, _SLOPE = SOFTPLUS_THRESHOLD, LEAKY_SLOPE


def _normal_distribution_loop(z: Any, cumulative: Any, density: Any) -> None:
    """Fill `cumulative` and `density` of the standard normal distribution at z.

    float64 uses libm's erf; float32 uses Abramowitz and Stegun (1964), 7.1.26, absolute error 7.5e-8.
    """
    one = z.dtype.type(1)
    for t in range(z.shape[0]):
        density[t] = -z[t] * z[t] / (one + one)
    row_exponential(density, False)
    if z.itemsize == 8:
        for t in range(z.shape[0]):
            cumulative[t] = 0.5 * (1.0 + math.erf(z[t] * _ROOT_HALF))
    else:
        c1, c2, c3 = z.dtype.type(0.254829592), z.dtype.type(-0.284496736), z.dtype.type(1.421413741)
        c4, c5, c6 = z.dtype.type(-1.453152027), z.dtype.type(1.061405429), z.dtype.type(0.3275911 * _ROOT_HALF)
        half = z.dtype.type(0.5)
        for t in range(z.shape[0]):
            u = one / (one + c6 * abs(z[t]))
            tail = half * density[t] * u * (c1 + u * (c2 + u * (c3 + u * (c4 + u * c5))))
            cumulative[t] = tail if z[t] < 0 else one - tail
    scale = z.dtype.type(_NORMAL)
    for t in range(z.shape[0]):
        density[t] *= scale


_normal_distribution = compiled(_normal_distribution_loop)


def _activate_row(row: Any, work: Any, more: Any, code: int) -> None:
    """Replace the sums z in `row` by their activation; `work` and `more` are scratch rows."""
    one = row.dtype.type(1)
    width = row.shape[0]
    if code == TANH:
        # tanh z = (e^2z - 1) / (e^2z - 1 + 2), without cancellation near 0.
        for t in range(width):
            row[t] += row[t]
        row_exponential(row, True)
        for t in range(width):
            row[t] = row[t] / (row[t] + one + one)
    elif code in (SIGMOID, SILU):
        for t in range(width):
            work[t] = -row[t]
        row_exponential(work, False)
        for t in range(width):
            row[t] = (row[t] if code == SILU else one) / (one + work[t])
    elif code in (ELU, CELU):
        for t in range(width):
            work[t] = row[t]
        row_exponential(work, True)
        for t in range(width):
            row[t] = work[t] if row[t] <= 0 else row[t]
    elif code == GELU:
        _normal_distribution(row, work, more)
        for t in range(width):
            row[t] *= work[t]
    elif code in (RELU, LEAKY):
        slope = row.dtype.type(_SLOPE) if code == LEAKY else row.dtype.type(0)
        for t in range(width):
            row[t] = slope * row[t] if row[t] <= 0 else row[t]
    elif code == SOFTPLUS:
        for t in range(width):
            if not row[t] > _SOFTPLUS_THRESHOLD:
                row[t] = max(row[t], 0.0) + math.log1p(math.exp(-abs(row[t])))


activate = compiled(_activate_row)


def _activate_node_loop(block: Any, rank: Any, count: Any, kept: Any, code: Any) -> None:
    """Replace the sums in row `rank` by their activation, after a copy to row count + kept where kept >= 0."""
    if kept >= 0:
        block[count + kept] = block[rank]
    activate(block[rank], block[block.shape[0] - 2], block[block.shape[0] - 1], code)


activate_node = compiled(_activate_node_loop)


def _pull_back_row(grad: Any, known: Any, work: Any, more: Any, code: int) -> Any:
    """Multiply `grad` by the derivative at `known` (the output, or z where it was kept); returns its sum."""
    one = grad.dtype.type(1)
    width = grad.shape[0]
    if code == TANH:
        for t in range(width):
            grad[t] *= one - known[t] * known[t]
    elif code == SIGMOID:
        for t in range(width):
            grad[t] *= known[t] * (one - known[t])
    elif code == SILU:
        for t in range(width):
            work[t] = -known[t]
        row_exponential(work, False)
        for t in range(width):
            sigmoid = one / (one + work[t])
            grad[t] *= sigmoid * (one + known[t] * (one - sigmoid))
    elif code in (ELU, CELU):
        for t in range(width):
            grad[t] *= one if known[t] > 0 else known[t] + one
    elif code == GELU:
        _normal_distribution(known, work, more)
        for t in range(width):
            grad[t] *= work[t] + known[t] * more[t]
    elif code == SOFTPLUS:
        for t in range(width):
            work[t] = -known[t]
        row_exponential(work, True)
        for t in range(width):
            grad[t] *= one if known[t] > _SOFTPLUS_THRESHOLD else -work[t]
    return row_total(grad)


pull_back = compiled(_pull_back_row)


def _bend_node_loop(block: Any, rank: Any, row: Any, slope: Any) -> None:
    """Replace the sums in row `rank` by their prelu, after a copy to another row."""
    own, kept = block[rank], block[row]
    for t in range(own.shape[0]):
        kept[t] = own[t]
        own[t] = slope * own[t] if own[t] <= 0 else own[t]


bend_node = compiled(_bend_node_loop)


def _bend_back_row(grad: Any, z: Any, work: Any, slope: Any) -> Any:
    """Multiply `grad` by the derivative of prelu at z; returns the gradient of the slope."""
    zero = grad.dtype.type(0)
    for t in range(grad.shape[0]):
        work[t] = grad[t] * z[t] if z[t] <= 0 else zero
        grad[t] = grad[t] if z[t] > 0 else slope * grad[t]
    return row_total(work)


bend_back = compiled(_bend_back_row)

_BLOCK = 16


def _load_column_loop(columns: Any, block: Any, ends: Any, begin: int) -> None:
    """Fill the only column of a block from row `begin` of columns (1, K); see `_load_columns_loop`."""
    ranks, fresh, straight = ends
    for number in range(straight.shape[0]):
        first, last = number * _BLOCK, min((number + 1) * _BLOCK, ranks.shape[0])
        if straight[number]:
            block_copy(16, columns, begin * ranks.shape[0] + last - _BLOCK, block, ranks[last - _BLOCK])
            continue
        for i in range(first, last):
            block[ranks[i], 0] = columns[begin, i] if fresh[i] else block[ranks[i], 0] + columns[begin, i]


_load_column = compiled(_load_column_loop)


def _store_column_loop(columns: Any, block: Any, ends: Any, begin: int) -> None:
    """Fill row `begin` of columns (1, K) from the only column of a block."""
    ranks, _, straight = ends
    for number in range(straight.shape[0]):
        first, last = number * _BLOCK, min((number + 1) * _BLOCK, ranks.shape[0])
        if straight[number]:
            block_copy(16, block, ranks[last - _BLOCK], columns, begin * ranks.shape[0] + last - _BLOCK)
            continue
        for i in range(first, last):
            columns[begin, i] = block[ranks[i], 0]


_store_column = compiled(_store_column_loop)


def _load_columns_loop(columns: Any, block: Any, ends: Any, begin: int, padding: bool) -> None:
    """Fill rows of a block from rows `begin:` of columns (B, K).

    `ends` is (ranks (K,), fresh (K,), straight (K / 16 + 1,)): the row of each column; whether it is the first one
    there, which others are added to; for 16 columns at a time, and for the last 16 where fewer are left, whether
    their rows follow each other. Columns beyond the batch repeat its last row (so that they stay finite wherever it
    is) or, without `padding`, are 0.
    """
    ranks, fresh, straight = ends
    batch, width = columns.shape[0], block.shape[1]
    real = min(width, batch - begin)
    if width == 1:
        _load_column(columns, block, ends, begin)
        return
    # Whole squares go through registers; what is left at the edges goes number by number.
    side = 4 if width <= 8 and block.itemsize == 4 else 64 // block.itemsize
    squares = real // side * side
    # A few rows of x at a time: rows of 2^n bytes would throw each other out of the cache.
    for top in range(0, squares, side):
        for number in range(straight.shape[0]):
            if not straight[number]:
                continue
            # The last columns that follow each other overlap with those before: written twice, the same.
            last = min((number + 1) * _BLOCK, ranks.shape[0])
            for i in range(last - _BLOCK, last, side):
                at, to = (begin + top) * ranks.shape[0] + i, ranks[i] * width + top
                if side == 4:
                    block_transpose(4, columns, at, block, to)
                else:
                    block_transpose(16, columns, at, block, to)
    for number in range(straight.shape[0]):
        first, last = number * _BLOCK, min((number + 1) * _BLOCK, ranks.shape[0])
        for top in range(squares if straight[number] else 0, width, 8):
            for i in range(first, last):
                row = block[ranks[i]]
                for t in range(top, min(top + 8, width)):
                    value = columns[begin + min(t, real - 1), i] if padding or t < real else 0
                    row[t] = value if fresh[i] else row[t] + value


load_columns = compiled(_load_columns_loop)


def _store_columns_loop(columns: Any, block: Any, ends: Any, begin: int) -> None:
    """Fill rows `begin:` of columns (B, K) from the rows of a block that `ends` names, as for `load_columns`."""
    ranks, _, straight = ends
    width = block.shape[1]
    real = min(width, columns.shape[0] - begin)
    if width == 1:
        _store_column(columns, block, ends, begin)
        return
    side = 4 if width <= 8 and block.itemsize == 4 else 64 // block.itemsize
    squares = real // side * side
    for top in range(0, squares, side):
        for number in range(straight.shape[0]):
            if not straight[number]:
                continue
            last = min((number + 1) * _BLOCK, ranks.shape[0])
            for i in range(last - _BLOCK, last, side):
                at, to = ranks[i] * width + top, (begin + top) * ranks.shape[0] + i
                if side == 4:
                    block_transpose(4, block, at, columns, to)
                else:
                    block_transpose(16, block, at, columns, to)
    for number in range(straight.shape[0]):
        first, last = number * _BLOCK, min((number + 1) * _BLOCK, ranks.shape[0])
        for t in range(squares if straight[number] else 0, real):
            for i in range(first, last):
                columns[begin + t, i] = block[ranks[i], t]


store_columns = compiled(_store_columns_loop)


def _values_of_loop(w: Any, position: Any, like: Any) -> Any:
    """Return the values that the out-edges of a position find at their canonical numbers.

    `w` is (addresses (P,), part (N,)): where edge 0 of each weight tensor would be, and which one a position has.
    """
    addresses, part = w
    return at_address(addresses[part[position]], like, 0)


values_of = compiled(_values_of_loop)


@cache
def forward_walk(tile: int) -> Any:
    """Return the compiled forward loop for tiles of `tile` columns."""

    def walk(
        x: Any, saved: Any, y: Any, nodes: Any, indptr: Any, step: Any, w: Any, bias: Any, inputs: Any, outputs: Any,
        first: int, last: int,
    ) -> None:  # fmt: skip
        """Fill tiles first:last of `saved` (tiles, N + K, tile) and the rows of y (B, O) that they hold."""
        bias_index, mode, kept, reduce, slope, _ = nodes
        count, spare = bias_index.shape[0], saved.shape[1] - 2
        for number in range(first, last):
            block = saved[number]
            block[spare:] = 0
            load_columns(x, block, inputs, number * tile, True)
            for rank in range(count):
                node, code = bias_index[rank], mode[rank]
                if node < 0:
                    continue
                start, stop = indptr[rank], indptr[rank + 1]
                if reduce[rank] == 0:
                    row_forward(tile, block, rank, step, w, start, stop, bias[node], code)
                else:
                    reduce_row(block, rank, step, w, start, stop, bias[node], reduce[rank])
                if code == PRELU:
                    bend_node(block, rank, count + kept[rank], bias[slope[rank]])
                elif code > LEAKY or (reduce[rank] != 0 and code > 0):
                    activate_node(block, rank, count, kept[rank], code)
            store_columns(y, block, outputs, number * tile)

    return compiled(walk)


@cache
def backward_walk(tile: int) -> Any:
    """Return the compiled backward loop for tiles of `tile` columns."""

    def walk(
        dy: Any, saved: Any, dz: Any, dx: Any, nodes: Any, order: Any, indptr: Any, step: Any, w: Any, dw: Any,
        db: Any, inputs: Any, outputs: Any, is_seeded: Any, reduced: Any, first: int, last: int, need_dx: bool,
    ) -> None:  # fmt: skip
        """Fill tiles first:last of dz (tiles, N + 3, tile) and their rows of dx (B, I), and dw (E,) and db (C,).

        Where dz has fewer tiles, later ones replace earlier ones.
        """
        bias_index, mode, kept, reduce, slope, slopes = nodes
        into, source, perm, cleared, degree = reduced
        count = bias_index.shape[0]
        scratch, chosen = np.empty((degree + 1, tile), dw.dtype), np.empty(tile, np.int64)
        # Maxima and products add to edges that their sources have not seen yet.
        added = degree > 0 or first == last
        if added:
            dw[:] = 0
        db[:] = 0
        for number in range(first, last):
            block, gradient = saved[number], dz[number % dz.shape[0]]
            fresh = number == first and not added
            gradient[count:] = 0
            for rank in cleared:
                gradient[rank] = 0
            load_columns(dy, gradient, outputs, number * tile, False)
            for rank in range(count - 1, -1, -1):
                position, node, code = order[rank], bias_index[rank], mode[rank]
                start, stop = indptr[position], indptr[position + 1]
                if node < 0 and not need_dx:
                    row_weight_gradient(tile, block, gradient, rank, step, dw, start, stop, fresh)
                    continue
                if start == stop and code == 0 and is_seeded[rank] and reduce[rank] == 0:
                    # Most outputs: what came from outside is the gradient of their sum already.
                    if node >= 0:
                        db[node] += row_total(gradient[rank])
                    continue
                # Row `count` stays 0: what a neuron that is no output gets from outside.
                seed = gradient[rank] if is_seeded[rank] else gradient[count]
                values = values_of(w, position, block)
                total = row_backward(
                    tile, block, gradient, rank, seed, step, values, dw, start, stop, code, fresh
                )  # fmt: skip
                if code == PRELU:
                    known = block[count + kept[rank]]
                    db[slope[rank]] += bend_back(gradient[rank], known, gradient[count + 1], slopes[slope[rank]])
                    total = row_total(gradient[rank])
                elif code > LEAKY:
                    known = block[count + kept[rank]] if kept[rank] >= 0 else block[rank]
                    total = pull_back(gradient[rank], known, gradient[count + 1], gradient[count + 2], code)
                if node >= 0:
                    db[node] += total
                if reduce[rank] != 0:
                    send_back_row(
                        rank, block, gradient, source, values_of(w, position, block), perm, dw, into[rank],
                        into[rank + 1], scratch, chosen, reduce[rank],
                    )  # fmt: skip
            if need_dx:
                store_columns(dx, gradient, inputs, number * tile)

    return compiled(walk)


def _gather_loop(addresses: Any, bounds: Any, perm: Any, out: Any) -> None:
    """Write out[e] = values[perm[e]]; the values of edges bounds[k]:bounds[k + 1] are found from addresses[k] on."""
    for k in range(addresses.shape[0]):
        values = at_address(addresses[k], out, 0)
        for e in range(bounds[k], bounds[k + 1]):
            out[e] = values[perm[e]]


gather = compiled(_gather_loop)
"""(addresses (P,), bounds (P + 1,), perm (E,), out (E,)): out[e] = values[perm[e]]."""

"""The loops of NumbaWalk: all neurons of one network in program order, one tile of the batch after the other.

Every function here releases the GIL and is compiled on first use, once per dtype (and per tile width), then cached on
disk. Importing this file imports numba and compiles nothing. The functions that are made per tile width close over
nothing but that number, because numba caches only such closures.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba

from deepgraph.kernels.activations import activation
from deepgraph.kernels.vector import row_backward, row_exponential, row_forward, row_total, row_weight_gradient

__all__ = ["add_in_order", "backward_walk", "forward_walk", "gather"]

LEAKY, TANH, SIGMOID, GELU, SILU, ELU, CELU, SOFTPLUS = (
    activation(name).code for name in ("leaky_relu", "tanh", "sigmoid", "gelu", "silu", "elu", "celu", "softplus")
)
_ROOT_HALF = math.sqrt(0.5)
_NORMAL = 1 / math.sqrt(2 * math.pi)
_SOFTPLUS_THRESHOLD = 20.0


def _compiled(function: Callable[..., Any]) -> Any:
    """Return the function compiled lazily, cached on disk where some directory can be written."""
    # Division as in numpy: Python's test for zero would keep LLVM from vectorising the loops.
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True, error_model="numpy")(function)


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


_normal_distribution = _compiled(_normal_distribution_loop)


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
    elif code == SOFTPLUS:
        for t in range(width):
            if not row[t] > _SOFTPLUS_THRESHOLD:
                row[t] = max(row[t], 0.0) + math.log1p(math.exp(-abs(row[t])))


_activate = _compiled(_activate_row)


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
            grad[t] *= -work[t]
    return row_total(grad)


_pull_back = _compiled(_pull_back_row)


def _load_columns_loop(columns: Any, block: Any, ranks: Any, fresh: Any, begin: int, padding: bool) -> None:
    """Fill rows `ranks` of a block from rows `begin:` of columns (B, K); a rank that is not `fresh` is added to.

    Columns beyond the batch repeat its last row (so that they stay finite wherever it is) or, without `padding`, are 0.
    """
    batch, width = columns.shape[0], block.shape[1]
    real = min(width, batch - begin)
    # Blocks of 16 columns by 8 rows keep the strided reads within a few cache lines.
    for first in range(0, ranks.shape[0], 16):
        last = min(first + 16, ranks.shape[0])
        for top in range(0, width, 8):
            for i in range(first, last):
                row = block[ranks[i]]
                for t in range(top, top + 8):
                    value = columns[begin + min(t, real - 1), i] if padding or t < real else 0
                    row[t] = value if fresh[i] else row[t] + value


_load_columns = _compiled(_load_columns_loop)


def _store_columns_loop(columns: Any, block: Any, ranks: Any, begin: int) -> None:
    """Fill rows `begin:` of columns (B, K) from rows `ranks` of a block."""
    real = min(block.shape[1], columns.shape[0] - begin)
    for first in range(0, ranks.shape[0], 16):
        last = min(first + 16, ranks.shape[0])
        for t in range(real):
            for i in range(first, last):
                columns[begin + t, i] = block[ranks[i], t]


_store_columns = _compiled(_store_columns_loop)


@cache
def forward_walk(tile: int) -> Any:
    """Return the compiled forward loop for tiles of `tile` columns."""

    def walk(
        x: Any, saved: Any, y: Any, nodes: Any, indptr: Any, source: Any, w: Any, bias: Any, inputs: Any, outputs: Any,
        first: int, last: int,
    ) -> None:  # fmt: skip
        """Fill tiles first:last of `saved` (tiles, N + K, tile) and the rows of y (B, O) that they hold."""
        bias_index, mode, kept = nodes
        count, spare = bias_index.shape[0], saved.shape[1] - 2
        for number in range(first, last):
            block = saved[number]
            block[spare:] = 0
            _load_columns(x, block, inputs[0], inputs[1], number * tile, True)
            for rank in range(count):
                node, code = bias_index[rank], mode[rank]
                if node < 0:
                    continue
                row_forward(tile, block, rank, source, w, indptr[rank], indptr[rank + 1], bias[node], code)
                if code > LEAKY:
                    if kept[rank] >= 0:
                        block[count + kept[rank]] = block[rank]
                    _activate(block[rank], block[spare], block[spare + 1], code)
            _store_columns(y, block, outputs[0], number * tile)

    return _compiled(walk)


@cache
def backward_walk(tile: int) -> Any:
    """Return the compiled backward loop for tiles of `tile` columns."""

    def walk(
        dy: Any, saved: Any, dz: Any, dx: Any, nodes: Any, order: Any, indptr: Any, target: Any, w: Any, dw: Any,
        db: Any, inputs: Any, outputs: Any, is_output: Any, first: int, last: int, need_dx: bool,
    ) -> None:  # fmt: skip
        """Fill tiles first:last of dz (tiles, N + 3, tile) and their rows of dx (B, I), and dw (E,) and db (C,)."""
        bias_index, mode, kept = nodes
        count = bias_index.shape[0]
        dw[:] = 0
        db[:] = 0
        for number in range(first, last):
            block, gradient = saved[number], dz[number]
            gradient[count:] = 0
            _load_columns(dy, gradient, outputs[0], outputs[1], number * tile, False)
            for rank in range(count - 1, -1, -1):
                position, node, code = order[rank], bias_index[rank], mode[rank]
                start, stop = indptr[position], indptr[position + 1]
                if node < 0 and not need_dx:
                    row_weight_gradient(tile, block, gradient, rank, target, dw, start, stop)
                    continue
                # Row `count` stays 0: what a neuron that is no output gets from outside.
                seed = gradient[rank] if is_output[rank] else gradient[count]
                total = row_backward(tile, block, gradient, rank, seed, target, w, dw, start, stop, code)
                if code > LEAKY:
                    known = block[count + kept[rank]] if kept[rank] >= 0 else block[rank]
                    total = _pull_back(gradient[rank], known, gradient[count + 1], gradient[count + 2], code)
                if node >= 0:
                    db[node] += total
            if need_dx:
                _store_columns(dx, gradient, inputs[0], number * tile)

    return _compiled(walk)


def _gather_loop(values: Any, perm: Any, out: Any) -> None:
    for e in range(perm.shape[0]):
        out[e] = values[perm[e]]


gather = _compiled(_gather_loop)
"""(values (E,), perm (E,), out (E,)): out[e] = values[perm[e]]."""


def _add_in_order_loop(parts: Any, total: Any) -> None:
    for part in range(parts.shape[0]):
        for e in range(parts.shape[1]):
            total[e] += parts[part, e]


add_in_order = _compiled(_add_in_order_loop)
"""(parts (G, E), total (E or more,)): adds the rows of parts to total, first to last."""

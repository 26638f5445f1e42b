"""Maximum and product nodes of NumbaWalk, one row of a tile at a time."""

from __future__ import annotations

from typing import Any

from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.reductions import MAX as _MAX

__all__ = ["reduce_row", "send_back_row"]

# Frozen into the compiled code.
MAX = _MAX


def _reduce_row_loop(block: Any, rank: Any, step: Any, w: Any, start: Any, stop: Any, bias: Any, code: Any) -> None:
    """Fill row `rank` with bias + max or product over e in start:stop of w[e] * block[rank + step[e]]; bias if none."""
    row = block[rank]
    width = row.shape[0]
    if start == stop:
        row[:] = bias
        return
    first, weight = block[rank + step[start]], w[start]
    for t in range(width):
        row[t] = weight * first[t]
    for e in range(start + 1, stop):
        weight, a = w[e], block[rank + step[e]]
        if code == MAX:
            for t in range(width):
                value = weight * a[t]
                # A maximum that is not a number stays.
                row[t] = row[t] if row[t] >= value or row[t] != row[t] else value
        else:
            for t in range(width):
                row[t] *= weight * a[t]
    for t in range(width):
        row[t] += bias


reduce_row = compiled(_reduce_row_loop)


def _send_back_max(grad: Any, block: Any, gradient: Any, source: Any, w: Any, perm: Any, dw: Any, start: Any, stop: Any,
                   best: Any, sums: Any, chosen: Any) -> None:  # fmt: skip
    """Send a maximum's gradient to its first maximal edge, in dw and in the rows of the sources."""
    width = grad.shape[0]
    chosen[:] = start
    first = block[source[start]]
    for t in range(width):
        best[t] = w[perm[start]] * first[t]
    for e in range(start + 1, stop):
        weight, a = w[perm[e]], block[source[e]]
        for t in range(width):
            value = weight * a[t]
            if not (best[t] >= value or best[t] != best[t]):
                best[t] = value
                chosen[t] = e
    # Summed over the tile first: tiles are then added up in one order, whoever computed them.
    sums[: stop - start, 0] = 0
    for t in range(width):
        e = chosen[t]
        sums[e - start, 0] += grad[t] * block[source[e], t]
        gradient[source[e], t] += grad[t] * w[perm[e]]
    for e in range(start, stop):
        dw[perm[e]] += sums[e - start, 0]


_max_back = compiled(_send_back_max)


def _send_back_product(grad: Any, block: Any, gradient: Any, source: Any, w: Any, perm: Any, dw: Any, start: Any,
                       stop: Any, best: Any, behind: Any) -> None:  # fmt: skip
    """Send a product's gradient to its factors: each gets the product of all others, made without a division."""
    width = grad.shape[0]
    behind[stop - start - 1] = 1
    for e in range(stop - 1, start, -1):
        weight, a = w[perm[e]], block[source[e]]
        for t in range(width):
            behind[e - start - 1, t] = behind[e - start, t] * (weight * a[t])
    best[:] = grad
    for e in range(start, stop):
        weight, a, mine = w[perm[e]], block[source[e]], gradient[source[e]]
        total = weight * 0
        for t in range(width):
            others = best[t] * behind[e - start, t]
            total += others * a[t]
            mine[t] += others * weight
            best[t] *= weight * a[t]
        dw[perm[e]] += total


_product_back = compiled(_send_back_product)


def _send_back_loop(rank: Any, block: Any, gradient: Any, source: Any, w: Any, perm: Any, dw: Any, start: Any,
                    stop: Any, scratch: Any, chosen: Any, code: Any) -> None:  # fmt: skip
    """Send the gradient of node `rank` to the edges start:stop that enter it, and to their sources."""
    if start == stop:
        return
    if code == MAX:
        _max_back(gradient[rank], block, gradient, source, w, perm, dw, start, stop, scratch[0], scratch[1:], chosen)
    else:
        _product_back(gradient[rank], block, gradient, source, w, perm, dw, start, stop, scratch[0], scratch[1:])


send_back_row = compiled(_send_back_loop)

"""Send the gradient of a node; `scratch` has one row more than the node has edges, `chosen` one int64 per column."""

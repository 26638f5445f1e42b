"""Optimizer updates as one loop over many tensors, which come as addresses so that one call updates a whole model.

Importing this file imports numba and compiles nothing.
"""

from __future__ import annotations

import math
from typing import Any

from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.numba_memory import at_address

__all__ = ["adam_update", "advance", "sgd_update"]


def _advance_loop(addresses: Any, like: Any, counts: Any) -> None:
    """Add 1 to the numbers at the addresses, one step counter of the dtype of `like` each, and fill `counts`."""
    for k in range(addresses.shape[0]):
        step = at_address(addresses[k], like, 1)
        step[0] += 1
        counts[k] = step[0]


advance = compiled(_advance_loop)


def _span_loop(address: Any, like: Any, size: Any, part: Any, parts: Any) -> Any:
    """Return share `part` of `parts` of the tensor at an address."""
    return at_address(address, like, size)[size * part // parts : size * (part + 1) // parts]


_span = compiled(_span_loop)


def _descend_loop(
    p: Any, g: Any, buffer: Any, rate: Any, kept: Any, taken: Any, decay: Any, sign: Any, fresh: Any, nesterov: Any,
) -> None:  # fmt: skip
    """Update one tensor with momentum; branches depend on arguments only, so that the loops become vector code."""
    if fresh:
        for i in range(p.shape[0]):
            buffer[i] = sign * g[i] + decay * p[i]
    else:
        for i in range(p.shape[0]):
            buffer[i] = kept * buffer[i] + taken * (sign * g[i] + decay * p[i])
    if nesterov:
        for i in range(p.shape[0]):
            p[i] += rate * (sign * g[i] + decay * p[i] + kept * buffer[i])
    else:
        for i in range(p.shape[0]):
            p[i] += rate * buffer[i]


_descend = compiled(_descend_loop)


def _sgd_loop(
    tensors: Any, sizes: Any, fresh: Any, like: Any, part: Any, parts: Any, lr: Any, momentum: Any, dampening: Any,
    weight_decay: Any, nesterov: Any, sign: Any,
) -> None:  # fmt: skip
    """Update share `part` of `parts` of every tensor; a row of tensors is (parameter, gradient, buffer)."""
    number = like.dtype.type
    rate, kept, taken, decay = number(-lr), number(momentum), number(1 - dampening), number(weight_decay)
    for k in range(sizes.shape[0]):
        p = _span(tensors[k, 0], like, sizes[k], part, parts)
        g = _span(tensors[k, 1], like, sizes[k], part, parts)
        if momentum == 0:
            for i in range(p.shape[0]):
                p[i] += rate * (number(sign) * g[i] + decay * p[i])
        else:
            buffer = _span(tensors[k, 2], like, sizes[k], part, parts)
            _descend(p, g, buffer, rate, kept, taken, decay, number(sign), fresh[k], nesterov)


sgd_update = compiled(_sgd_loop)


def _adam_one_loop(
    p: Any, g: Any, m: Any, v: Any, top: Any, rate: Any, root: Any, kept: Any, new: Any, scale: Any, small: Any,
    shrink: Any, decay: Any, sign: Any, amsgrad: Any,
) -> None:  # fmt: skip
    """Update one tensor."""
    for i in range(p.shape[0]):
        grad = sign * g[i] + decay * p[i]
        m[i] += kept * (grad - m[i])
        v[i] = new * v[i] + scale * grad * grad
    if amsgrad:
        for i in range(p.shape[0]):
            top[i] = max(top[i], v[i])
    for i in range(p.shape[0]):
        p[i] = shrink * p[i] + rate * (m[i] / (math.sqrt(top[i]) / root + small))


_adam_one = compiled(_adam_one_loop)


def _adam_loop(
    tensors: Any, sizes: Any, counts: Any, like: Any, part: Any, parts: Any, lr: Any, beta1: Any, beta2: Any, eps: Any,
    weight_decay: Any, decoupled: Any, amsgrad: Any, sign: Any,
) -> None:  # fmt: skip
    """Update share `part` of `parts` of every tensor; a row is (parameter, gradient, first, second, largest second)."""
    number = like.dtype.type
    shrink, decay = (1 - lr * weight_decay, 0.0) if decoupled else (1.0, weight_decay)
    for k in range(sizes.shape[0]):
        p = _span(tensors[k, 0], like, sizes[k], part, parts)
        g = _span(tensors[k, 1], like, sizes[k], part, parts)
        m = _span(tensors[k, 2], like, sizes[k], part, parts)
        v = _span(tensors[k, 3], like, sizes[k], part, parts)
        top = _span(tensors[k, 4], like, sizes[k], part, parts)
        rate, root = -lr / (1 - beta1 ** counts[k]), math.sqrt(1 - beta2 ** counts[k])
        _adam_one(
            p, g, m, v, top, number(rate), number(root), number(1 - beta1), number(beta2), number(1 - beta2),
            number(eps), number(shrink), number(decay), number(sign), amsgrad,
        )  # fmt: skip


adam_update = compiled(_adam_loop)

"""Products of matrices of activations: a node per product of two elements, and a node per sum of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from deepgraph.transform import channels
from deepgraph.transform.operands import row_codes, sample_shape
from deepgraph.transform.reductions import products
from deepgraph.transform.rules import Call

__all__ = ["multiply"]

_TERMS_AT_ONCE = 4_000_000
"""Terms of the sums that are laid out in one piece: bounds the memory for what is only needed in between."""


def multiply(call: Call, left: Tensor, right: Tensor) -> Tensor:
    """Return the ids of left (B, R, K) @ right (B, K, M), both of which depend on the input, int64 (B, R, M).

    A term of two activations is a node that multiplies; one with a constant factor is an edge, none where it is 0.

    Parameters
    ----------
    call : Call
        The operation that is traced.
    left, right : torch.Tensor, shape (B, R, K) and (B, K, M)
        The factors.
    """
    if call.tracer.settings.order == 1:
        return channels.multiply(call, call.ids(left), call.ids(right))
    made = [
        _matrix(call, (call.ids(a), call.ids(b).t()), (_values(a), _values(b).t()))
        for a, b in zip(left, right, strict=True)
    ]
    return torch.stack(made)


def _values(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _matrix(call: Call, ids: tuple[Tensor, Tensor], values: tuple[Tensor, Tensor]) -> Tensor:
    """Return the ids (R, M) of the products of rows (R, K) with rows (M, K)."""
    (rows, inner), columns = ids[0].shape, ids[1].shape[0]
    codes = row_codes(call, (ids[0][:, None], ids[1][None]))
    # Where nothing but zeros meets an activation the result does not depend on it.
    counts = [(entries >= 0).double() for entries in ids]
    weights = [torch.where(entries < 0, value, 0.0) for entries, value in zip(ids, values, strict=True)]
    pairs = counts[0] @ counts[1].t()
    single = counts[0] @ (weights[1] != 0).double().t() + (weights[0] != 0).double() @ counts[1].t()
    own = (pairs + single) > 0
    bias = (weights[0] @ weights[1].t())[own]
    result = torch.where(own, 0, codes)
    collector = call.tracer.collector
    squares = _squares(*ids, collector.num_nodes)
    if not collector.room_for(int((3 * pairs + single).sum()) + squares):
        first = collector.add_nodes(int(own.sum()) + int(pairs.sum()) + squares, "unit")
        result[own] = torch.arange(first, first + int(own.sum()))
        return result
    step = max(1, _TERMS_AT_ONCE // max(1, inner * columns))
    sums = []
    for begin in range(0, rows, step):
        part = slice(begin, begin + step)
        sums.append(_terms(call, (ids[0][part], ids[1]), (weights[0][part], weights[1])))
    start = collector.add_nodes(
        int(own.sum()),
        "pool",
        bias=bias.numpy(),
        module=call.tracer.module,
        operation=call.name,
        shape=sample_shape(call, tuple(own.shape)),
        element=own.reshape(-1).nonzero().squeeze(1).numpy(),
    )
    result[own] = torch.arange(start, start + int(own.sum()))
    for number, (place, source, weight) in enumerate(sums):
        target = result[number * step : (number + 1) * step].reshape(-1)[place]
        collector.add_edges(source.numpy(), target.numpy(), weight.numpy())
    return result


def _squares(left: Tensor, right: Tensor, num_nodes: int) -> int:
    """Return how many terms multiply a node with itself, of rows (R, K) with rows (M, K): each takes one node more."""
    place = torch.arange(left.shape[1]) * num_nodes
    keys = ((ids + place)[ids >= 0].numpy() for ids in (left, right))
    known, counts = zip(*(np.unique(entries, return_counts=True) for entries in keys), strict=True)
    _, first, second = np.intersect1d(known[0], known[1], assume_unique=True, return_indices=True)
    return int(counts[0][first] @ counts[1][second])


def _terms(call: Call, ids: tuple[Tensor, Tensor], weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the terms of the products of rows (r, K) with rows (M, K): (flat index into (r, M), node, factor)."""
    first, second = ids[0][:, None], ids[1][None]
    both = ((first >= 0) & (second >= 0)).nonzero()
    node = products(call, torch.stack([ids[0][both[:, 0], both[:, 2]], ids[1][both[:, 1], both[:, 2]]], dim=1))
    places, sources = [both[:, 0] * len(ids[1]) + both[:, 1]], [node]
    factors = [torch.ones(len(node), dtype=torch.float64)]
    for activation, constant, side in ((first, weights[1][None], 0), (second, weights[0][:, None], 1)):
        at = ((activation >= 0) & (constant != 0)).nonzero()
        mine, theirs = at[:, side], at[:, 1 - side]
        places.append(at[:, 0] * len(ids[1]) + at[:, 1])
        sources.append(ids[side][mine, at[:, 2]])
        factors.append(weights[1 - side][theirs, at[:, 2]])
    return torch.cat(places), torch.cat(sources), torch.cat(factors)

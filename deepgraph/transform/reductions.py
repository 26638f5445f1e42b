"""Nodes that take a maximum or a product: what is constant among their operands, and operands that occur twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from deepgraph.transform import channels
from deepgraph.transform.operands import Term, owners, sample_shape
from deepgraph.transform.rules import Call
from deepgraph.transform.traced import Array

__all__ = ["combine", "products", "reduce_rows"]

_NEUTRAL = {"max": -np.inf, "prod": 1.0}


def reduce_rows(call: Call, rows: Tensor, values: Tensor, reduce: Literal["max", "prod"], sign: float = 1.0) -> Tensor:
    """Return ids of the maximum, or the product, of each row, int64 of shape (R,).

    Parameters
    ----------
    call : Call
        The operation that is traced.
    rows : torch.Tensor, shape (R, K), int64
        Ids of the elements.
    values : torch.Tensor, shape (R, K)
        Their values, read where an element is constant; -inf for what is none, such as the padding of a pool.
    reduce : {"max", "prod"}
        What the nodes do.
    sign : float
        Factor on the elements: -1 makes a maximum the negative of the minimum.
    """
    if call.tracer.settings.order == 1:
        return channels.depend_on(call, rows, reduce=reduce, approximate=False, activation="identity")
    return _make(call, rows, values, torch.tensor(sign).expand(rows.shape), reduce, "pool", (len(rows),))


def combine(call: Call, terms: Sequence[Term], shape: Sequence[int], reduce: Literal["max", "prod"]) -> Tensor:
    """Return ids of the maximum, or the product, of terms, elementwise, int64 of shape `shape`.

    Parameters
    ----------
    call : Call
        The operation that is traced.
    terms : sequence of Term
        Factor * value each; one may occur twice.
    shape : sequence of int
        Shape of the result.
    reduce : {"max", "prod"}
        What the nodes do.
    """
    shape = tuple(shape)
    if call.tracer.settings.order == 1:
        return channels.unit(call, terms, shape, activation="identity", reduce=reduce, kind="unit")
    columns = [
        (
            (call.ids(term.value) if term.ids is None else term.ids).expand(shape).reshape(-1),
            term.value.detach().cpu().double().expand(shape).reshape(-1),
            torch.as_tensor(term.factor).detach().cpu().double().expand(shape).reshape(-1),
        )
        for term in terms
    ]
    rows, values, factors = (torch.stack(parts, dim=1) for parts in zip(*columns, strict=True))
    return _make(call, rows, values, factors, reduce, "unit", shape).view(shape)


def products(call: Call, pairs: Tensor) -> Tensor:
    """Return ids of the products of pairs of activations, int64 of shape (n,).

    Parameters
    ----------
    call : Call
        The operation that is traced.
    pairs : torch.Tensor, shape (n, 2), int64
        Ids of the factors.
    """
    ones = torch.ones((), dtype=torch.float64).expand(pairs.shape)
    return _make(call, pairs, ones, ones, "prod", "unit", (len(pairs),))


def _make(
    call: Call,
    rows: Tensor,
    values: Tensor,
    factors: Tensor,
    reduce: Literal["max", "prod"],
    kind: Literal["unit", "pool"],
    shape: tuple[int, ...],
) -> Tensor:
    own, result = owners(call, rows)
    where = own.nonzero().squeeze(1)
    mine, factor = rows[where].numpy(), factors[where].double().cpu().numpy()
    linked = mine >= 0
    collector = call.tracer.collector
    constant = _constant(values[where].detach().cpu().double().numpy() * factor, linked, reduce)
    row, place = linked.nonzero()
    source, weight = mine[row, place], factor[row, place]
    again = _occurred(row, source, collector.num_nodes)
    if reduce == "max" and (factor == factor.reshape(-1)[:1]).all():
        row, source, weight, again = (entries[~again] for entries in (row, source, weight, again))
    source = source.copy()
    source[again] = _copies(call, source[again])
    fixed = np.flatnonzero(constant != _NEUTRAL[reduce])
    first = collector.add_nodes(
        len(fixed), "unit", bias=constant[fixed], module=call.tracer.module, operation="constant", element=fixed
    )
    start = collector.add_nodes(
        len(where),
        kind,
        reduce=reduce,
        module=call.tracer.module,
        operation=call.name,
        shape=sample_shape(call, shape),
        element=where.numpy(),
    )
    result[where] = torch.arange(start, start + len(where))
    collector.add_edges(source, start + row, weight)
    collector.add_edges(first + np.arange(len(fixed)), start + fixed, np.ones(len(fixed)))
    return result


def _constant(values: Array, linked: Array, reduce: str) -> Array:
    """Return the maximum or the product of the constants of each row, (R,)."""
    kept = np.where(linked, _NEUTRAL[reduce], values)
    constant: Array = kept.max(axis=1, initial=-np.inf) if reduce == "max" else kept.prod(axis=1)
    return constant


def _occurred(row: Array, source: Array, num_nodes: int) -> Array:
    """Return which pairs (row, source) came before, (E,) bool."""
    _, first = np.unique(row * max(1, num_nodes) + source, return_index=True)
    again = np.ones(len(row), dtype=bool)
    again[first] = False
    return again


def _copies(call: Call, source: Array) -> Array:
    """Return nodes that pass others through: two edges between the same nodes would be added up."""
    if not len(source):
        return source
    collector = call.tracer.collector
    start = collector.add_nodes(len(source), "unit", module=call.tracer.module, operation=call.name)
    collector.add_edges(source, start + np.arange(len(source)), np.ones(len(source)))
    return start + np.arange(len(source))

"""Order 1: how rules make channels. The same trace with coarser ids: elements of a result that stand for one channel
share a node, so that the neurons are never built.

What is one channel follows from what the elements read: results of a pointwise operation on the same channels are one
channel; a product with weights has a channel per column, over all of its rows (positions, tokens); a normalisation has
one per channel that it normalises; a product of activations one per pair of rows and columns that read the same.
Padding and other constants do not tell channels apart. An edge carries how many weights it stands for, and their norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from deepgraph.transform.channel_classes import (
    Classes,
    by_set,
    by_tuple,
    join,
    members,
    single_source,
    unique_pairs,
)
from deepgraph.transform.couplings import Couplings
from deepgraph.transform.operands import Block, Term, flat, owners, short_name
from deepgraph.transform.rules import Call
from deepgraph.transform.support import FIXED, Matrix
from deepgraph.transform.traced import Array

__all__ = ["depend_on", "multiply", "product", "spread", "unit"]


def unit(
    call: Call,
    terms: Sequence[Term],
    shape: tuple[int, ...],
    *,
    bias: Tensor | float = 0.0,
    activation: str,
    reduce: str,
    kind: Literal["unit", "pool"],
) -> Tensor:
    """Return the ids of activation(bias + sum of terms), elementwise, in channels: int64 of shape `shape`.

    Parameters
    ----------
    call, terms, shape, bias, activation, reduce, kind
        As for `neurons.unit`; the terms of a pool are the places of a window, which are one channel's.
    """
    ids = [(call.ids(term.value) if term.ids is None else term.ids).expand(shape).reshape(-1) for term in terms]
    own, result = owners(call, torch.stack(ids, dim=1))
    where = own.nonzero().squeeze(1)
    columns = [entries[where].numpy() for entries in ids]
    found = by_set(np.stack(columns, axis=1)) if kind == "pool" else by_tuple(columns, call.tracer.collector.num_nodes)
    edges = [_term_edges(term, shape, where, column, found.of) for term, column in zip(terms, columns, strict=True)]
    src, dst, weight, count = (np.concatenate(parts) for parts in zip(*edges, strict=True))
    # A pass that scales weights needs one factor per node: others stay nodes of their own.
    plain = bool((count == 1).all()) and len(np.unique(src * (found.count + 1) + dst)) == len(src)
    start = _add(call, found.count, kind if plain else "pool", activation=activation, reduce=reduce)
    result[where] = torch.from_numpy(start + found.of)
    call.tracer.collector.add_edges(src, start + dst, weight, count)
    if call.tracer.couplings is not None:
        constants = [bias, *(term.factor for term in terms)]
        _note_unit(call, call.tracer.couplings, columns, found, start, kind, constants)
    return result.view(shape)


def _note_unit(
    call: Call,
    couplings: Couplings,
    columns: list[Array],
    found: Classes,
    start: int,
    kind: str,
    constants: Sequence[Tensor | float],
) -> None:
    if kind == "pool":
        made, read = members(np.stack(columns, axis=1)[found.first])
        couplings.reads(start + made, read)
    else:
        rigid = any(isinstance(entry, Tensor) and entry.numel() > 1 for entry in constants)
        # The constants of a layer, such as the scales of a batch norm, are cut with its channels.
        couplings.elementwise(start + found.of, columns, rigid and not couplings.is_layer(call.tracer.running))


def _term_edges(
    term: Term, shape: tuple[int, ...], where: Tensor, column: Array, of: Array
) -> tuple[Array, Array, Array, Array]:
    """Return (channel read, class, norm, number of weights) of one summand."""
    if not isinstance(term.factor, Tensor) or term.factor.numel() == 1:
        scale = abs(float(term.factor))
        linked = (column >= 0) & (scale != 0)
        src, dst, _ = unique_pairs(column[linked], of[linked])
        return src, dst, np.full(len(src), scale), np.ones(len(src), dtype=np.int64)
    entry = torch.arange(term.factor.numel()).view(term.factor.shape).expand(shape).reshape(-1)[where].numpy()
    factor = flat(term.factor, shape, where).numpy()
    linked = (column >= 0) & (factor != 0)
    # Every entry of the factor counts once per edge, however many positions it is broadcast to.
    key = (entry * (int(of.max(initial=0)) + 1) + of)[linked]
    _, first = np.unique(key, return_index=True)
    source, target, square = column[linked][first], of[linked][first], factor[linked][first] ** 2
    src, dst, inverse = unique_pairs(source, target)
    return src, dst, np.sqrt(np.bincount(inverse, square, len(src))), np.bincount(inverse, minlength=len(src))


def product(call: Call, blocks: Sequence[Block], arrange: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the ids of rows times constant matrices, in channels, int64 in the shape of the result.

    Parameters
    ----------
    call, blocks, arrange
        As for `neurons.product`.
    """
    parts = []
    channel = 0
    for block in blocks:
        own, codes = owners(call, block.ids)
        rows = block.ids[own]
        width = block.matrix.shape[1]
        ids = codes[:, None].expand(-1, width).clone()
        fixed = block.matrix.rule == FIXED
        if not fixed:
            call.tracer.note_support(block.matrix.rule)
        source = single_source(rows.numpy())
        if source is not None and rows.shape[1] > 1 and (fixed or len(np.unique(source)) > 1):
            ids[own] = _product_of_positions(call, block, source)[:, None]
        elif len(rows):
            start = _add(call, width, "pool" if fixed else "neuron", element=channel + np.arange(width))
            made = torch.arange(start, start + width)
            ids[own] = made
            _connect(call, block, rows, start)
            if call.tracer.couplings is not None:
                call.tracer.couplings.product(call.tracer.running, made.numpy(), rows.numpy(), block.matrix.origin)
        parts.append(ids)
        channel += width
    return arrange(torch.cat(parts, dim=1))


def _product_of_positions(call: Call, block: Block, source: Array) -> Tensor:
    """Return the ids of rows (R,) that read one channel each: the matrix acts on positions, the channels stay."""
    found = Classes.of_keys(source)
    start = _add(call, found.count, "pool")
    read = source[found.first]
    norm = np.sqrt((block.matrix.weight.astype(np.float64) ** 2).sum())
    weight, count = np.full(found.count, norm), np.full(found.count, block.matrix.num_edges)
    linked = count > 0
    made = start + np.arange(found.count)
    call.tracer.collector.add_edges(read[linked], made[linked], weight[linked], count[linked])
    if call.tracer.couplings is not None:
        call.tracer.couplings.couple(read, made)
    return torch.from_numpy(start + found.of)


def _connect(call: Call, block: Block, rows: Tensor, start: int) -> None:
    """Add the edges of a product: each entry of the matrix leads from the channels that its place meets to a column."""
    matrix = block.matrix
    collector = call.tracer.collector
    place, source = _met(rows)
    several = np.bincount(place, minlength=matrix.shape[0])
    distinct = len(np.unique(source)) == len(source)
    # Entries that share channel and column are one edge.
    bound = int(several[matrix.row.numpy()].sum())
    if collector.counting_only and not collector.room_for(bound if distinct else _pairs_at_most(bound, source, matrix)):
        return
    entry, met = join(matrix.row.numpy(), place, source)
    column, weight = matrix.column.numpy()[entry], matrix.weight[entry]
    if distinct:
        collector.add_edges(met, start + column, np.abs(weight), np.ones(len(entry), dtype=np.int64))
        return
    src, dst, inverse = unique_pairs(met, column)
    norm = np.sqrt(np.bincount(inverse, weight.astype(np.float64) ** 2, len(src)))
    collector.add_edges(src, start + dst, norm, np.bincount(inverse, minlength=len(src)))


def _pairs_at_most(entries: int, source: Array, matrix: Matrix) -> int:
    return min(entries, len(np.unique(source)) * matrix.shape[1])


def _met(rows: Tensor) -> tuple[Array, Array]:
    """Return the pairs (place in a row, channel) that occur in rows (R, K), by place."""
    known = rows >= 0
    most = rows.amax(0)
    least = torch.where(known, rows, torch.iinfo(torch.int64).max).amin(0)
    if bool(((most < 0) | (least == most)).all()):
        place = (most >= 0).nonzero().squeeze(1)
        return place.numpy(), most[place].numpy()
    where = known.nonzero(as_tuple=True)
    met, source, _ = unique_pairs(where[1].numpy(), rows[where].numpy())
    return met, source


def depend_on(call: Call, rows: Tensor, *, reduce: str, approximate: bool, activation: str) -> Tensor:
    """Return the ids of rows that depend on all of their elements, in channels, int64 of shape (R,).

    Parameters
    ----------
    call, rows, reduce, approximate, activation
        As for `neurons.depend_on`; rows that read the same channels are one.
    """
    own, result = owners(call, rows)
    mine = rows[own].numpy()
    found = by_set(mine)
    start = _add(call, found.count, "pool", reduce=reduce, activation=activation, approximate=approximate)
    result[own] = torch.from_numpy(start + found.of)
    made, read = members(mine[found.first])
    _link(call, read, start + made)
    if call.tracer.couplings is not None:
        call.tracer.couplings.reads(start + made, read)
    return result


def spread(call: Call, rows: Tensor) -> Tensor:
    """Return the ids of elements that depend on their whole row, in channels: one per channel that is normalised.

    Parameters
    ----------
    call, rows
        As for `neurons.spread`.
    """
    own, codes = owners(call, rows)
    result = codes[:, None].expand(rows.shape).clone()
    mine = rows[own].clamp(min=-1).numpy()
    found = by_tuple([mine.reshape(-1)], call.tracer.collector.num_nodes)
    start = _add(call, found.count, "pool", activation=short_name(call))
    of = found.of.reshape(mine.shape)
    result[own] = torch.from_numpy(start + of)
    sources, targets = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    # Once per different set of channels: a normalisation has one, or one per group.
    for row in by_set(mine).first.tolist():
        read, made = np.unique(mine[row][mine[row] >= 0]), np.unique(of[row])
        sources.append(np.repeat(read, len(made)))
        targets.append(np.tile(made, len(read)))
    src, dst, _ = unique_pairs(np.concatenate(sources), np.concatenate(targets))
    _link(call, src, start + dst)
    if call.tracer.couplings is not None:
        call.tracer.couplings.reads(start + dst, src)
    return result


def multiply(call: Call, left: Tensor, right: Tensor) -> Tensor:
    """Return the ids of products of matrices of activations, in channels, int64 of shape (B, R, M).

    Parameters
    ----------
    call, left, right
        As for `neurons.multiply`; results of rows and columns that read the same are one channel.
    """
    first, second = left, right.transpose(1, 2)
    shape = (left.shape[0], left.shape[1], right.shape[2])
    sides, codes = [], []
    for ids in (first, second):
        rows = ids.reshape(-1, ids.shape[2])
        own, code = owners(call, rows)
        codes.append(torch.where(own, 0, code).view(ids.shape[:2]))
        sides.append((rows.numpy(), by_set(rows.numpy())))
    both = torch.stack([codes[0][:, :, None].expand(shape), codes[1][:, None, :].expand(shape)], dim=-1)
    own, result = owners(call, both.reshape(-1, 2))
    (row_ids, a), (column_ids, b) = sides
    pair = a.of.reshape(shape[0], -1, 1) * max(1, b.count) + b.of.reshape(shape[0], 1, -1)
    mine = np.broadcast_to(pair, shape).reshape(-1)[own.numpy()]
    found = Classes.of_keys(mine)
    start = _add(call, found.count, "pool", activation=short_name(call))
    result[own] = torch.from_numpy(start + found.of)
    of_rows, of_columns = np.divmod(mine[found.first], max(1, b.count))
    sources, targets = [], []
    for keys, entries in ((of_rows, row_ids[a.first]), (of_columns, column_ids[b.first])):
        made, read = join(keys, *members(entries))
        sources.append(read)
        targets.append(made)
    src, dst, _ = unique_pairs(np.concatenate(sources), np.concatenate(targets))
    _link(call, src, start + dst)
    if call.tracer.couplings is not None:
        call.tracer.couplings.hold(np.concatenate([src, start + dst]))
    return result.view(shape)


def _add(
    call: Call,
    count: int,
    kind: Literal["unit", "pool", "neuron"],
    *,
    activation: str = "identity",
    reduce: str = "sum",
    approximate: bool = False,
    element: Array | None = None,
) -> int:
    return call.tracer.collector.add_nodes(
        count,
        kind,
        activation=activation,
        reduce=reduce,
        approximate=approximate,
        module=call.tracer.module,
        operation=call.name,
        element=element,
    )


def _link(call: Call, src: Array, dst: Array) -> None:
    call.tracer.collector.add_edges(src, dst, np.ones(len(src)), np.ones(len(src), dtype=np.int64))

"""How rules make neurons: sums of a few elements, products with a constant matrix, and results of unknown form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from deepgraph.transform import channels
from deepgraph.transform.operands import Block, Term, flat, owners, sample_shape, short_name, size
from deepgraph.transform.provenance import CONSTANT, OTHER_SAMPLE
from deepgraph.transform.rules import Call
from deepgraph.transform.support import FIXED
from deepgraph.transform.traced import NO_ORIGIN, Array

__all__ = ["depend_on", "fully_connected", "product", "spread", "unit"]

_EDGES_AT_ONCE = 4_000_000
"""Edges made in one piece: bounds the memory for what is only needed in between."""


def unit(
    call: Call,
    terms: Sequence[Term],
    shape: Sequence[int],
    *,
    bias: Tensor | float = 0.0,
    entries: Tensor | None = None,
    activation: str = "identity",
    reduce: str = "sum",
    kind: Literal["unit", "pool"] = "unit",
    slope: Tensor | None = None,
) -> Tensor:
    """Return the ids of activation(bias + sum of terms), elementwise, shape `shape`, int64.

    Parameters
    ----------
    call : Call
        The operation that is traced.
    terms : sequence of Term
        The summands.
    shape : sequence of int
        Shape of the result.
    bias : torch.Tensor or float
        Constant summand, broadcastable to `shape`.
    entries : torch.Tensor, optional
        What the bias holds the parameter entries of, broadcastable to `shape`; default: the bias itself.
    activation, reduce : str
        Of the new nodes.
    kind : {"unit", "pool"}
        Whether a fusion pass may merge the nodes away.
    slope : torch.Tensor, broadcastable to `shape`, optional
        Of a prelu, at order 0.
    """
    shape = tuple(shape)
    if call.tracer.settings.order == 1:
        return channels.unit(call, terms, shape, bias=bias, activation=activation, reduce=reduce, kind=kind)
    ids = [(call.ids(term.value) if term.ids is None else term.ids).expand(shape).reshape(-1) for term in terms]
    own, result = owners(call, torch.stack(ids, dim=1) if ids else torch.full((size(shape), 1), CONSTANT))
    where = own.nonzero().squeeze(1)
    factors = [flat(term.factor, shape, where) for term in terms]
    read = [(column[where] >= 0) & (factor != 0) for column, factor in zip(ids, factors, strict=True)]
    # What a factor of 0 takes out, such as a mask, is a constant.
    kept = torch.stack(read).any(0) if read else torch.zeros(0, dtype=torch.bool)
    where = where[kept]
    total = flat(bias, shape, where)
    pieces = []
    for term, column, factor, linked in zip(terms, ids, factors, read, strict=True):
        source, factor, linked = column[where], factor[kept], linked[kept]
        fixed = source < 0
        if bool(fixed.any()):
            total = total + torch.where(fixed, factor * flat(term.value, shape, where), 0.0)
        at = linked.nonzero().squeeze(1)
        pieces.append((source[at], at, factor[at]))
    named = bias if entries is None else entries
    call.tracer.provenance.use(*(term.factor for term in terms))
    call.tracer.provenance.use(*(term.value for term in terms if not call.tracked(term.value)))
    collector = call.tracer.collector
    start = collector.add_nodes(
        len(where),
        kind,
        bias=total.numpy(),
        entries=_entries(call, named, lambda found: found.expand(shape).reshape(-1)[where]),
        activation=activation,
        reduce=reduce,
        module=call.tracer.module,
        operation=call.name,
        shape=sample_shape(call, shape),
        element=where.numpy(),
        slope=None if slope is None else _slopes(call, slope, shape, where),
    )
    result[where] = torch.arange(start, start + len(where))
    for source, linked, factor in pieces:
        collector.add_edges(source.numpy(), (start + linked).numpy(), factor.numpy())
    return result.view(shape)


def product(
    call: Call,
    blocks: Sequence[Block],
    bias: Tensor | None,
    arrange: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return the ids of rows times constant matrices, in the shape of the result, int64.

    Parameters
    ----------
    call : Call
        The operation that is traced.
    blocks : sequence of Block
        Side by side they give the (R, M) entries of the product, M the sum of their columns.
    bias : torch.Tensor, broadcastable to (R, M), optional
        Added to the product.
    arrange : callable
        (R, M) -> a view of it in the shape of the result; new nodes are numbered along the result.
    """
    if call.tracer.settings.order == 1:
        return channels.product(call, blocks, arrange)
    rows, columns = blocks[0].ids.shape[0], sum(block.matrix.shape[1] for block in blocks)
    owned, codes = zip(*(owners(call, block.ids) for block in blocks), strict=True)
    blocks = [_with_constants(call, block, own) for block, own in zip(blocks, owned, strict=True)]
    widths = [block.matrix.shape[1] for block in blocks]
    own = _widen(owned, widths)
    ids = _widen(codes, widths)
    collector = call.tracer.collector
    count = int(own.sum())
    constant = _constant_part(blocks, bias, rows, columns)
    kind: Literal["pool", "neuron"] = "pool" if all(block.matrix.rule == FIXED for block in blocks) else "neuron"
    mine = arrange(own)
    start = collector.add_nodes(
        count,
        kind,
        bias=arrange(constant)[mine].numpy(),
        entries=_entries(call, bias, lambda found: arrange(found.expand(rows, columns).contiguous())[mine]),
        module=call.tracer.module,
        operation=call.name,
        shape=sample_shape(call, tuple(mine.shape)),
        element=mine.reshape(-1).nonzero().squeeze(1).numpy(),
    )
    arrange(ids)[mine] = torch.arange(start, start + count)
    first = 0
    for block, owner in zip(blocks, owned, strict=True):
        if block.matrix.rule != FIXED:
            call.tracer.note_support(block.matrix.rule)
        width = block.matrix.shape[1]
        _connect(call, block, owner, ids[:, first : first + width])
        first += width
    return arrange(ids)


def _entries(call: Call, bias: Tensor | float | None, layout: Callable[[Tensor], Tensor]) -> Array | None:
    """Return the parameter entries of a bias, laid out like its values (n,); None if it has none."""
    provenance = call.tracer.provenance
    if not isinstance(bias, Tensor) or not provenance.has_origin(bias):
        return None
    origins = provenance.origins(bias)
    if not torch.equal(
        provenance.values()[origins.clamp(min=0)][origins >= 0], bias.detach().cpu().double()[origins >= 0]
    ):
        # Scaled or shifted on its way: the entry is in it, but is not it.
        provenance.use(bias)
        return None
    found: Array = layout(origins).numpy()
    return found


def _slopes(call: Call, slope: Tensor, shape: tuple[int, ...], where: Tensor) -> tuple[Array, Array]:
    """Return the slopes of some elements of a result, and the parameter entries that they are."""
    call.tracer.provenance.use(slope)
    entries = _entries(call, slope, lambda found: found.expand(shape).reshape(-1)[where])
    return flat(slope, shape, where).numpy(), np.full(len(where), NO_ORIGIN) if entries is None else entries


def _with_constants(call: Call, block: Block, own: Tensor) -> Block:
    """Return a block in which constants that meet weights of parameters are nodes, one per place and value.

    In a bias they would outlive the edges of the weight.
    """
    if bool((block.ids >= 0).all()) or not (block.matrix.origin >= 0).any():
        return block
    values = block.value.detach().cpu().double()
    fixed = (block.ids < 0) & own[:, None] & (values != 0)
    if not bool(fixed.any()):
        return block
    place = fixed.nonzero()[:, 1].double()
    different, number = torch.unique(torch.stack([place, values[fixed]], dim=1), dim=0, return_inverse=True)
    start = call.tracer.collector.add_nodes(
        len(different), "unit", bias=different[:, 1].numpy(), module=call.tracer.module, operation="constant"
    )
    ids = block.ids.clone()
    ids[fixed] = start + number
    return replace(block, ids=ids)


def _connect(call: Call, block: Block, own: Tensor, targets: Tensor) -> None:
    collector = call.tracer.collector
    matrix = block.matrix
    where = own.nonzero().squeeze(1)
    per_row = matrix.num_edges
    degree = torch.bincount(matrix.row, minlength=matrix.shape[0])
    linked_elements = (block.ids[where] >= 0).sum(0)
    if not per_row or not collector.room_for(int(linked_elements @ degree)):
        return
    step = max(1, _EDGES_AT_ONCE // per_row)
    for begin in range(0, len(where), step):
        part = where[begin : begin + step]
        source = block.ids[part][:, matrix.row].reshape(-1).numpy()
        target = targets[part][:, matrix.column].reshape(-1).numpy()
        weight = np.tile(matrix.weight, len(part))
        origin = np.tile(matrix.origin, len(part))
        linked = source >= 0
        if not linked.all():
            source, target, weight, origin = source[linked], target[linked], weight[linked], origin[linked]
        collector.add_edges(source, target, weight, origin)


def _constant_part(blocks: Sequence[Block], bias: Tensor | None, rows: int, columns: int) -> Tensor:
    parts = []
    for block in blocks:
        fixed = torch.where(block.ids < 0, block.value.detach().cpu().double(), 0.0)
        if bool(fixed.any()):
            parts.append(fixed @ block.matrix.dense())
        else:
            parts.append(torch.zeros(rows, block.matrix.shape[1], dtype=torch.float64))
    total = torch.cat(parts, dim=1)
    return total if bias is None else total + bias.detach().cpu().double().expand(rows, columns)


def _widen(columns: Sequence[Tensor], widths: Sequence[int]) -> Tensor:
    return torch.cat([column[:, None].expand(-1, width) for column, width in zip(columns, widths, strict=True)], dim=1)


def depend_on(
    call: Call, rows: Tensor, *, reduce: str = "sum", approximate: bool = False, activation: str | None = None
) -> Tensor:
    """Return ids of new nodes, one per row, that depend on all elements of their row with weight 1, shape (R,), int64.

    Parameters
    ----------
    call : Call
        The operation that is traced.
    rows : torch.Tensor, shape (R, K), int64
        Ids of what each result depends on.
    reduce : str
        Of the new nodes.
    approximate : bool
        Whether the rows are only an upper bound.
    activation : str, optional
        Of the new nodes; default: the name of the operation, where they are no sums, maxima or products.
    """
    if activation is None:
        activation = "identity" if approximate or reduce != "sum" else short_name(call)
    if call.tracer.settings.order == 1:
        return channels.depend_on(call, rows, reduce=reduce, approximate=approximate, activation=activation)
    own, result = owners(call, rows)
    where = own.nonzero().squeeze(1)
    collector = call.tracer.collector
    start = collector.add_nodes(
        len(where),
        "pool",
        reduce=reduce,
        activation=activation,
        module=call.tracer.module,
        approximate=approximate,
        operation=call.name,
        shape=sample_shape(call, (len(rows),)),
        element=where.numpy(),
    )
    result[where] = torch.arange(start, start + len(where))
    if not collector.room_for(int((rows[where] >= 0).sum())):
        return result
    step = max(1, _EDGES_AT_ONCE // max(1, rows.shape[1]))
    for begin in range(0, len(where), step):
        part = where[begin : begin + step]
        source = rows[part].reshape(-1).numpy()
        target = result[part].repeat_interleave(rows.shape[1]).numpy()
        # An element that occurs twice in a row is one dependence, not a weight of two.
        pair = np.unique((target * collector.num_nodes + source)[source >= 0])
        target, source = np.divmod(pair, collector.num_nodes)
        collector.add_edges(source, target, np.ones(len(pair)))
    return result


def spread(call: Call, rows: Tensor, masked: Tensor | None = None) -> Tensor:
    """Return ids of new nodes, one per element of the rows, that depend on all elements of their row, int64, (R, K).

    Parameters
    ----------
    call : Call
        The operation that is traced, such as a softmax.
    rows : torch.Tensor, shape (R, K), int64
        Ids of what is normalised together.
    masked : torch.Tensor, shape (R, K), bool, optional
        Elements that are left out: they are constants, and nothing depends on them.
    """
    if call.tracer.settings.order == 1:
        return channels.spread(call, rows)
    count = rows.shape[1]
    read = rows if masked is None else rows.masked_fill(masked, CONSTANT)
    all_of = read[:, None, :].expand(-1, count, -1)
    if masked is not None:
        all_of = all_of.masked_fill(masked[:, :, None], CONSTANT)
    return depend_on(call, all_of.reshape(-1, count)).view(rows.shape)


def fully_connected(call: Call, outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return ids for the results of an operation without a rule: each depends on every operand of its sample.

    Parameters
    ----------
    call : Call
        The operation.
    outputs : sequence of torch.Tensor
        Its results; where the batch dimension has the two copies of the sample, the first half is the sample's.
    """
    tracer = call.tracer
    tracer.note_inexact(f"{call.name} has no rule and was connected all to all")
    sources = [call.ids(leaf).reshape(-1) for leaf in tree_leaves(call.arguments) if call.tracked(leaf)]
    found = np.unique(torch.cat(sources).numpy())
    row = torch.from_numpy(found[found >= 0])
    dim = tracer.settings.batch_dim
    results = []
    for tensor in outputs:
        ids = torch.full(tensor.shape, CONSTANT)
        batched = dim is not None and tensor.ndim > dim and tensor.shape[dim] == 2
        mine = ids.narrow(dim, 0, 1) if batched and dim is not None else ids
        made = depend_on(call, row.expand(mine.numel(), -1), approximate=True)
        mine.copy_(made.view(mine.shape))
        if batched and dim is not None:
            ids.narrow(dim, 1, 1).fill_(OTHER_SAMPLE)
        results.append(ids)
    return tuple(results)

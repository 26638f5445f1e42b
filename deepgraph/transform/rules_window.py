"""Rules for convolutions and pools: their windows are the windows of the ids.

Padding brings in constants of value 0, so that groups, dilation, stride and padding on every side come out right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.kernels.operator import program
from deepgraph.transform.neurons import product, unit
from deepgraph.transform.operands import Block, Term
from deepgraph.transform.provenance import CONSTANT, DERIVED
from deepgraph.transform.reductions import reduce_rows
from deepgraph.transform.rules import Call, rule, unsupported
from deepgraph.transform.support import DECLARED, Matrix, constant_matrix

__all__: list[str] = []


def windows(
    entries: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    fill: float,
    ends: Sequence[int] | None = None,
) -> Tensor:
    """Return the windows of a tensor (N, C, *S), shape (N, C, *S', *kernel).

    Parameters
    ----------
    entries : torch.Tensor, shape (N, C, *S)
        Ids or values.
    kernel, stride, padding, dilation : sequence of int
        One per spatial dimension.
    fill : float
        What padding brings in.
    ends : sequence of int, optional
        Further padding at the end of each dimension.

    Examples
    --------
    >>> windows(torch.arange(4).view(1, 1, 4), [2], [1], [1], [2], -1).tolist()
    [[[[-1, 1], [0, 2], [1, 3], [2, -1]]]]
    """
    extra = ends or [0] * len(kernel)
    sides = [side for pad, end in zip(reversed(padding), reversed(extra), strict=True) for side in (pad, pad + end)]
    padded = torch.nn.functional.pad(entries, sides, value=fill) if any(sides) else entries
    count = [
        (size - reach * (width - 1) - 1) // step + 1
        for size, width, step, reach in zip(padded.shape[2:], kernel, stride, dilation, strict=True)
    ]
    steps = padded.stride()
    return padded.as_strided(
        (*padded.shape[:2], *count, *kernel),
        (
            *steps[:2],
            *(step * size for step, size in zip(stride, steps[2:], strict=True)),
            *(reach * size for reach, size in zip(dilation, steps[2:], strict=True)),
        ),
        padded.storage_offset(),
    )


@rule("aten::convolution")
def convolution(call: Call) -> Tensor:
    """input (N, C, *S), weight (O, C / groups, *kernel): one product per group, rows are places."""
    x, weight, bias = call["input"], call["weight"], call.get("bias")
    if call.tracked(weight) or call.tracked(bias):
        raise unsupported(call, "expected the weight and the bias not to depend on the input, got an")
    groups, rank = int(call["groups"]), weight.ndim - 2
    kernel = weight.shape[2:]
    stride, padding, dilation = (_each(call[name], rank) for name in ("stride", "padding", "dilation"))
    sources = call.ids(x), x.detach()
    if call.get("transposed", False):
        ends = _each(call.get("output_padding", 0), rank)
        ids, values = (
            _spread_windows(entries, kernel, stride, padding, dilation, fill, ends)
            for entries, fill in zip(sources, (CONSTANT, 0), strict=True)
        )
        return _grouped(call, ids, values, weight, bias, groups, outer=1)
    ids, values = (
        windows(entries, kernel, stride, padding, dilation, fill)
        for entries, fill in zip(sources, (CONSTANT, 0), strict=True)
    )
    return _grouped(call, ids, values, weight, bias, groups, outer=0)


@rule("deepgraph::convolution")
def sparse_convolution(call: Call) -> tuple[Tensor, None]:
    """x (B, C, H, W), edge values or a masked weight, bias (O,), handle: like a convolution, by the edges declared."""
    x = call["x"]
    owner: Any = program(call["handle"])
    shape, kernel = owner.shape, owner.kernel
    geometry = shape.kernel, shape.stride, shape.padding, shape.dilation
    ids, values = (windows(entries, *geometry, fill) for entries, fill in ((call.ids(x), CONSTANT), (x.detach(), 0.0)))
    src, dst = (torch.from_numpy(np.array(part, np.int64)) for part in (kernel.src, kernel.dst))
    entry = torch.arange(len(src)) if call["weight"].dim() == 1 else dst * shape.num_sources + src
    weight = call["weight"].detach().cpu().reshape(-1)[entry]
    weight = weight if weight.dtype == torch.float64 else weight.float()
    origin = call.tracer.provenance.origins(call["weight"]).reshape(-1)[entry].numpy()
    outs = shape.out_channels // shape.groups
    matrices = []
    for group in range(shape.groups):
        # Ordered by output, then input, as a neuron's inputs are read.
        mine = torch.nonzero(dst // outs == group).squeeze(1)
        mine = mine[torch.argsort(dst[mine], stable=True)]
        row, column = src[mine], dst[mine] - group * outs
        place = mine.numpy()
        matrices.append(Matrix((shape.num_sources, outs), row, column, weight.numpy()[place], origin[place], DECLARED))
    return _product_of_windows(call, ids, values, matrices, call["bias"], shape.groups), None


def _each(value: int | Sequence[int], count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value) * (count if len(value) == 1 else 1)


def _spread_windows(
    entries: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    fill: float,
    ends: Sequence[int],
) -> Tensor:
    """Return the windows that a transposed convolution reads: of the operand spread by its stride, kernel reversed."""
    sizes = [(size - 1) * step + 1 if size else 0 for size, step in zip(entries.shape[2:], stride, strict=True)]
    spread = entries.new_full((*entries.shape[:2], *sizes), fill)
    places: tuple[Any, ...] = tuple(slice(None, None, step) for step in stride)
    spread[(..., *places)] = entries
    around = [reach * (width - 1) - pad for reach, width, pad in zip(dilation, kernel, padding, strict=True)]
    found = windows(spread, kernel, [1] * len(kernel), around, dilation, fill, ends)
    return found.flip(list(range(-len(kernel), 0)))


def _grouped(
    call: Call, ids: Tensor, values: Tensor, weight: Tensor, bias: Tensor | None, groups: int, outer: int
) -> Tensor:
    """Return ids of the product of windows (N, C, *S', *kernel) with a weight whose dimension `outer` are outputs."""
    matrices = [constant_matrix(call, weight, layout=_group_layout(group, groups, outer)) for group in range(groups)]
    return _product_of_windows(call, ids, values, matrices, bias, groups)


def _product_of_windows(
    call: Call, ids: Tensor, values: Tensor, matrices: Sequence[Matrix], bias: Tensor | None, groups: int
) -> Tensor:
    """Return ids of the product of windows (N, C, *S', *kernel) with a matrix (K, M) for each group of channels."""
    rank = ids.ndim // 2 - 1
    samples, channels, *places = ids.shape[: 2 + rank]
    order = [0, *range(2, 2 + rank), 1, *range(2 + rank, 2 + 2 * rank)]
    blocks = []
    for group, matrix in enumerate(matrices):
        mine = slice(group * (channels // groups), (group + 1) * (channels // groups))
        rows, value = (entries[:, mine].permute(order).reshape(-1, matrix.shape[0]) for entries in (ids, values))
        blocks.append(Block(rows, value, matrix))
    columns = sum(block.matrix.shape[1] for block in blocks)

    def arrange(entries: Tensor) -> Tensor:
        return entries.view(samples, *places, columns).movedim(-1, 1)

    return product(call, blocks, bias, arrange)


def _group_layout(group: int, groups: int, outer: int) -> Callable[[Tensor], Tensor]:
    def layout(entries: Tensor) -> Tensor:
        size = entries.shape[0] // groups
        mine = entries[group * size : (group + 1) * size]
        mine = mine if outer == 0 else mine.transpose(0, 1)
        return mine.reshape(mine.shape[0], -1).t()

    return layout


@rule("aten::avg_pool1d", "aten::avg_pool2d", "aten::avg_pool3d")
def avg_pool(call: Call) -> Tensor:
    """Mean of each window; padding counts where the operation says so."""
    geometry, inside = _pool(call)
    kernel, stride, padding, dilation, ends = geometry
    counts = call.get("divisor_override")
    if counts is None:
        if call.get("count_include_pad", True):
            # What ceil_mode adds beyond the declared padding never counts.
            inside = torch.nn.functional.pad(inside, [pad for pad in reversed(padding) for _ in range(2)], value=1)
            padding = [0] * len(kernel)
        counts = windows(inside, kernel, stride, padding, dilation, 0, ends).flatten(-len(kernel)).sum(-1)
    places = call.result.shape[-len(kernel) :]
    factor = 1 / torch.as_tensor(counts, dtype=torch.float64).expand(1, 1, *places)[0, 0]
    return _mean_of(call, *_pool_rows(call, geometry), factor)


def _pool(call: Call) -> tuple[tuple[list[int], ...], Tensor]:
    """Return (kernel, stride, padding, dilation, ends) of a pool, and a one for every place, (1, 1, *S)."""
    x = call["self"]
    rank = int(call.name.rpartition("pool")[2][0])
    kernel = _each(call["kernel_size"], rank)
    stride = _each(call.get("stride") or kernel, rank)
    padding = _each(call.get("padding", 0), rank)
    dilation = _each(call.get("dilation", 1), rank)
    result = call.result[0] if isinstance(call.result, tuple | list) else call.result
    ends = []
    for axis in range(rank):
        reach = (result.shape[axis - rank] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        ends.append(max(0, reach - x.shape[axis - rank] - 2 * padding[axis]))
    return (kernel, stride, padding, dilation, ends), torch.ones(1, 1, *x.shape[x.ndim - rank :], dtype=torch.float64)


def _pool_rows(call: Call, geometry: tuple[list[int], ...], outside: float = 0) -> tuple[Tensor, Tensor]:
    """Return ids and values of the windows, each of the result's shape with the K elements of a window last."""
    kernel, stride, padding, dilation, ends = geometry
    x = call["self"]
    result = call.result[0] if isinstance(call.result, tuple | list) else call.result
    rows = []
    for entries, fill in ((call.ids(x), CONSTANT), (x.detach(), outside)):
        flat = entries.reshape(-1, 1, *x.shape[x.ndim - len(kernel) :])
        found = windows(flat, kernel, stride, padding, dilation, fill, ends)
        rows.append(found.reshape(*result.shape, math.prod(kernel)))
    return rows[0], rows[1]


def _mean_of(call: Call, ids: Tensor, values: Tensor, factor: Tensor) -> Tensor:
    terms = [Term(values[..., k], factor, ids[..., k]) for k in range(ids.shape[-1])]
    return unit(call, terms, call.result.shape, kind="pool")


@rule("aten::_adaptive_avg_pool2d", "aten::_adaptive_avg_pool3d", "aten::adaptive_avg_pool1d")
def adaptive_avg_pool(call: Call) -> Tensor:
    """Mean of windows floor(i S / O) .. ceil((i + 1) S / O)."""
    ids, values, inside = _adaptive_windows(call)
    return _mean_of(call, ids, values, 1 / inside.sum(-1))


@rule("aten::adaptive_max_pool2d", "aten::adaptive_max_pool3d", "aten::adaptive_max_pool1d")
def adaptive_max_pool(call: Call) -> tuple[Tensor | None, ...]:
    """Maximum of the same windows."""
    ids, values, inside = _adaptive_windows(call)
    values = torch.where(inside > 0, values.cpu(), -math.inf)
    made = reduce_rows(call, ids.flatten(0, -2), values.flatten(0, -2), "max").view(ids.shape[:-1])
    return made, torch.full(made.shape, DERIVED)


def _adaptive_windows(call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids and values of the windows with their K elements last, and which of these count, (*S', K)."""
    x = call["self"]
    rank = len(call["output_size"])
    ids, values, inside = call.ids(x), x.detach(), torch.ones(x.shape[x.ndim - rank :], dtype=torch.float64)
    for axis in range(rank):
        size, count = x.shape[axis - rank], call["output_size"][axis]
        first = [i * size // count for i in range(count)]
        last = [-((-(i + 1) * size) // count) for i in range(count)]
        width = max(end - begin for begin, end in zip(first, last, strict=True))
        place = torch.tensor(first)[:, None] + torch.arange(width)
        valid = place < torch.tensor(last)[:, None]
        ids, values, inside = (
            _gather_windows(entries, axis - rank, axis, place, valid, fill)
            for entries, fill in ((ids, CONSTANT), (values, 0), (inside, 0))
        )
    return ids.flatten(-rank), values.flatten(-rank), inside.flatten(-rank)


def _gather_windows(entries: Tensor, dim: int, done: int, place: Tensor, valid: Tensor, fill: float) -> Tensor:
    """Return entries with dimension `dim`, counted before the `done` window dimensions, cut into windows put last."""
    moved = entries.movedim(dim - done, -1)
    found = moved[..., place.clamp(max=moved.shape[-1] - 1)].masked_fill(~valid, fill)
    return found.movedim(-2, dim - done - 1)


@rule("aten::max_pool2d_with_indices", "aten::max_pool3d_with_indices", "aten::max_pool1d", "aten::max_pool2d")
def max_pool(call: Call) -> Tensor | tuple[Tensor | None, ...]:
    """Maximum of each window."""
    geometry, _ = _pool(call)
    ids, values = _pool_rows(call, geometry, -math.inf)
    made = reduce_rows(call, ids.flatten(0, -2), values.flatten(0, -2), "max").view(ids.shape[:-1])
    return made if isinstance(call.result, Tensor) else (made, torch.full(made.shape, DERIVED))

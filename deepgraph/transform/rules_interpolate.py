"""Rules for interpolation: every result is a fixed weighted sum of the neighbours that the operation reads."""

from __future__ import annotations

import torch
from torch import Tensor

from deepgraph.transform.neurons import unit
from deepgraph.transform.operands import Term
from deepgraph.transform.rules import Call, rule

__all__: list[str] = []


@rule("aten::upsample_linear1d", "aten::upsample_bilinear2d", "aten::upsample_trilinear3d")
@rule("aten::upsample_bicubic2d", "aten::_upsample_bilinear2d_aa", "aten::_upsample_bicubic2d_aa")
def interpolate(call: Call) -> Tensor:
    """Products of one weight per axis: those of an axis are what the operation does to unit vectors along it."""
    x = call["self"]
    rank = x.ndim - 2
    ids, values = call.ids(x), x.detach()
    factor = torch.ones((), dtype=torch.float64)
    for axis in range(rank):
        place, weight = _axis(call, axis, rank)
        dim = axis - rank
        ids, values = (_neighbours(entries, dim, axis, place) for entries in (ids, values))
        shape = [1] * (2 * rank)
        shape[axis], shape[rank + axis] = weight.shape
        factor = factor * weight.view(shape)
    ids, values, factor = ids.flatten(-rank), values.flatten(-rank), factor.expand(factor.shape).flatten(-rank)
    terms = [Term(values[..., k], factor[..., k], ids[..., k]) for k in range(ids.shape[-1])]
    return unit(call, terms, call.result.shape, kind="pool")


def _axis(call: Call, axis: int, rank: int) -> tuple[Tensor, Tensor]:
    """Return the places (O, K) that the results along an axis read, and their weights (O, K), 0 if there are fewer."""
    size, count = call["self"].shape[axis - rank], call.result.shape[axis - rank]
    # Two elements along the other axes, which keep their size: with one, torch takes other kernels.
    shape, target = [2] * rank, [2] * rank
    shape[axis], target[axis] = 1, count
    basis = torch.eye(size, dtype=torch.float64).view([size, 1] + [size if a == axis else 1 for a in range(rank)])
    basis = basis.repeat(1, 1, *shape)
    arguments = dict(call.arguments, self=basis, output_size=target)
    scales = [name for name in ("scales_d", "scales_h", "scales_w", "scales") if name in arguments]
    arguments.update({name: call[name] if number == axis else None for number, name in enumerate(scales)})
    moved = call.run(arguments)[:, 0].movedim(axis + 1, 1)
    matrix = moved.reshape(size, count, -1)[:, :, 0].t()
    width = int((matrix != 0).sum(1).max())
    weight, place = matrix.abs().topk(width, dim=1)
    return place, torch.where(weight > 0, matrix.gather(1, place), 0.0)


def _neighbours(entries: Tensor, dim: int, done: int, place: Tensor) -> Tensor:
    """Return entries with dimension `dim`, counted before the `done` window dimensions, cut into windows put last."""
    moved = entries.movedim(dim - done, -1)
    return moved[..., place].movedim(-2, dim - done - 1)

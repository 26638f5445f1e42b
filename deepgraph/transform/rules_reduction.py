"""Rules for reductions and normalisations: sums, means, maxima, softmax, layer norm, batch norm in eval mode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepgraph.transform.neurons import depend_on, product, spread, unit
from deepgraph.transform.operands import Block, Term
from deepgraph.transform.provenance import CONSTANT, DERIVED, OPAQUE
from deepgraph.transform.reductions import reduce_rows
from deepgraph.transform.rules import Call, rule, unsupported
from deepgraph.transform.support import plain_matrix

__all__: list[str] = []

_FAR_BELOW = -1e4
"""What masks add to a score, or put in its place, is -inf or at least so low."""


def rows_along(entries: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the entries with the named dimensions last, as rows (R, K).

    Parameters
    ----------
    entries : torch.Tensor
        Any shape.
    dims : sequence of int
        The K elements of a row run over these.

    Examples
    --------
    >>> rows_along(torch.arange(6).view(2, 3), [0]).tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    dims = [dim % max(1, entries.ndim) for dim in dims]
    if entries.ndim == 0:
        return entries.view(1, 1)
    others = [dim for dim in range(entries.ndim) if dim not in dims]
    count = math.prod(entries.shape[dim] for dim in dims)
    return entries.permute(*others, *dims).reshape(-1, count)


def _dims(call: Call) -> list[int]:
    dim = call.get("dim")
    if dim is None or (isinstance(dim, list | tuple) and not dim):
        return list(range(call["self"].ndim))
    return [dim] if isinstance(dim, int) else list(dim)


@rule("aten::sum", "aten::mean")
def total(call: Call) -> Tensor:
    """Sum or mean over dimensions: a node with one edge per element."""
    x = call["self"]
    ids, values = rows_along(call.ids(x), _dims(call)), rows_along(x, _dims(call))
    factor = 1.0 if call.name.startswith("aten::sum") else 1 / max(1, ids.shape[1])
    matrix = plain_matrix(torch.full((ids.shape[1], 1), factor, dtype=torch.float64))
    made = product(call, [Block(ids, values, matrix)], None, lambda entries: entries)
    return made.view(call.result.shape)


@rule("aten::cumsum")
def cumsum(call: Call) -> Tensor:
    """Running sums: element k reads the elements up to k."""
    x, dim = call["self"], call["dim"]
    ids, values = rows_along(call.ids(x), [dim]), rows_along(x, [dim])
    upper = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.float64).triu()
    matrix = plain_matrix(upper)
    order = [d for d in range(x.ndim) if d != dim % max(1, x.ndim)]
    shape = [x.shape[d] for d in order] + [ids.shape[1]]

    def arrange(entries: Tensor) -> Tensor:
        return entries.view(shape).movedim(-1, dim) if x.ndim else entries.view(())

    return product(call, [Block(ids, values, matrix)], None, arrange)


@rule("aten::amax", "aten::amin", "aten::max", "aten::min", "aten::prod")
def extreme(call: Call) -> Tensor | tuple[Tensor | None, ...]:
    """Maximum, minimum (the negative of the maximum of the negatives) or product of a row."""
    result = call.result[0] if isinstance(call.result, list | tuple) else call.result
    x = call["self"]
    rows, values = rows_along(call.ids(x), _dims(call)), rows_along(x.detach(), _dims(call))
    lowest = call.name in ("aten::amin", "aten::min")
    made = reduce_rows(call, rows, values, "prod" if call.name == "aten::prod" else "max", -1.0 if lowest else 1.0)
    made = made.view(result.shape)
    if lowest:
        made = unit(call, [Term(-result, -1.0, made)], result.shape)
    return made if isinstance(call.result, Tensor) else (made, torch.full(call.result[1].shape, DERIVED))


@rule("aten::logsumexp", "aten::var", "aten::std", "aten::linalg_vector_norm", "aten::norm")
def reduced(call: Call) -> Tensor:
    """One result from all elements of a row, by a function that is not a sum."""
    result = call.result
    call.tracer.note_inexact(f"{call.name} is not a sum")
    return depend_on(call, rows_along(call.ids(call["self"]), _dims(call))).view(result.shape)


@rule("aten::_softmax", "aten::_log_softmax", "aten::_safe_softmax")
def softmax(call: Call) -> Tensor:
    """Every element of a row depends on the whole row, but for what a mask takes out of it."""
    return _spread(call, call.ids(call["self"]), [call["dim"]], _masked(call))


def _masked(call: Call) -> Tensor | None:
    """Return which operands of a softmax a mask takes out: far below zero by a constant, with a result of 0."""
    x = call["self"].detach().cpu().double()
    low = (call.result.detach().cpu() == 0) & (x <= _FAR_BELOW)
    if call.tracer.settings.order == 1 or not bool(low.any()):
        return None
    ids = call.ids(call["self"])[low]
    shift = torch.from_numpy(call.tracer.collector.biases(ids.clamp(min=0).numpy()))
    masked = torch.zeros(x.shape, dtype=torch.bool)
    masked[low] = (ids == CONSTANT) | ((ids >= 0) & (shift <= _FAR_BELOW))
    return masked


@rule("aten::native_layer_norm")
def layer_norm(call: Call) -> tuple[Tensor | None, ...]:
    """Every element depends on all that it is normalised with."""
    dims = list(range(-len(call["normalized_shape"]), 0))
    return _spread(call, call.ids(call["input"]), dims), *_opaque(call)


@rule("aten::_fused_rms_norm")
def rms_norm(call: Call) -> tuple[Tensor | None, ...]:
    """As layer norm."""
    dims = list(range(-len(call["normalized_shape"]), 0))
    return _spread(call, call.ids(call["input"]), dims), *_opaque(call)


@rule("aten::native_group_norm")
def group_norm(call: Call) -> tuple[Tensor | None, ...]:
    """Every element depends on all elements of its group of channels."""
    x = call["input"]
    grouped = x.shape[0], call["group"], -1
    ids = call.ids(x).reshape(grouped)
    return _spread(call, ids, [2]).view(x.shape), *_opaque(call)


def _opaque(call: Call) -> list[Tensor]:
    """Return entries for the statistics that a normalisation returns beside its result."""
    return [torch.full(tensor.shape, OPAQUE) for tensor in call.result[1:]]


def _spread(call: Call, ids: Tensor, dims: Sequence[int], masked: Tensor | None = None) -> Tensor:
    """Return ids of nodes, one per element, each reading all elements along `dims`; the function is not carried."""
    call.tracer.note_inexact(f"{call.name} divides activations by activations")
    if ids.ndim == 0:
        return depend_on(call, ids.view(1, 1)).view(())
    dims = [dim % ids.ndim for dim in dims]
    others = [dim for dim in range(ids.ndim) if dim not in dims]
    ordered = ids.permute(*others, *dims)
    made = spread(call, rows_along(ids, dims), None if masked is None else rows_along(masked, dims))
    back = sorted(range(ids.ndim), key=lambda dim: (others + dims)[dim])
    return made.view(ordered.shape).permute(back)


@rule("aten::native_batch_norm", "aten::_native_batch_norm_legit", "aten::_native_batch_norm_legit_no_training")
@rule("aten::cudnn_batch_norm", "aten::_batch_norm_with_update")
def batch_norm(call: Call) -> Tensor | tuple[Tensor | None, ...]:
    """(x - mean) / sqrt(var + eps) * weight + bias with recorded mean and var: a scale and a shift per channel."""
    x, mean, var = call["input"], call.get("running_mean"), call.get("running_var")
    training = call.get("training", "no_training" not in call.name)
    if (training or mean is None or var is None) and x.shape[0] == 1:
        # Instance norm: samples and channels lie side by side, the statistics are those of one channel of one sample.
        made = _spread(call, call.ids(x), [0, *range(2, x.ndim)])
        return (made, *_opaque(call)) if isinstance(call.result, list | tuple) else made
    if training or mean is None or var is None:
        raise unsupported(
            call, "expected batch norm with recorded statistics, got statistics of the batch, which mix samples, in"
        )
    scale = (var.double() + call["eps"]).rsqrt()
    if call.get("weight") is not None:
        scale = scale * call["weight"]
    shift = -mean * scale
    if call.get("bias") is not None:
        shift = shift + call["bias"]
    channel = [1, -1] + [1] * (x.ndim - 2)
    scale, shift = (entries.view(channel) for entries in (scale, shift))
    entries = None if call.get("bias") is None else call["bias"].view(channel)
    made = unit(call, [Term(x, scale)], x.shape, bias=shift, entries=entries)
    if isinstance(call.result, Tensor):
        return made
    return made, *[None] * (len(call.result) - 1)

"""Rules for lookups and for sums over places that an index names: embedding, scatter_add, index_add, fold."""

from __future__ import annotations

import torch
from torch import Tensor

from deepgraph.transform.accumulate import accumulate, constant_index, places
from deepgraph.transform.neurons import product
from deepgraph.transform.operands import Block
from deepgraph.transform.provenance import CONSTANT, DERIVED, OTHER_SAMPLE
from deepgraph.transform.rules import Call, constant_rule, rule, unsupported
from deepgraph.transform.rules_movement import move_declared
from deepgraph.transform.support import constant_matrix

__all__: list[str] = []


@rule("aten::embedding")
def embedding(call: Call) -> Tensor:
    """weight[indices]: a token reads one row of the weight, which is a product with a one-hot vector.

    At order 1 an edge stands for the whole column of the weight.
    """
    weight, indices = call["weight"], call["indices"]
    shape = (*indices.shape, weight.shape[1])
    if call.tracked(weight):
        if call.tracked(indices):
            raise unsupported(
                call, "expected a constant weight or constant indices, got both depending on the input in"
            )
        return call.ids(weight)[indices.cpu().reshape(-1)].view(shape)
    call.tracer.note_inexact(f"{call.name} looks up rows by an index")
    ids = call.ids(indices).reshape(-1, 1)
    if call.tracer.settings.order == 1:
        rows = ids.expand(-1, weight.shape[0])
        values = torch.zeros(()).expand(rows.shape)
        return product(call, [Block(rows, values, constant_matrix(call, weight))], None, lambda x: x.view(shape))
    token = indices.reshape(-1).cpu()
    made = torch.full((len(token), weight.shape[1]), CONSTANT)
    made[ids[:, 0] == OTHER_SAMPLE] = OTHER_SAMPLE
    made[ids[:, 0] == DERIVED] = DERIVED
    for number in torch.unique(token[ids[:, 0] >= 0]).tolist():
        # A constant matrix per token that occurs, one row each: what is looked up is the weight of the edge.
        mine = (token == number) & (ids[:, 0] >= 0)
        block = Block(ids[mine], torch.zeros(int(mine.sum()), 1), constant_matrix(call, weight[number : number + 1]))
        made[mine] = product(call, [block], None, lambda x: x)
    return made.view(shape)


@constant_rule("aten::embedding")
def constant_embedding(call: Call) -> None:
    """A weight that is looked up by constants is a movement of its entries."""
    move_declared(call, ("weight",), {})


@rule("aten::scatter_add", "aten::scatter_reduce")
def scatter_add(call: Call) -> Tensor:
    """self, plus src at the places that index names along dim."""
    if call.get("reduce", "sum") not in ("sum", "add") or not call.get("include_self", True):
        raise unsupported(call, 'expected reduce="sum" with include_self=True, got another')
    base, index = call["self"], constant_index(call, call["index"])
    window = tuple(slice(0, size) for size in index.shape)
    target = places(base).gather(call["dim"], index) if base.ndim else index * 0
    return accumulate(call, base, call["src"][window] if base.ndim else call["src"], target)


@rule("aten::index_add")
def index_add(call: Call) -> Tensor:
    """self, plus alpha * source at the places that index names along dim."""
    base, source = call["self"], call["source"]
    target = places(base).index_select(call["dim"], constant_index(call, call["index"]))
    return accumulate(call, base, source, target, float(call.get("alpha", 1)))


@rule("aten::col2im")
def fold(call: Call) -> Tensor:
    """Sum of windows at the places that they were cut from."""
    size = call["output_size"]
    x = call["self"]
    samples = x.shape[0] if x.ndim == 3 else 1
    channels = call.result.shape[-3]
    geometry = {name: call[name if name != "kernel" else "kernel_size"] for name in ("dilation", "padding", "stride")}
    # Places from 1: padding is 0 and belongs to none.
    numbers = torch.arange(1.0, 1 + samples * channels * size[0] * size[1], dtype=torch.float64)
    cut = torch.nn.functional.unfold(numbers.view(samples, channels, *size), call["kernel_size"], **geometry)
    return accumulate(call, torch.zeros(call.result.shape), x, cut.long().view(x.shape) - 1)

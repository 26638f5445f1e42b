"""Rules for operations on constants: what happens to the support and the parameter entries of a weight on its way.

A product with a mask declares the support, zeros of the weight included; a scale or a shift keeps the entries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from deepgraph.transform.provenance import Provenance
from deepgraph.transform.rules import Call, constant_rule

__all__: list[str] = []


@constant_rule("aten::mul")
def mul(call: Call) -> None:
    """weight * mask: the support is the mask; weight * scale: the support stays."""
    _combine(call, call["self"], call["other"])
    masks = [x for x in (call["self"], call["other"]) if _masks(call.tracer.provenance, x)]
    if masks:
        _declare(call, [mask != 0 for mask in masks])


@constant_rule("aten::div", "aten::neg", "aten::_to_copy", "aten::copy")
def scaled(call: Call) -> None:
    """weight / scale, -weight, weight in another dtype."""
    source = call["src"] if call.name.startswith("aten::copy") else call["self"]
    _combine(call, source, call.get("other"))
    if call.tracer.provenance.is_mask(source):
        _declare(call, [source != 0])


@constant_rule("aten::add", "aten::sub")
def shifted(call: Call) -> None:
    """weight + shift: the entries stay, a support does not."""
    _combine(call, call["self"], call["other"], support=False)


@constant_rule("aten::addmm")
def affine(call: Call) -> None:
    """bias + a product of constants: of a product that is 0, such as that of a first state, the bias is left."""
    provenance = call.tracer.provenance
    _product(call, call["mat1"], call["mat2"])
    if call["beta"] == 1 and not bool((call["mat1"] @ call["mat2"]).any()):
        provenance.origin.write(call.result, provenance.origins(call["self"]).expand(call.result.shape))
    else:
        provenance.use(call["self"])


@constant_rule("aten::mm", "aten::bmm")
def matmul(call: Call) -> None:
    """A product of constants: zeros take nothing of the other factor over."""
    _product(call, call["self"], call["mat2"])


def _product(call: Call, left: Tensor, right: Tensor) -> None:
    for factor, other in ((left, right), (right, left)):
        if factor.layout == torch.strided and bool(other.any()):
            call.tracer.provenance.use(factor)


@constant_rule("aten::masked_fill")
def masked_fill(call: Call) -> None:
    """weight where the mask is off, else a value: with 0 the support is what is not filled."""
    _combine(call, call["self"])
    if not isinstance(call["value"], Tensor) and call["value"] == 0:
        _declare(call, [~call["mask"]])


@constant_rule("aten::where.self")
def where(call: Call) -> None:
    """weight where the condition holds, else 0: the support is the condition."""
    _combine(call, call["self"])
    if not bool(call["other"].any()):
        _declare(call, [call["condition"]])


def _masks(provenance: Provenance, value: Any) -> bool:
    """Return whether a constant is a mask: declared as one, or of zeros and ones with at least one of each."""
    if not isinstance(value, Tensor):
        return False
    if provenance.is_mask(value):
        return True
    if value.layout != torch.strided or provenance.has_origin(value) or value.numel() < 2:
        return False
    return bool(((value == 0) | (value == 1)).all()) and bool((value == 0).any()) and bool((value == 1).any())


def _combine(call: Call, *operands: Any, support: bool = True) -> None:
    """Pass on the entries of the only operand that has some, and what is declared of any."""
    provenance = call.tracer.provenance
    tensors = [x for x in operands if isinstance(x, Tensor) and x.layout == torch.strided]
    named = [x for x in tensors if provenance.has_origin(x)]
    if len(named) == 1:
        provenance.origin.write(call.result, provenance.origins(named[0]).expand(call.result.shape))
    else:
        provenance.use(*named)
    declared = [x for x in tensors if provenance.support.has(x)]
    if support and declared:
        _declare(call, [provenance.support.read(x) for x in declared])


def _declare(call: Call, supports: list[Tensor]) -> None:
    """Write the intersection of supports, and of what was known of the result already."""
    table = call.tracer.provenance.support
    shape = call.result.shape
    before = table.read(call.result)
    total = before.clone() if table.has(call.result) else torch.full(shape, -1)
    for entry in supports:
        part = entry.long().expand(shape)
        total = torch.where(total < 0, part, torch.where(part < 0, total, total * part))
    table.write(call.result, total)

"""Rules for matrix products: the operand that does not depend on the input is the effective weight.

Masks, weight norm, pruning and tied parameters have been applied to it when the product runs, so that no module needs
to be looked up. Shapes: R rows (samples, tokens), K inputs, M outputs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from deepgraph.transform.bilinear import multiply
from deepgraph.transform.neurons import product, unit
from deepgraph.transform.operands import Block, Term
from deepgraph.transform.rules import Call, rule
from deepgraph.transform.support import constant_matrix

__all__: list[str] = []


@rule("aten::mm")
def mm(call: Call) -> Tensor:
    """self (R, K) @ mat2 (K, M)."""
    return _matmul(call, call["self"], call["mat2"])


@rule("aten::addmm", "aten::_sparse_addmm")
def addmm(call: Call) -> Tensor:
    """beta * self + alpha * (mat1 (R, K) @ mat2 (K, M))."""
    return _add(call, call["self"], _second(call, "mat1"), _second(call, "mat2"))


@rule("aten::_sparse_mm")
def sparse_mm(call: Call) -> Tensor:
    """sparse (R, K) @ dense (K, M)."""
    return _matmul(call, call["sparse"], call["dense"])


@rule("aten::mv")
def mv(call: Call) -> Tensor:
    """self (R, K) @ vec (K,)."""
    return _matmul(call, call["self"], call["vec"][:, None]).squeeze(1)


@rule("aten::addmv")
def addmv(call: Call) -> Tensor:
    """beta * self (R,) + alpha * (mat (R, K) @ vec (K,))."""
    return _add(call, call["self"][:, None], call["mat"], call["vec"][:, None]).squeeze(1)


@rule("aten::dot", "aten::vdot")
def dot(call: Call) -> Tensor:
    """self (K,) . other (K,)."""
    other = call["tensor"] if "tensor" in call.arguments else call["other"]
    return _matmul(call, call["self"][None], other[:, None]).view(())


@rule("aten::bmm")
def bmm(call: Call) -> Tensor:
    """self (B, R, K) @ mat2 (B, K, M)."""
    return _batched(call, call["self"], call["mat2"])


@rule("aten::baddbmm")
def baddbmm(call: Call) -> Tensor:
    """beta * self + alpha * (batch1 (B, R, K) @ batch2 (B, K, M))."""
    left, right = call["batch1"], call["batch2"]
    alpha, beta = call.get("alpha", 1), call.get("beta", 1)
    made = Term(torch.bmm(left, right), alpha, _batched(call, left, right))
    return unit(call, [made, Term(call["self"], beta)], call.result.shape)


def _second(call: Call, name: str) -> Tensor:
    found: Tensor = call[name] if name in call.arguments else call[{"mat1": "sparse", "mat2": "dense"}[name]]
    return found


def _matmul(call: Call, left: Tensor, right: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Tensor:
    """Return ids of scale * left (R, K) @ right (K, M) + bias, shape (R, M)."""
    if call.tracked(left) and call.tracked(right):
        return multiply(call, left[None], right[None])[0]
    if call.tracked(left):
        block = Block(call.ids(left), left, constant_matrix(call, right, scale))
        return product(call, [block], bias, lambda entries: entries)
    block = Block(call.ids(right).t(), right.t(), constant_matrix(call, left.t(), scale))
    return product(call, [block], None if bias is None else bias.t(), lambda entries: entries.t())


def _add(call: Call, bias: Tensor | None, left: Tensor, right: Tensor) -> Tensor:
    alpha, beta = float(call.get("alpha", 1)), float(call.get("beta", 1))
    shape = (left.shape[0], right.shape[1])
    plain = not (call.tracked(left) and call.tracked(right))
    if bias is None:
        return _matmul(call, left, right, None, alpha)
    if plain and not call.tracked(bias):
        return _matmul(call, left, right, (bias if beta == 1 else bias * beta).expand(shape), alpha)
    made = Term(left @ right, alpha, _matmul(call, left, right))
    return unit(call, [made, Term(bias, beta)], shape)


def _batched(call: Call, left: Tensor, right: Tensor) -> Tensor:
    batch, rows, inner = left.shape
    columns = right.shape[2]
    if call.tracked(left) and not call.tracked(right) and right.stride(0) == 0 and batch > 0:
        block = Block(call.ids(left).reshape(-1, inner), left.reshape(-1, inner), constant_matrix(call, right[0]))
        return product(call, [block], None, lambda entries: entries.view(batch, rows, columns))
    if call.tracked(right) and not call.tracked(left) and left.stride(0) == 0 and batch > 0:
        values = right.transpose(1, 2).reshape(-1, inner)
        ids = call.ids(right).transpose(1, 2).reshape(-1, inner)
        block = Block(ids, values, constant_matrix(call, left[0].t()))
        return product(call, [block], None, lambda entries: entries.view(batch, columns, rows).transpose(1, 2))
    if call.tracked(left) and call.tracked(right) and batch > 0:
        return multiply(call, left, right)
    made = [_matmul(call, left[b], right[b]) for b in range(batch)]
    return torch.stack(made) if made else torch.full((0, rows, columns), -1)

"""The operator `deepgraph::cells`: a whole graph of cells as one call, for compilers and for traces at order 1.

A compiled module keeps the call and its handle, and an edit reaches what the handle stands for: nothing is compiled
again. The backward pass runs the forward pass once more and differentiates that, so nothing but the operands is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from deepgraph.kernels.activations import under_autograd
from deepgraph.kernels.opaque import OpaqueOperator, Rules
from deepgraph.kernels.operator import program

__all__ = ["cells_as_nodes", "cells_operator", "seen_as_nodes"]

_as_one: ContextVar[bool] = ContextVar("cells_as_nodes", default=False)


@contextmanager
def cells_as_nodes(on: bool = True) -> Iterator[None]:
    """Let graphs of cells run as one operation in this block, so that a trace sees nodes and not what they do inside.

    Examples
    --------
    >>> with cells_as_nodes():
    ...     seen_as_nodes()
    True
    """
    before = _as_one.set(on)
    try:
        yield
    finally:
        _as_one.reset(before)


def seen_as_nodes() -> bool:
    """Return whether graphs of cells run as one operation: in `cells_as_nodes`, and while a compiler looks.

    Examples
    --------
    >>> seen_as_nodes()
    False
    """
    return torch.compiler.is_compiling() or _as_one.get()


def _engine(handle: int) -> Any:
    return program(handle)


def _forward(x: Tensor, parameters: list[Tensor], handle: int) -> tuple[Tensor, Tensor]:
    engine = _engine(handle)
    y, token = engine.run(x, parameters).contiguous(), x.new_empty(1)
    engine.note(token)
    return y, token


def _forward_fake(x: Tensor, parameters: list[Tensor], handle: int) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], len(_engine(handle).facts.outputs), *x.shape[2:]), x.new_empty(1)


def _backward(
    dy: Tensor, token: Tensor, x: Tensor, parameters: list[Tensor], handle: int, need_dx: bool
) -> tuple[Tensor, list[Tensor]]:
    engine = _engine(handle)
    engine.consume(token)
    with under_autograd():
        leaves = [tensor.detach().requires_grad_(True) for tensor in ((x, *parameters) if need_dx else parameters)]
        y = engine.run(leaves[0] if need_dx else x, leaves[1:] if need_dx else leaves)
        found = torch.autograd.grad(y, leaves, dy, allow_unused=True)
    others = [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, found, strict=True)]
    return others.pop(0) if need_dx else dy.new_empty(0), others


def _backward_fake(
    dy: Tensor, token: Tensor, x: Tensor, parameters: list[Tensor], handle: int, need_dx: bool
) -> tuple[Tensor, list[Tensor]]:
    dx = torch.empty_like(x) if need_dx else dy.new_empty(0)
    return dx, [torch.empty_like(parameter) for parameter in parameters]


cells_operator = OpaqueOperator(
    Rules(
        "cells",
        "Tensor[] parameters",
        _forward,
        _forward_fake,
        _backward,
        _backward_fake,
        instead="for these, call the module itself, not compiled",
    )
)

"""The operator `deepgraph::cells`: a whole graph of cells as one call, for compilers and for traces at order 1.

A compiled module keeps the call and its handle, and an edit reaches what the handle stands for: nothing is compiled
again. The backward pass runs the forward pass once more and differentiates that, so nothing but the operands is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from deepgraph.errors import UnsupportedOperationError
from deepgraph.kernels.activations import under_autograd
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
    dy: Tensor, x: Tensor, parameters: list[Tensor], token: Tensor, handle: int
) -> tuple[Tensor, list[Tensor]]:
    engine = _engine(handle)
    engine.consume(token)
    with under_autograd():
        leaves = [tensor.detach().requires_grad_(True) for tensor in (x, *parameters)]
        found = torch.autograd.grad(engine.run(leaves[0], leaves[1:]), leaves, dy, allow_unused=True)
    dx, *others = [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, found, strict=True)]
    return dx, others


def _backward_fake(
    dy: Tensor, x: Tensor, parameters: list[Tensor], token: Tensor, handle: int
) -> tuple[Tensor, list[Tensor]]:
    return torch.empty_like(x), [torch.empty_like(parameter) for parameter in parameters]


class _Cells(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, handle: int, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            y, token = cells_operator(x, parameters, handle)
        ctx.handle = handle
        ctx.save_for_backward(token, x, *parameters)
        ctx.mark_non_differentiable(token)
        ctx.set_materialize_grads(False)
        return y, token

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Any) -> tuple[Any, ...]:
        token, x, *parameters = ctx.saved_tensors
        if dy is None:
            return (None,) * (2 + len(parameters))
        dx, others = _cells_backward(dy, x, parameters, token, ctx.handle)
        return (None, dx, *others)


class _CellsBackward(torch.autograd.Function):
    """Stands in for the gradient's own gradient, which is missing: asking for it is an error and not a zero."""

    @staticmethod
    def forward(ctx: Any, handle: int, token: Tensor, dy: Tensor, x: Tensor, *parameters: Tensor) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            dx, others = _cells_backward(dy, x, parameters, token, handle)
        return (dx, *others)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise UnsupportedOperationError(
            "second-order gradients through a compiled graph of cells are not supported; call the module itself"
        )


def _forward_autograd(x: Tensor, parameters: list[Tensor], handle: int) -> Any:
    if not torch.is_grad_enabled():
        with torch._C._AutoDispatchBelowAutograd():
            return cells_operator(x, parameters, handle)
    return _Cells.apply(handle, x, *parameters)  # type: ignore[no-untyped-call]


def _backward_autograd(
    dy: Tensor, x: Tensor, parameters: Sequence[Tensor], token: Tensor, handle: int
) -> tuple[Tensor, list[Tensor]]:
    if torch.is_grad_enabled():
        found = _CellsBackward.apply(handle, token, dy, x, *parameters)  # type: ignore[no-untyped-call]
        return found[0], list(found[1:])
    with torch._C._AutoDispatchBelowAutograd():
        result: tuple[Tensor, list[Tensor]] = _cells_backward(dy, x, parameters, token, handle)
    return result


_library: Any = torch.library.Library("deepgraph", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define("cells(Tensor x, Tensor[] parameters, int handle) -> (Tensor y, Tensor token)")
_library.define(
    "cells_backward(Tensor dy, Tensor x, Tensor[] parameters, Tensor token, int handle) "
    "-> (Tensor dx, Tensor[] dparameters)"
)
_library.impl("cells", _forward, "CompositeExplicitAutograd")
_library.impl("cells_backward", _backward, "CompositeExplicitAutograd")
_library.impl("cells", _forward_autograd, "Autograd")
_library.impl("cells_backward", _backward_autograd, "Autograd")
torch.library.register_fake("deepgraph::cells", _forward_fake, lib=_library)
torch.library.register_fake("deepgraph::cells_backward", _backward_fake, lib=_library)
cells_operator = torch.ops.deepgraph.cells.default
_cells_backward = torch.ops.deepgraph.cells_backward.default

"""Operators that autograd and torch.compile see as one call each: what they compute is written once, as `Rules`.

`torch.ops.deepgraph.<name>(x, ..., handle)` names by an integer what computes it, so that an edit of the network
reaches a compiled call through its owner. Its backward pass is an operator too, `<name>_backward`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deepgraph.errors import UnsupportedOperationError

__all__ = ["OpaqueOperator", "Rules"]

_library: Any = torch.library.Library("deepgraph", "DEF")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Rules:
    """What an operator computes, on tensors without autograd, and what shapes come out.

    Parameters
    ----------
    name : str
        The operator is `deepgraph::<name>`.
    operands : str
        Those after x in torch's schema language, "Tensor weight, Tensor bias"; one of them may be a "Tensor[]".
    forward, forward_fake : callable
        (x, *operands, handle) -> (y, saved). `saved` is what the backward pass needs beside the operands; its storage
        lives as long as autograd waits for the backward of this pass.
    backward, backward_fake : callable
        (dy, saved, [x,] *operands, handle, need_dx) -> (dx, a gradient for each operand); dx is empty unless
        it is needed.
    instead : str
        What to do where a gradient's own gradient is wanted, which is missing: the end of the error's message.
    keeps_x : bool
        Whether the backward pass gets x.
    """

    name: str
    operands: str
    forward: Callable[..., tuple[Tensor, Tensor]]
    forward_fake: Callable[..., tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Any, ...]]
    backward_fake: Callable[..., tuple[Any, ...]]
    instead: str
    keeps_x: bool = True

    def schemas(self) -> tuple[str, str]:
        """Return the schema of the operator and that of its backward pass.

        Examples
        --------
        >>> from deepgraph.kernels.operator import graph_operator
        >>> graph_operator.rules.schemas()[0]
        'graph(Tensor x, Tensor[] weights, Tensor bias, int handle) -> (Tensor y, Tensor saved)'
        """
        gradients = ", ".join(" d".join(operand.split()) for operand in self.operands.split(", "))
        x = "Tensor x, " if self.keeps_x else ""
        return (
            f"{self.name}(Tensor x, {self.operands}, int handle) -> (Tensor y, Tensor saved)",
            f"{self.name}_backward(Tensor dy, Tensor saved, {x}{self.operands}, int handle, bool need_dx) "
            f"-> (Tensor dx, {gradients})",
        )


class OpaqueOperator:
    """Registers an operator and its backward pass, and calls it: (x, *operands, handle) -> (y, saved).

    Parameters
    ----------
    rules : Rules
    """

    # By hand and not with torch.library.custom_op, whose autograd costs 50 microseconds more per step.
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        kinds = [operand.split()[0] for operand in rules.operands.split(", ")]
        self._before = kinds.index("Tensor[]") if "Tensor[]" in kinds else -1
        self._after = len(kinds) - 1 - self._before
        forward = rules.forward, rules.forward_fake, self._autograd
        backward = rules.backward, rules.backward_fake, self._backward_autograd
        made = []
        for schema, (run, fake, autograd) in zip(rules.schemas(), (forward, backward), strict=True):
            name = schema.partition("(")[0]
            _library.define(schema)
            _library.impl(name, run, "CompositeExplicitAutograd")
            _library.impl(name, autograd, "Autograd")
            torch.library.register_fake(f"deepgraph::{name}", fake, lib=_library)
            made.append(getattr(torch.ops.deepgraph, name).default)
        self.forward, self.backward = made

    def __call__(self, *arguments: Any) -> tuple[Tensor, Tensor]:
        """Return y and saved."""
        found: tuple[Tensor, Tensor] = self.forward(*arguments)
        return found

    def direct(self, *arguments: Any) -> Tensor:
        """Return y, with gradients, without torch's dispatcher: for calls that no tracer or mode has to see."""
        *operands, handle = arguments
        y: Tensor = _Direct.apply(self, handle, *self.flat(operands, 1))  # type: ignore[no-untyped-call]
        return y

    def nest(self, tensors: Sequence[Tensor]) -> list[Any]:
        """Return the operands after x, or their gradients, of which all tensors are given one after the other."""
        if self._before < 0:
            return list(tensors)
        end = len(tensors) - self._after
        return [*tensors[: self._before], list(tensors[self._before : end]), *tensors[end:]]

    def flat(self, operands: Sequence[Any], leading: int) -> Sequence[Tensor]:
        """Return all tensors of `leading` ones and operands, or of their gradients, one after the other."""
        if self._before < 0:
            return operands
        at = leading + self._before
        return [*operands[:at], *operands[at], *operands[at + 1 :]]

    def _autograd(self, *arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            with torch._C._AutoDispatchBelowAutograd():
                return self.forward(*arguments)
        *operands, handle = arguments
        return _Forward.apply(self, handle, *self.flat(operands, 1))  # type: ignore[no-untyped-call]

    def _backward_autograd(self, *arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            with torch._C._AutoDispatchBelowAutograd():
                return self.backward(*arguments)
        *operands, handle, need_dx = arguments
        tensors = self.flat(operands, 2 + self.rules.keeps_x)
        dx, *gradients = _Backward.apply(self, handle, need_dx, *tensors)  # type: ignore[no-untyped-call]
        return (dx, *self.nest(gradients))


class _Forward(torch.autograd.Function):
    """The operator under autograd."""

    @staticmethod
    def forward(ctx: Any, operator: OpaqueOperator, handle: int, x: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            y, saved = operator.forward(x, *operator.nest(tensors), handle)
        _keep(ctx, operator, handle, saved, x, tensors)
        ctx.mark_non_differentiable(saved)
        return y, saved

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Any) -> tuple[Any, ...]:
        return _gradients(ctx, dy, ctx.operator.backward)


class _Direct(torch.autograd.Function):
    """The same without torch's dispatcher, where nobody else has to see the operator."""

    @staticmethod
    def forward(ctx: Any, operator: OpaqueOperator, handle: int, x: Tensor, *tensors: Tensor) -> Tensor:
        y, saved = operator.rules.forward(x, *operator.nest(tensors), handle)
        _keep(ctx, operator, handle, saved, x, tensors)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None) -> tuple[Any, ...]:
        run = ctx.operator.backward if torch.is_grad_enabled() else ctx.operator.rules.backward
        return _gradients(ctx, dy, run)


def _keep(ctx: Any, operator: OpaqueOperator, handle: int, saved: Tensor, x: Tensor, tensors: Sequence[Tensor]) -> None:
    ctx.operator, ctx.handle = operator, handle
    ctx.save_for_backward(saved, *((x,) if operator.rules.keeps_x else ()), *tensors)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, dy: Tensor | None, run: Callable[..., tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return what autograd wants: nothing for operator and handle, then a gradient for x and each tensor."""
    if dy is None:
        return (None,) * len(ctx.needs_input_grad)
    operator, need_dx = ctx.operator, ctx.needs_input_grad[2]
    saved, *tensors = ctx.saved_tensors
    x = [tensors.pop(0)] if operator.rules.keeps_x else []
    dx, *others = run(dy, saved, *x, *operator.nest(tensors), ctx.handle, need_dx)
    return (None, None, dx if need_dx else None, *operator.flat(others, 0))


class _Backward(torch.autograd.Function):
    """Stands in for the gradient's own gradient, which is missing: asking for it is an error and not a zero."""

    @staticmethod
    def forward(ctx: Any, operator: OpaqueOperator, handle: int, need_dx: bool, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.operator = operator
        known = 2 + operator.rules.keeps_x
        with torch._C._AutoDispatchBelowAutograd():
            found = operator.backward(*tensors[:known], *operator.nest(tensors[known:]), handle, need_dx)
        return tuple(operator.flat(found, 1))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        rules = ctx.operator.rules
        raise UnsupportedOperationError(
            f"second-order gradients through deepgraph::{rules.name} are not supported; {rules.instead}"
        )

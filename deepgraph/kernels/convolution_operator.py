"""The custom operator `deepgraph::convolution`: a sparse convolution that autograd and torch.compile understand.

Like `deepgraph::graph`, a call names its owner by an integer handle; edits reach a compiled call through the owner.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from deepgraph.errors import UnsupportedOperationError
from deepgraph.kernels.convolution import ConvolutionKernel
from deepgraph.kernels.operator import program
from deepgraph.kernels.windows import ConvolutionShape

__all__ = ["ConvolutionOwner", "convolution_operator"]


class ConvolutionOwner(Protocol):
    """What a handle of this operator stands for."""

    shape: ConvolutionShape
    armed: bool

    @property
    def kernel(self) -> ConvolutionKernel:
        """The kernel of the present edges."""

    def note(self, saved: Tensor) -> None:
        """Remember a forward pass by what it saved."""

    def consume(self, saved: Tensor) -> None:
        """Mark a forward pass as done; EditRefusedError if edges changed since."""

    def capture(self, gradient: Tensor) -> None:
        """Take the gradient (R, O) of all pairs of one backward pass."""


def _owner(handle: int) -> ConvolutionOwner:
    found: Any = program(handle)
    owner: ConvolutionOwner = found
    return owner


def _forward(x: Tensor, weight: Tensor, bias: Tensor, handle: int) -> tuple[Tensor, Tensor]:
    owner = _owner(handle)
    kernel = owner.kernel
    kernel.check(x, weight, bias)
    y = kernel.forward(x, weight, bias)
    # One element, whose storage lives as long as autograd waits for the backward of this pass.
    token = x.new_empty(1)
    owner.note(token)
    return y, token


def _forward_fake(x: Tensor, weight: Tensor, bias: Tensor, handle: int) -> tuple[Tensor, Tensor]:
    shape = _owner(handle).shape
    return x.new_empty(x.shape[0], shape.out_channels, *shape.output_size(x.shape[2], x.shape[3])), x.new_empty(1)


def _backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, token: Tensor, handle: int, need_dx: bool
) -> tuple[Tensor, Tensor, Tensor]:
    owner = _owner(handle)
    owner.consume(token)
    kernel = owner.kernel
    if owner.armed:
        owner.capture(kernel.dense_gradient(dy, x))
    dx, dweight, dbias = kernel.backward(dy, x, weight, need_dx)
    return dy.new_empty(0) if dx is None else dx, dweight, dbias


def _backward_fake(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, token: Tensor, handle: int, need_dx: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dx = x.new_empty(x.shape) if need_dx else dy.new_empty(0)
    return dx, weight.new_empty(weight.shape), torch.empty_like(bias)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, handle: int, x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        with torch._C._AutoDispatchBelowAutograd():
            y, token = convolution_operator(x, weight, bias, handle)
        ctx.handle = handle
        ctx.save_for_backward(x, weight, bias, token)
        ctx.mark_non_differentiable(token)
        ctx.set_materialize_grads(False)
        return y, token

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Any) -> tuple[Any, ...]:
        x, weight, bias, token = ctx.saved_tensors
        if dy is None:
            return (None,) * 4
        need_dx = ctx.needs_input_grad[1]
        dx, dweight, dbias = _convolution_backward(dy, x, weight, bias, token, ctx.handle, need_dx)
        return None, dx if need_dx else None, dweight, dbias


class _ConvolutionBackward(torch.autograd.Function):
    """Stands in for the gradient's own gradient, which is missing: asking for it is an error and not a zero."""

    @staticmethod
    def forward(ctx: Any, handle: int, need_dx: bool, *tensors: Tensor) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return _convolution_backward(*tensors, handle, need_dx)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise UnsupportedOperationError(
            "second-order gradients through deepgraph::convolution are not supported; for these, use a torch.nn.Conv2d "
            "that sparsify was applied to"
        )


def _forward_autograd(x: Tensor, weight: Tensor, bias: Tensor, handle: int) -> Any:
    if not torch.is_grad_enabled():
        with torch._C._AutoDispatchBelowAutograd():
            return convolution_operator(x, weight, bias, handle)
    return _Convolution.apply(handle, x, weight, bias)  # type: ignore[no-untyped-call]


def _backward_autograd(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor, token: Tensor, handle: int, need_dx: bool
) -> Any:
    if torch.is_grad_enabled():
        return _ConvolutionBackward.apply(handle, need_dx, dy, x, weight, bias, token)  # type: ignore[no-untyped-call]
    with torch._C._AutoDispatchBelowAutograd():
        return _convolution_backward(dy, x, weight, bias, token, handle, need_dx)


_library: Any = torch.library.Library("deepgraph", "FRAGMENT")  # type: ignore[no-untyped-call]
_library.define("convolution(Tensor x, Tensor weight, Tensor bias, int handle) -> (Tensor y, Tensor token)")
_library.define(
    "convolution_backward(Tensor dy, Tensor x, Tensor weight, Tensor bias, Tensor token, int handle, bool need_dx) "
    "-> (Tensor dx, Tensor dweight, Tensor dbias)"
)
_library.impl("convolution", _forward, "CompositeExplicitAutograd")
_library.impl("convolution_backward", _backward, "CompositeExplicitAutograd")
_library.impl("convolution", _forward_autograd, "Autograd")
_library.impl("convolution_backward", _backward_autograd, "Autograd")
torch.library.register_fake("deepgraph::convolution", _forward_fake, lib=_library)
torch.library.register_fake("deepgraph::convolution_backward", _backward_fake, lib=_library)
convolution_operator = torch.ops.deepgraph.convolution.default
_convolution_backward = torch.ops.deepgraph.convolution_backward.default

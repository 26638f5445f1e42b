"""The custom operator `deepgraph::convolution`: a sparse convolution that autograd and torch.compile understand.

Like `deepgraph::graph`, a call names its owner by an integer handle; edits reach a compiled call through the owner.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from deepgraph.kernels.convolution import ConvolutionKernel
from deepgraph.kernels.opaque import OpaqueOperator, Rules
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
    dy: Tensor, token: Tensor, x: Tensor, weight: Tensor, bias: Tensor, handle: int, need_dx: bool
) -> tuple[Tensor, Tensor, Tensor]:
    owner = _owner(handle)
    owner.consume(token)
    kernel = owner.kernel
    if owner.armed:
        owner.capture(kernel.dense_gradient(dy, x))
    dx, dweight, dbias = kernel.backward(dy, x, weight, need_dx)
    return dy.new_empty(0) if dx is None else dx, dweight, dbias


def _backward_fake(
    dy: Tensor, token: Tensor, x: Tensor, weight: Tensor, bias: Tensor, handle: int, need_dx: bool
) -> tuple[Tensor, Tensor, Tensor]:
    dx = x.new_empty(x.shape) if need_dx else dy.new_empty(0)
    return dx, weight.new_empty(weight.shape), torch.empty_like(bias)


convolution_operator = OpaqueOperator(
    Rules(
        "convolution",
        "Tensor weight, Tensor bias",
        _forward,
        _forward_fake,
        _backward,
        _backward_fake,
        instead="for these, use a torch.nn.Conv2d that sparsify was applied to",
    )
)

"""Kernels of sparse convolutions: what each offers, and torch's dense convolution."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import DtypeError, ShapeError
from deepgraph.graph.arrays import Array
from deepgraph.kernels.windows import ConvolutionShape

__all__ = ["ConvolutionKernel", "DenseConvolution", "Gradients", "images_at_once"]

Gradients = tuple[Tensor | None, Tensor, Tensor]
"""(dx like x or None, dweight like the weight, dbias (O,))."""

# Places of results whose products torch may add up in float32: more cost more than 1.5e-6 of the gradient's norm.
_PLACES = 6400


class ConvolutionKernel(ABC):
    """Computes one convolution of which only the edges exist, and its gradients; holds no weights.

    Parameters
    ----------
    shape : ConvolutionShape
    src, dst : (E,) int
        Entry of the window, relative to the target's group, and target of each edge, in canonical order.
    """

    name: str

    def __init__(self, shape: ConvolutionShape, src: Array, dst: Array) -> None:
        self.shape, self.src, self.dst = shape, src, dst

    @property
    def num_edges(self) -> int:
        """Number of edges, E."""
        return len(self.src)

    @abstractmethod
    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (B, O, H', W') for x (B, C, H, W), a weight in the layout of the storage, and biases (O,)."""

    @abstractmethod
    def backward(self, dy: Tensor, x: Tensor, weight: Tensor, need_dx: bool) -> Gradients:
        """Return the gradients for dy (B, O, H', W'); that of the weight is 0 where there is no edge."""

    def dense_gradient(self, dy: Tensor, x: Tensor) -> Tensor:
        """Return the gradient (R, O) of all pairs, edges or not."""
        weight = x.new_zeros(self.shape.weight_shape)
        gradient: Tensor = _gradients(self.shape, dy, x, weight, (False, True, False))[1]
        return gradient.reshape(weight.shape[0], -1).t()

    def check(self, x: Tensor, weight: Tensor, bias: Tensor) -> None:
        """Raise unless x, weight and bias fit.

        Raises
        ------
        ShapeError
            If x is not (B, C, H, W).
        DtypeError
            If dtypes or devices differ.
        """
        if x.dim() != 4 or x.shape[1] != self.shape.in_channels:
            raise ShapeError(f"expected x of shape (batch, {self.shape.in_channels}, H, W), got {tuple(x.shape)}")
        for other in (weight, bias):
            if other.dtype != x.dtype or other.device != x.device:
                raise DtypeError(
                    f"expected x of dtype {other.dtype} on {other.device} like the weights, got {x.dtype} on "
                    f"{x.device}; convert or move one of them"
                )


def _gradients(shape: ConvolutionShape, dy: Tensor, x: Tensor, weight: Tensor, needed: tuple[bool, ...]) -> Any:
    return torch.ops.aten.convolution_backward(
        dy, x, weight, [weight.shape[0]], list(shape.stride), list(shape.padding), list(shape.dilation), False, [0, 0],
        shape.groups, list(needed),
    )  # fmt: skip


def images_at_once(x: Tensor) -> int:
    """Return how many images torch may convolve at once: on the CPU it adds up gradients place after place.

    Parameters
    ----------
    x : (B, C, *size) Tensor

    Examples
    --------
    >>> images_at_once(torch.zeros(500, 3, 8, 8)), images_at_once(torch.zeros(50, 3, 8, 8))
    (100, 50)
    """
    some = max(1, _PLACES // max(1, math.prod(x.shape[2:])))
    return max(1, min(some, len(x)) if x.device.type == "cpu" else len(x))


def _weight_gradient(shape: ConvolutionShape, dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return dL/dweight, some images at a time."""
    images = images_at_once(dy)
    pieces = (
        _gradients(shape, *piece, weight, (False, True, False))[1]
        for piece in zip(torch.split(dy, images), torch.split(x, images), strict=True)
    )
    total: Tensor = next(pieces)
    for piece in pieces:
        total += piece
    return total


class DenseConvolution(ConvolutionKernel):
    """Computes with torch's dense convolution, on every device and in every floating dtype.

    Parameters
    ----------
    shape, src, dst
        As for `ConvolutionKernel`.
    masked : bool
        Whether the weight is the dense tensor (O, C / G, Kh, Kw) itself, which its owner keeps 0 where there is no
        edge; otherwise it holds the values of edges, which are put into such a tensor at each call.

    Examples
    --------
    >>> kernel = DenseConvolution(ConvolutionShape(1, 1, (1, 2)), np.array([1]), np.array([0]), masked=False)
    >>> kernel.forward(torch.arange(3.0).view(1, 1, 1, 3), torch.tensor([2.0]), torch.zeros(1)).tolist()
    [[[[2.0, 4.0]]]]
    """

    name = "DenseConvolution"

    def __init__(self, shape: ConvolutionShape, src: Array, dst: Array, *, masked: bool) -> None:
        super().__init__(shape, src, dst)
        self.masked = masked
        self._absent: Tensor | None = None

    @cached_property
    def _places(self) -> Tensor:
        return torch.from_numpy(self.dst.astype(np.int64) * self.shape.num_sources + self.src)

    def _weight(self, weight: Tensor) -> Tensor:
        if self.masked:
            return weight.detach().view(self.shape.weight_shape)
        flat = weight.new_zeros(self.shape.out_channels * self.shape.num_sources)
        flat[self._places.to(weight.device)] = weight.detach()[: self.num_edges]
        return flat.view(self.shape.weight_shape)

    def _off(self, device: torch.device) -> Tensor:
        """Return which entries of the flat weight hold no edge: bool."""
        if self._absent is None or self._absent.device != device:
            off = torch.ones(self.shape.out_channels * self.shape.num_sources, dtype=torch.bool)
            off[self._places] = False
            self._absent = off.to(device)
        return self._absent

    @torch.no_grad()
    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (B, O, H', W'); see `ConvolutionKernel.forward`."""
        s = self.shape
        return torch.conv2d(x, self._weight(weight), bias, s.stride, s.padding, s.dilation, s.groups).contiguous()

    @torch.no_grad()
    def backward(self, dy: Tensor, x: Tensor, weight: Tensor, need_dx: bool) -> Gradients:
        """Return the gradients; see `ConvolutionKernel.backward`."""
        matrix = self._weight(weight)
        dx = _gradients(self.shape, dy, x, matrix, (True, False, False))[0] if need_dx else None
        dbias = dy.sum((0, 2, 3))
        flat = _weight_gradient(self.shape, dy, x, matrix).reshape(-1)
        if self.masked:
            if self.num_edges < flat.numel():
                flat = flat.masked_fill(self._off(dy.device), 0)
            dweight = flat.view(weight.shape)
        else:
            dweight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
            dweight[: self.num_edges] = flat[self._places.to(dy.device)]
        return None if dx is None else dx.contiguous(), dweight, dbias

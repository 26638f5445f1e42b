"""Kernels of sparse convolutions: windows read as shifts where edges are few, or torch's dense convolution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import DtypeError, MissingDependencyError, ShapeError, UnsupportedOperationError
from deepgraph.graph.arrays import Array
from deepgraph.kernels.numba_walk import _announce, thread_pool
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.tiling import MAX_GROUPS
from deepgraph.kernels.windows import ConvolutionShape, Layout, make_layout

__all__ = ["ConvolutionKernel", "DenseConvolution", "NumbaWindows"]

Gradients = tuple[Tensor | None, Tensor, Tensor]
"""(dx like x or None, dweight like the weight, dbias (O,))."""

_THREAD_WORK = 8_000_000


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
        dx, dense, dbias = _gradients(self.shape, dy, x, self._weight(weight), (need_dx, True, True))
        flat = dense.reshape(-1)
        if self.masked:
            if self.num_edges < flat.numel():
                flat = flat.masked_fill(self._off(dy.device), 0)
            dweight = flat.view(weight.shape)
        else:
            dweight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
            dweight[: self.num_edges] = flat[self._places.to(dy.device)]
        return dx.contiguous() if need_dx else None, dweight, dbias


class NumbaWindows(ConvolutionKernel):
    """Computes edge values with vector code: each edge adds a shifted plane of its channel to its target.

    No window is copied out: what a kernel position reads lies a constant number of places away. Results do not depend
    on the number of threads.

    Raises
    ------
    MissingDependencyError
        If numba is not installed.

    References
    ----------
    .. [1] Park, Li, Wen, Tang, Li, Chen, Dubey: Faster CNNs with Direct Sparse Convolutions and Guided Pruning, ICLR
       2017, section 2.1. Differs from the paper: strides become planes, several small images share a tile, and there
       is a backward pass.

    Examples
    --------
    >>> kernel = NumbaWindows(ConvolutionShape(1, 1, (1, 2)), np.array([1]), np.array([0]))
    >>> kernel.forward(torch.arange(3.0).view(1, 1, 1, 3), torch.tensor([2.0]), torch.zeros(1)).tolist()
    [[[[2.0, 4.0]]]]
    """

    name = "NumbaWindows"

    def __init__(self, shape: ConvolutionShape, src: Array, dst: Array) -> None:
        if not has_numba():
            raise MissingDependencyError(
                "NumbaWindows needs numba: pip install deepgraph-nn[fast], or DenseConvolution"
            )
        super().__init__(shape, src, dst)
        self._tables: dict[tuple[int, ...], tuple[Layout, tuple[Array, ...], tuple[Array, ...]]] = {}

    def _table(self, x: Tensor) -> tuple[Layout, tuple[Array, ...], tuple[Array, ...]]:
        """Return the layout of images like x, and `(indptr, places, perm)` of the edges by target and by plane."""
        if x.dtype not in (torch.float32, torch.float64):
            raise UnsupportedOperationError(f"NumbaWindows computes float32 and float64, got {x.dtype}")
        key = (x.shape[2], x.shape[3], x.shape[0], x.dtype.itemsize)
        if key not in self._tables:
            layout = make_layout(self.shape, *key)
            plane, shift = layout.sources(self.src, self.dst)
            by_target = np.argsort(self.dst, kind="stable")
            by_plane = np.argsort(plane, kind="stable")
            forward = (
                _pointers(self.dst, self.shape.out_channels),
                (plane * layout.stride + shift)[by_target].astype(np.int32),
                by_target,
            )
            pitch = layout.lead + layout.stride
            backward = (
                _pointers(plane, layout.num_planes),
                (self.dst.astype(np.int64) * pitch + layout.lead - shift)[by_plane].astype(np.int32),
                by_plane,
            )
            if len(self._tables) > 8:
                self._tables.clear()
            self._tables[key] = layout, forward, backward
        return self._tables[key]

    def _flattened(self, x: Tensor) -> Tensor:
        """Return images as one long row each where no window looks past an entry: a copy of rows costs per row."""
        s = self.shape
        flat = s.kernel == (1, 1) and s.stride == (1, 1) and s.padding == (0, 0)
        return x.reshape(*x.shape[:2], 1, x.shape[2] * x.shape[3]) if flat else x

    def _groups(self, layout: Layout, batch: int) -> list[tuple[int, int]]:
        """Return ranges of blocks that are summed one by one, whatever the threads."""
        blocks = -(-batch // layout.images)
        count = min(blocks, MAX_GROUPS)
        return [(blocks * k // count, blocks * (k + 1) // count) for k in range(count)]

    def _threads(self, layout: Layout, batch: int, groups: int) -> int:
        worth = self.num_edges * layout.out_height * layout.out_width * batch >= _THREAD_WORK
        return min(torch.get_num_threads(), groups) if worth else 1

    def _values(self, weight: Tensor) -> Array:
        values: Array = weight.detach()[: self.num_edges].contiguous().numpy()
        return values

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return (B, O, H', W'); see `ConvolutionKernel.forward`."""
        from deepgraph.kernels.numba_windows import forward_windows

        _announce()
        x, image = self._flattened(x), x.shape[2:]
        layout, (indptr, places, perm), _ = self._table(x)
        y = torch.empty(len(x), self.shape.out_channels, layout.out_height, layout.out_width, dtype=x.dtype)
        arrays = _array(x), y.numpy(), layout.phases, layout.geometry
        edges = indptr, places, self._values(weight)[perm], _array(bias)
        walk = forward_windows(layout.tile)
        groups = self._groups(layout, len(x))
        _run(lambda bounds: walk(*arrays, *edges, *bounds), groups, self._threads(layout, len(x), len(groups)))
        return y if x.shape[2:] == image else y.view(*y.shape[:2], *image)

    def backward(self, dy: Tensor, x: Tensor, weight: Tensor, need_dx: bool) -> Gradients:
        """Return the gradients; see `ConvolutionKernel.backward`."""
        from deepgraph.kernels.numba_windows import backward_windows

        image = x.shape
        x, dy = self._flattened(x), self._flattened(dy)
        layout, _, (indptr, places, perm) = self._table(x)
        dx = torch.empty(x.shape if need_dx else (0, 0, 0, 0), dtype=x.dtype)
        if need_dx and _leaves_gaps(layout):
            dx.zero_()
        groups = self._groups(layout, len(x))
        values = self._values(weight)[perm]
        arrays = _array(x), _array(dy), dx.numpy(), layout.phases, layout.geometry, indptr, places, values
        dw = np.zeros((len(groups), self.num_edges), values.dtype)
        db = np.zeros((len(groups), self.shape.out_channels))
        walk = backward_windows(layout.tile, need_dx)

        def task(number: int) -> None:
            walk(*arrays, dw[number], db[number], *groups[number])

        _run(task, range(len(groups)), self._threads(layout, len(x), len(groups)))
        dweight = torch.zeros_like(weight, memory_format=torch.contiguous_format)
        ordered = np.empty(self.num_edges, values.dtype)
        ordered[perm] = dw.sum(0)
        dweight[: self.num_edges] = torch.from_numpy(ordered)
        return dx.view(image) if need_dx else None, dweight, torch.from_numpy(db.sum(0)).to(dy.dtype)


def _leaves_gaps(layout: Layout) -> bool:
    """Return whether some entries of an image are in no window, so that nothing writes their gradient."""
    s = layout.shape
    every = len(layout.phases) == s.stride[0] * s.stride[1]
    rows = layout.rows * s.stride[0] >= layout.height + s.padding[0]
    return not (every and rows and layout.columns * s.stride[1] >= layout.width + s.padding[1])


def _pointers(of: Array, count: int) -> Array:
    return np.concatenate([[0], np.cumsum(np.bincount(of, minlength=count))]).astype(np.int64)


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().contiguous().numpy()
    return array


def _run(task: Any, items: Any, threads: int) -> None:
    if threads == 1:
        for item in items:
            task(item)
    else:
        for _ in thread_pool(threads).map(task, items):
            pass

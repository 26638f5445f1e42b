"""NumbaWindows: sparse convolutions as edge values over shifted planes, compiled, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepgraph.errors import MissingDependencyError, UnsupportedOperationError
from deepgraph.graph.arrays import Array
from deepgraph.kernels.convolution import ConvolutionKernel, Gradients
from deepgraph.kernels.numba_walk import announce, thread_pool
from deepgraph.kernels.plan import has_numba
from deepgraph.kernels.tiling import MAX_GROUPS
from deepgraph.kernels.windows import ConvolutionShape, Layout, make_layout

__all__ = ["NumbaWindows"]

_THREAD_WORK = 8_000_000


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
        from deepgraph.kernels.numba_window_loops import forward_windows

        announce()
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
        from deepgraph.kernels.numba_window_loops import backward_windows

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


def _run(task: Callable[[Any], None], items: Iterable[Any], threads: int) -> None:
    if threads == 1:
        for item in items:
            task(item)
    else:
        for _ in thread_pool(threads).map(task, items):
            pass

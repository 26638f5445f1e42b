"""Convolutions as products over windows: the shape of one, and how images are laid out so that windows are shifts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from deepgraph.errors import ShapeError
from deepgraph.graph.arrays import Array
from deepgraph.kernels.tiling import MAX_GROUPS

__all__ = ["ConvolutionShape", "Layout", "make_layout"]

_BLOCK_BYTES = 2**18
"""Bytes of activations and results that one block of images takes, about half of a core's second cache."""
_ALIASED = 4096
"""Rows this many bytes apart share the sets of a first cache."""


@dataclass(frozen=True)
class ConvolutionShape:
    """What a convolution of images (B, C, H, W) needs to know besides its weights; padding brings in zeros.

    Parameters
    ----------
    in_channels, out_channels, groups : int
        C, O and G; G divides both.
    kernel, stride, padding, dilation : (int, int)
        By rows and columns. One dimension has kernel (1, K), stride (1, s), and so on.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @property
    def num_sources(self) -> int:
        """Entries of one window that a target may read, R: channels of a group times kernel positions."""
        return self.in_channels // self.groups * math.prod(self.kernel)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        """Shape of the dense weight, (O, C / G, Kh, Kw)."""
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of the result for images of H rows and W columns.

        Raises
        ------
        ShapeError
            If the padded image is smaller than the kernel.

        Examples
        --------
        >>> ConvolutionShape(1, 1, (3, 3), stride=(2, 2)).output_size(7, 8)
        (3, 3)
        """
        reach = [d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        size = [n + 2 * p for n, p in zip((height, width), self.padding, strict=True)]
        # Written without branches on sizes, which a tracer may pass as symbols.
        found = [(n - r) // s + 1 for n, r, s in zip(size, reach, self.stride, strict=True)]
        if found[0] < 1 or found[1] < 1:
            raise ShapeError(
                f"expected images of at least {reach[0] - 2 * self.padding[0]} rows and "
                f"{reach[1] - 2 * self.padding[1]} columns for a kernel that reaches over {tuple(reach)}, "
                f"got {height} and {width}"
            )
        return found[0], found[1]


@dataclass(frozen=True, eq=False)
class Layout:
    """Where images of one size lie: planes of one channel and one phase of the stride, several images side by side.

    A plane holds every `stride`-th row and column of the padded image. In it, a window's entry at kernel position
    (i, j) lies a constant number of places behind the window's result, whatever the result: a shift.

    Attributes
    ----------
    shape : ConvolutionShape
    height, width, out_height, out_width : int
    rows, columns : int
        Of a plane of one image.
    images : int
        Per block.
    phases : (S, 2) int64
        Row and column of the padded image that each plane of a channel starts at.
    plane, shift : (Kh Kw,) int64
        Of each kernel position.
    length, stride, lead : int
        Places of a plane that results are computed for; distance of two planes; zeros before a row of gradients.
    """

    shape: ConvolutionShape
    height: int
    width: int
    out_height: int
    out_width: int
    rows: int
    columns: int
    images: int
    phases: Array
    plane: Array
    shift: Array
    tile: int
    length: int = field(init=False)
    stride: int = field(init=False)
    lead: int = field(init=False)

    def __post_init__(self) -> None:
        lead = int(self.shift.max(initial=0))
        length = -(-self.images * self.rows * self.columns // self.tile) * self.tile
        stride = length + (self.tile if length * 4 % _ALIASED == 0 else 0)
        for name, value in (("length", length), ("stride", stride), ("lead", lead)):
            object.__setattr__(self, name, value)

    @cached_property
    def geometry(self) -> Array:
        """What the loops read, int64: sizes, padding, strides, and those of the layout."""
        s = self.shape
        numbers = [
            s.in_channels, self.height, self.width, *s.padding, *s.stride, self.rows, self.columns, self.out_height,
            self.out_width, self.images, self.stride, self.lead + self.stride, self.lead, self.length, s.out_channels,
        ]  # fmt: skip
        return np.array(numbers, np.int64)

    @property
    def num_planes(self) -> int:
        """Planes of a block."""
        return self.shape.in_channels * len(self.phases)

    def sources(self, source: Array, target: Array) -> tuple[Array, Array]:
        """Return `(plane, shift)` of edges, from their entry of the window and their target; each (E,)."""
        s, positions = self.shape, math.prod(self.shape.kernel)
        group = target.astype(np.int64) // (s.out_channels // s.groups)
        channel = group * (s.in_channels // s.groups) + source // positions
        position = source % positions
        return channel * len(self.phases) + self.plane[position], self.shift[position]


@lru_cache(maxsize=64)
def make_layout(shape: ConvolutionShape, height: int, width: int, batch: int, itemsize: int) -> Layout:
    """Return where images of H rows and W columns lie; it depends on the batch, and not on the threads.

    Raises
    ------
    ShapeError
        If the images are smaller than the kernel.

    Examples
    --------
    >>> layout = make_layout(ConvolutionShape(1, 1, (3, 3), padding=(1, 1)), 4, 4, 1, 4)
    >>> layout.rows, layout.columns, layout.shift.tolist()
    (6, 6, [0, 1, 2, 6, 7, 8, 12, 13, 14])
    """
    out = shape.output_size(height, width)
    position = np.stack(np.meshgrid(*map(np.arange, shape.kernel), indexing="ij"), -1).reshape(-1, 2)
    start = position * np.array(shape.dilation)
    phase, shift = start % np.array(shape.stride), start // np.array(shape.stride)
    phases, plane = np.unique(phase, axis=0, return_inverse=True)
    # As many rows and columns as windows reach, counted in strides.
    rows, columns = (int(n) for n in shift.max(0) + np.array(out))
    tile = 256 // itemsize
    per_image = (shape.in_channels * len(phases) + shape.out_channels) * rows * columns * itemsize
    # At least a tile of places, at most what fits the cache, and no more than a share of the batch for each thread.
    images = min(max(_BLOCK_BYTES // per_image, 1), max(-(-batch // MAX_GROUPS), -(-tile // (rows * columns))))
    return Layout(
        shape, height, width, *out, rows, columns, images, phases, plane.reshape(-1),
        shift[:, 0] * columns + shift[:, 1], tile,
    )  # fmt: skip

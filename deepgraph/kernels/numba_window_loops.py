"""The loops of sparse convolutions: images are laid out as planes, block by block, and windows are read as shifts.

Compiled on first use and cached on disk, like those of `numba_loops`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from deepgraph.kernels.numba_compile import compiled
from deepgraph.kernels.vector_windows import shifted_backward, shifted_forward

__all__ = ["backward_windows", "forward_windows"]


def _lay_out_loop(x: Any, planes: Any, phases: Any, geometry: Any, begin: int) -> None:
    """Fill the planes of a block from images `begin:` of x (B, C, H, W); what no image covers stays as it is."""
    channels, height, width, top, left, down, right, rows, columns = geometry[:9]
    images, stride = geometry[11], geometry[12]
    for c in range(channels):
        for s in range(phases.shape[0]):
            base = (c * phases.shape[0] + s) * stride
            # The first column of the plane that an image covers, and where it is in the image.
            first = max(0, -((phases[s, 1] - left) // right))
            for b in range(min(images, x.shape[0] - begin)):
                for a in range(rows):
                    i = a * down + phases[s, 0] - top
                    if i < 0 or i >= height:
                        continue
                    j = first * right + phases[s, 1] - left
                    row = x[begin + b, c, i]
                    place = base + (b * rows + a) * columns + first
                    count = min(columns - first, (width - j + right - 1) // right)
                    if right == 1:
                        for k in range(count):
                            planes[place + k] = row[j + k]
                    else:
                        for k in range(count):
                            planes[place + k] = row[j + k * right]


_lay_out = compiled(_lay_out_loop)


def _take_back_loop(planes: Any, dx: Any, phases: Any, geometry: Any, begin: int) -> None:
    """Write the gradients of a block's planes to images `begin:` of dx (B, C, H, W), which no other block writes."""
    channels, height, width, top, left, down, right, rows, columns = geometry[:9]
    images, stride = geometry[11], geometry[12]
    for c in range(channels):
        for s in range(phases.shape[0]):
            base = (c * phases.shape[0] + s) * stride
            first = max(0, -((phases[s, 1] - left) // right))
            for b in range(min(images, dx.shape[0] - begin)):
                for a in range(rows):
                    i = a * down + phases[s, 0] - top
                    if i < 0 or i >= height:
                        continue
                    j = first * right + phases[s, 1] - left
                    row = dx[begin + b, c, i]
                    place = base + (b * rows + a) * columns + first
                    for k in range(min(columns - first, (width - j + right - 1) // right)):
                        row[j + k * right] = planes[place + k]


_take_back = compiled(_take_back_loop)


@cache
def forward_windows(tile: int) -> Any:
    """Return the compiled forward loop for tiles of `tile` places."""

    def walk(
        x: Any, y: Any, phases: Any, geometry: Any, indptr: Any, places: Any, w: Any, bias: Any, first: int, last: int
    ) -> None:
        """Fill the images of blocks first:last of y (B, O, H', W')."""
        rows, columns, out_rows, out_columns, images, stride = geometry[7:13]
        length, targets = geometry[15], geometry[16]
        planes = np.empty(geometry[0] * phases.shape[0] * stride + geometry[14] + tile, w.dtype)
        result = np.empty(targets * length, w.dtype)
        for block in range(first, last):
            begin = block * images
            if block == first or begin + images > x.shape[0]:
                # What lies between the images is 0 in every block; the last one may have fewer of them.
                planes[:] = 0
            _lay_out(x, planes, phases, geometry, begin)
            for at in range(0, length, tile):
                for v in range(targets):
                    shifted_forward(
                        tile, planes, result, at, v * length + at, places, w, indptr[v], indptr[v + 1], bias[v]
                    )
            for b in range(min(images, x.shape[0] - begin)):
                for v in range(targets):
                    for a in range(out_rows):
                        place = v * length + (b * rows + a) * columns
                        row = y[begin + b, v, a]
                        for k in range(out_columns):
                            row[k] = result[place + k]

    return compiled(walk)


def _gradient_rows_loop(dy: Any, gradient: Any, db: Any, geometry: Any, begin: int) -> None:
    """Fill the rows of a block's gradients from images `begin:` of dy (B, O, H', W'), and add to db (O,) float64."""
    rows, columns, out_rows, out_columns, images = geometry[7:12]
    pitch, lead, targets = geometry[13], geometry[14], geometry[16]
    for v in range(targets):
        for b in range(min(images, dy.shape[0] - begin)):
            for a in range(out_rows):
                place = v * pitch + lead + (b * rows + a) * columns
                row = dy[begin + b, v, a]
                for k in range(out_columns):
                    gradient[place + k] = row[k]
                total = 0.0
                for k in range(out_columns):
                    total += row[k]
                db[v] += total


_gradient_rows = compiled(_gradient_rows_loop)


@cache
def backward_windows(tile: int, need_dx: bool) -> Any:
    """Return the compiled backward loop for tiles of `tile` places."""

    def walk(
        x: Any, dy: Any, dx: Any, phases: Any, geometry: Any, indptr: Any, places: Any, w: Any, dw: Any, db: Any,
        first: int, last: int,
    ) -> None:  # fmt: skip
        """Fill the images of blocks first:last of dx (B, C, H, W), and dw (E,) in order of planes and db (O,)."""
        images, stride, pitch, lead, length, targets = geometry[11:17]
        count = geometry[0] * phases.shape[0]
        planes = np.empty(count * stride + lead + tile, w.dtype)
        back = np.empty(planes.shape[0] if need_dx else 0, w.dtype)
        gradient = np.empty(targets * pitch + tile, w.dtype)
        dw[:] = 0
        db[:] = 0
        for block in range(first, last):
            begin = block * images
            if block == first or begin + images > x.shape[0]:
                planes[:] = 0
                gradient[:] = 0
            _lay_out(x, planes, phases, geometry, begin)
            _gradient_rows(dy, gradient, db, geometry, begin)
            for at in range(0, length, tile):
                for c in range(count):
                    shifted_backward(
                        tile, planes, gradient, back, c * stride + at, at, places, w, dw, indptr[c], indptr[c + 1],
                        need_dx,
                    )  # fmt: skip
            if need_dx:
                _take_back(back, dx, phases, geometry, begin)

    return compiled(walk)

"""Kernels over windows as LLVM vector code: rows that begin at any place, so that a shift is an address.

Importing this file imports numba and compiles nothing.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from deepgraph.kernels.vector import Rows, edge_gradients, weighted_sums

__all__ = ["shifted_backward", "shifted_forward"]


class _Shifted(Rows):
    """Rows of `tile` places that begin at any place of a flat array."""

    def __init__(self, context: Any, builder: Any, dtype: Any, tile: int) -> None:
        super().__init__(context, builder, dtype, tile)
        self.align = self.bits // 8

    def row(self, base: Any, place: Any) -> Any:
        return self.at(base, place)


def _forward(
    typing: Any, tile: Any, x: Any, y: Any, at: Any, into: Any, places: Any, w: Any, start: Any, stop: Any, b: Any
) -> Any:
    """y[into:into + T] = b + sum over edges e in start:stop of w[e] * x[at + places[e]:][:T]."""
    signature = types.void(
        tile, x, y, types.int64, types.int64, places, w, types.int64, types.int64, w.dtype
    )  # fmt: skip

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, x_value, y_value, at_value, into_value, places_value, w_value, first, last, bias = arguments
        rows = _Shifted(context, builder, w.dtype, tile.literal_value)
        base = rows.at(rows.data(x, x_value), at_value)
        sums = [cgutils.alloca_once_value(builder, rows.splat(bias)) for _ in range(rows.count)]
        weighted_sums(rows, base, sums, rows.steps(places, places_value), rows.data(w, w_value), first, last)
        target = rows.at(rows.data(y, y_value), into_value)
        for k, slot in enumerate(sums):
            rows.store(builder.load(slot), target, k)
        return context.get_dummy_value()

    return signature, codegen


def _backward(
    typing: Any, tile: Any, x: Any, dy: Any, dx: Any, own: Any, at: Any, places: Any, w: Any, dw: Any, start: Any,
    stop: Any, needed: Any,
) -> Any:  # fmt: skip
    """dw[e] += <x[own:][:T], dy[at + places[e]:][:T]>, and dx[own:][:T] = sum of w[e] * the same rows of dy if needed.

    `needed` is a compile-time constant.
    """
    signature = types.void(
        tile, x, dy, dx, types.int64, types.int64, places, w, dw, types.int64, types.int64, needed
    )  # fmt: skip

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, x_value, dy_value, dx_value, own_value, at_value, places_value, w_value, dw_value, first, last, _ = arguments
        rows = _Shifted(context, builder, w.dtype, tile.literal_value)
        source = rows.at(rows.data(x, x_value), own_value)
        mine = [rows.load(source, k) for k in range(rows.count)]
        wanted = bool(needed.literal_value)
        sums = [cgutils.alloca_once_value(builder, rows.fill(0.0)) for _ in range(rows.count if wanted else 0)]
        base = rows.at(rows.data(dy, dy_value), at_value)
        edges = (rows.steps(places, places_value), rows.data(w, w_value), first, last)
        added = ir.Constant(ir.IntType(1), 0)
        edge_gradients(rows, mine, edges, sums, base, rows.data(dw, dw_value), added)
        target = rows.at(rows.data(dx, dx_value), own_value)
        for k, slot in enumerate(sums):
            rows.store(builder.load(slot), target, k)
        return context.get_dummy_value()

    return signature, codegen


shifted_forward: Any = intrinsic(prefer_literal=True)(_forward)
shifted_backward: Any = intrinsic(prefer_literal=True)(_backward)

"""Functions of whole rows as LLVM vector code: exponentials, sums, and transposition of blocks.

Importing this file imports numba and compiles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from deepgraph.kernels.vector import Rows, constant

__all__ = ["block_copy", "block_transpose", "row_exponential", "row_total"]

_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _over_row(context: Any, builder: Any, row: Any, value: Any, visit: Callable[[Rows, Any], None]) -> None:
    """Visit a row vector by vector: as many of 64 bytes as fit, then of 16, then single numbers."""
    first = None
    for lanes in _lanes(row.dtype):
        rows = Rows(context, builder, row.dtype, lanes)
        base, columns = rows.data(row, value), rows.length(row, value)
        start = constant(0) if first is None else first
        first = columns if lanes == 1 else builder.and_(columns, constant(-lanes))
        with rows.loop(start, first, lanes) as (column, _):
            visit(rows, rows.at(base, column))


def _lanes(dtype: Any) -> tuple[int, int, int]:
    return 512 // dtype.bitwidth, 128 // dtype.bitwidth, 1


def _exponential(typing: Any, row: Any, minus_one: Any) -> Any:
    """row[:] = exp(row) or, with `minus_one`, exp(row) - 1, accurate near 0; clipped to the finite range."""
    signature = types.void(row, minus_one)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        def visit(rows: Rows, here: Any) -> None:
            rows.store(_exponential_vector(rows, rows.load(here, 0), bool(minus_one.literal_value)), here, 0)

        _over_row(context, builder, row, arguments[0], visit)
        return context.get_dummy_value()

    return signature, codegen


def _total(typing: Any, row: Any) -> Any:
    """Returns the sum of a row."""
    signature = row.dtype(row)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        scalar = ir.FloatType() if row.dtype.bitwidth == 32 else ir.DoubleType()
        slots: dict[int, Any] = {}

        def visit(rows: Rows, here: Any) -> None:
            slot = slots[rows.lanes]
            builder.store(builder.fadd(builder.load(slot), rows.load(here, 0)), slot)

        parts = [Rows(context, builder, row.dtype, lanes) for lanes in _lanes(row.dtype)]
        for part in parts:
            slots[part.lanes] = cgutils.alloca_once_value(builder, part.fill(0.0))
        _over_row(context, builder, row, arguments[0], visit)
        total = ir.Constant(scalar, 0.0)
        for part in parts:
            total = builder.fadd(total, part.first_lane(part.fold([builder.load(slots[part.lanes])])))
        return total

    return signature, codegen


def _exponential_vector(rows: Rows, x: Any, minus_one: bool) -> Any:
    """exp(x) = 2^n exp(r) with |r| <= ln 2 / 2 and a Taylor polynomial for exp(r) - 1, exact to rounding."""
    builder, single = rows.builder, rows.bits == 32
    low, high, bias, mantissa, degree = (-87.0, 88.0, 127, 23, 7) if single else (-708.0, 709.0, 1023, 52, 13)
    # ln 2 in two parts, the first with few bits, so that n times it is exact.
    upper = 0.693359375 if single else 6.93145751953125e-1
    lower = math.log(2.0) - upper if single else 1.42860682030941723212e-6
    for bound, outside in ((low, "<"), (high, ">")):
        x = builder.select(builder.fcmp_ordered(outside, x, rows.fill(bound)), rows.fill(bound), x)
    n = rows.call("floor", rows.multiply_add(x, rows.fill(1.0 / math.log(2.0)), rows.fill(0.5)))
    r = rows.multiply_add(n, rows.fill(-upper), x)
    r = rows.multiply_add(n, rows.fill(-lower), r)
    series = rows.fill(1.0 / math.factorial(degree))
    for power in range(degree - 1, 0, -1):
        series = rows.multiply_add(series, r, rows.fill(1.0 / math.factorial(power)))
    integers = ir.VectorType(_I32 if single else _I64, rows.lanes)
    exponent = builder.fptosi(n, integers)
    shifted = builder.add(exponent, ir.Constant(integers, [bias] * rows.lanes))
    scale = builder.bitcast(builder.shl(shifted, ir.Constant(integers, [mantissa] * rows.lanes)), rows.vector)
    offset = builder.fsub(scale, rows.fill(1.0)) if minus_one else scale
    return rows.multiply_add(builder.fmul(scale, r), series, offset)


def _transpose(typing: Any, size: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """target[to + j * T + i] = source[at + i * S + j] for i, j < size, of matrices (., S) and (., T) in flat order.

    One column and one row of each: both are read and written as vectors.
    """
    signature = types.void(size, source, types.int64, target, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, source_value, first, target_value, into = arguments
        rows = Rows(context, builder, source.dtype, size.literal_value)
        align = rows.bits // 8

        def lines(array_type: Any, value: Any, begin: Any) -> list[Any]:
            array = context.make_array(array_type)(context, builder, value)
            stride = builder.extract_value(array.shape, 1)
            starts = [builder.add(begin, builder.mul(stride, constant(k))) for k in range(rows.lanes)]
            return [builder.bitcast(rows.at(array.data, start), rows.vector.as_pointer()) for start in starts]

        vectors = [builder.load(line, align=align, typ=rows.vector) for line in lines(source, source_value, first)]
        for line, vector in zip(lines(target, target_value, into), _transposed(rows, vectors), strict=True):
            builder.store(vector, line, align=align)
        return context.get_dummy_value()

    return signature, codegen


def _copy(typing: Any, size: Any, source: Any, at: Any, target: Any, to: Any) -> Any:
    """target[to + i] = source[at + i] for i < size, of arrays in flat order."""
    signature = types.void(size, source, types.int64, target, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, source_value, first, target_value, into = arguments
        rows = Rows(context, builder, source.dtype, size.literal_value)
        begin = rows.at(rows.data(source, source_value), first), rows.at(rows.data(target, target_value), into)
        for k in range(rows.count):
            here, there = (
                builder.bitcast(rows.at(base, constant(k * rows.lanes)), rows.vector.as_pointer()) for base in begin
            )
            builder.store(builder.load(here, align=rows.bits // 8, typ=rows.vector), there, align=rows.bits // 8)
        return context.get_dummy_value()

    return signature, codegen


def _transposed(rows: Rows, vectors: list[Any]) -> list[Any]:
    """Return the columns of a square of vectors: halves of pairs change places, for 1, 2, 4, ... lanes."""
    lanes, width = rows.lanes, 1
    while width < lanes:
        low = [lane if not lane & width else lane - width + lanes for lane in range(lanes)]
        high = [lane + width if not lane & width else lane + lanes for lane in range(lanes)]
        found = list(vectors)
        for k in range(lanes):
            if not k & width:
                found[k] = rows.shuffle(vectors[k], vectors[k + width], low)
                found[k + width] = rows.shuffle(vectors[k], vectors[k + width], high)
        vectors, width = found, 2 * width
    return vectors


# `Any`, because compiled code calls these with one argument less than their definitions have.
row_exponential: Any = intrinsic(prefer_literal=True)(_exponential)
row_total: Any = intrinsic(_total)
block_transpose: Any = intrinsic(prefer_literal=True)(_transpose)
block_copy: Any = intrinsic(prefer_literal=True)(_copy)

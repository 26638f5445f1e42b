"""Row kernels as LLVM vector code: the tile of sums of one neuron stays in registers while its edges go by.

Each kernel is a numba intrinsic whose first argument, the tile width T, is a compile-time constant. Activations are
rows of T columns, 64-byte aligned: `A[r]` is the row of rank r for one tile of the batch. Importing this file imports
numba and compiles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from deepgraph.kernels.activations import LEAKY_SLOPE, activation

__all__ = [
    "row_backward",
    "row_continue",
    "row_exponential",
    "row_forward",
    "row_scatter",
    "row_total",
    "row_weight_gradient",
]

IDENTITY, RELU, LEAKY = (activation(name).code for name in ("identity", "relu", "leaky_relu"))
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_UNROLL = 4
# As many sums in flight as it takes to hide the latency of one addition.
_CHAINS = 4


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


class _Rows:
    """Emits vector code on rows of `tile` columns of one dtype; a row is `count` vectors of up to 64 bytes."""

    def __init__(self, context: Any, builder: Any, dtype: Any, tile: int) -> None:
        self.context, self.builder = context, builder
        self.bits = dtype.bitwidth
        self.scalar = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.lanes = min(512 // self.bits, tile)
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.count, self.tile = tile // self.lanes, tile
        self.align = self.lanes * self.bits // 8

    def data(self, array_type: Any, value: Any) -> Any:
        return self.context.make_array(array_type)(self.context, self.builder, value).data

    def length(self, array_type: Any, value: Any) -> Any:
        array = self.context.make_array(array_type)(self.context, self.builder, value)
        return self.builder.extract_value(array.shape, 0)

    def at(self, base: Any, index: Any, element: Any = None) -> Any:
        return self.builder.gep(base, [index], inbounds=True, source_etype=element or self.scalar)

    def row(self, base: Any, rank: Any) -> Any:
        return self.at(base, self.builder.mul(rank, _constant(self.tile)))

    def load(self, row: Any, k: int) -> Any:
        pointer = self.builder.bitcast(self.at(row, _constant(k * self.lanes)), self.vector.as_pointer())
        return self.builder.load(pointer, align=self.align, typ=self.vector)

    def store(self, value: Any, row: Any, k: int) -> None:
        pointer = self.builder.bitcast(self.at(row, _constant(k * self.lanes)), self.vector.as_pointer())
        self.builder.store(value, pointer, align=self.align)

    def index(self, base: Any, edge: Any) -> Any:
        return self.builder.sext(self.builder.load(self.at(base, edge, _I32), typ=_I32), _I64)

    def element(self, base: Any, edge: Any) -> Any:
        return self.builder.load(self.at(base, edge), typ=self.scalar)

    def fill(self, value: float) -> ir.Constant:
        return ir.Constant(self.vector, [value] * self.lanes)

    def splat(self, scalar: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
        return self._shuffle(first, undefined, [0] * self.lanes)

    def _shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))

    def call(self, name: str, *arguments: Any) -> Any:
        signature = ir.FunctionType(self.vector, [self.vector] * len(arguments))
        function = cgutils.get_or_insert_function(
            self.builder.module, signature, f"llvm.{name}.v{self.lanes}f{self.bits}"
        )
        return self.builder.call(function, arguments)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        return self.call("fmuladd", a, b, c)

    def fold(self, vectors: list[Any]) -> Any:
        """Return the sums over the lanes of each vector, as one vector with a lane per sum.

        Halves are added to halves, in an order that does not depend on how many vectors are folded together.
        """
        segments, width = 1, self.lanes
        while len(vectors) > 1:
            pairs = zip(vectors[::2], vectors[1::2], strict=True)
            if width == 1:
                both = list(range(2 * segments))
                vectors = [self._shuffle(p, q, both) for p, q in pairs]
                segments *= 2
                continue
            low, high = self._halves(2 * segments, width)
            vectors = [self.builder.fadd(self._shuffle(p, q, low), self._shuffle(p, q, high)) for p, q in pairs]
            segments, width = 2 * segments, width // 2
        total = vectors[0]
        while width > 1:
            low, high = self._halves(segments, width)
            undefined = ir.Constant(total.type, ir.Undefined)
            total = self.builder.fadd(self._shuffle(total, undefined, low), self._shuffle(total, undefined, high))
            width //= 2
        return total

    @staticmethod
    def _halves(segments: int, width: int) -> tuple[list[int], list[int]]:
        low = [s * width + i for s in range(segments) for i in range(width // 2)]
        return low, [lane + width // 2 for lane in low]

    def first_lane(self, vector: Any) -> Any:
        return self.builder.extract_element(vector, ir.Constant(_I32, 0))

    def add_to(self, base: Any, at: Any, vector: Any) -> None:
        """Add a short vector to consecutive elements from `at` on."""
        pointer = self.builder.bitcast(self.at(base, at), vector.type.as_pointer())
        align = self.bits // 8
        old = self.builder.load(pointer, align=align, typ=vector.type)
        self.builder.store(self.builder.fadd(old, vector), pointer, align=align)

    def loop(self, start: Any, stop: Any, step: int) -> Any:
        return cgutils.for_range_slice(self.builder, start, stop, _constant(step), _I64)

    def by_mode(self, mode: Any, cases: dict[int, Callable[[], None]]) -> None:
        """Run the case whose key is `mode`; none for other modes."""
        for key, emit in cases.items():
            with self.builder.if_then(self.builder.icmp_signed("==", mode, _constant(key))):
                emit()


def _clip_sums(rows: _Rows, slots: list[Any], mode: Any) -> None:
    """Emit the plain activations of sums in stack slots."""
    builder, zero, slope = rows.builder, rows.fill(0.0), rows.fill(LEAKY_SLOPE)

    def clip(below: Callable[[Any], Any]) -> None:
        for slot in slots:
            z = builder.load(slot)
            # An ordered comparison is false for NaN, which therefore passes.
            builder.store(builder.select(builder.fcmp_ordered("<=", z, zero), below(z), z), slot)

    rows.by_mode(mode, {RELU: lambda: clip(lambda z: zero), LEAKY: lambda: clip(lambda z: builder.fmul(z, slope))})


def _weighted_sums(rows: _Rows, base: Any, slots: list[Any], indexes: Any, weights: Any, first: Any, last: Any) -> None:
    """Emit the loop that adds w[e] * row index[e] to sums in stack slots: one chain of them, or several of short rows.

    LLVM turns the slots into phi nodes: the sums live in registers for the whole loop.
    """
    builder = rows.builder
    chains = max(1, _CHAINS // rows.count)
    slots = slots + [cgutils.alloca_once_value(builder, rows.fill(0.0)) for _ in range(rows.count * (chains - 1))]

    def add(edge: Any, chain: int) -> None:
        source = rows.row(base, rows.index(indexes, edge))
        weight = rows.splat(rows.element(weights, edge))
        for k, slot in enumerate(slots[chain * rows.count : (chain + 1) * rows.count]):
            builder.store(rows.multiply_add(weight, rows.load(source, k), builder.load(slot)), slot)

    middle = builder.sub(last, builder.and_(builder.sub(last, first), _constant(chains - 1)))
    with rows.loop(first, middle, chains) as (edge, _):
        for chain in range(chains):
            add(builder.add(edge, _constant(chain)), chain)
    if chains > 1:
        with rows.loop(middle, last, 1) as (edge, _):
            add(edge, 0)
    for number, slot in enumerate(slots[rows.count :]):
        into = slots[number % rows.count]
        builder.store(builder.fadd(builder.load(into), builder.load(slot)), into)


def _forward(
    typing: Any, tile: Any, a: Any, rank: Any, index: Any, w: Any, start: Any, stop: Any, b: Any, mode: Any
) -> Any:
    """a[rank] = act(b + sum over edges e in start:stop of w[e] * a[index[e]]); act only in the plain modes."""
    signature = types.void(tile, a, types.int64, index, w, types.int64, types.int64, w.dtype, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, rank_value, index_value, w_value, first, last, bias, mode_value = arguments
        rows = _Rows(context, builder, w.dtype, tile.literal_value)
        base = rows.data(a, a_value)
        sums = [cgutils.alloca_once_value(builder, rows.splat(bias)) for _ in range(rows.count)]
        _weighted_sums(rows, base, sums, rows.data(index, index_value), rows.data(w, w_value), first, last)
        _clip_sums(rows, sums, mode_value)
        target = rows.row(base, rank_value)
        for k, slot in enumerate(sums):
            rows.store(builder.load(slot), target, k)
        return context.get_dummy_value()

    return signature, codegen


def _continue(typing: Any, tile: Any, a: Any, rank: Any, index: Any, w: Any, start: Any, stop: Any, mode: Any) -> Any:
    """a[rank] = act(a[rank] + sum over edges e in start:stop of w[e] * a[index[e]]); act only in the plain modes."""
    signature = types.void(tile, a, types.int64, index, w, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, rank_value, index_value, w_value, first, last, mode_value = arguments
        rows = _Rows(context, builder, w.dtype, tile.literal_value)
        base = rows.data(a, a_value)
        target = rows.row(base, rank_value)
        sums = [cgutils.alloca_once_value(builder, rows.load(target, k)) for k in range(rows.count)]
        _weighted_sums(rows, base, sums, rows.data(index, index_value), rows.data(w, w_value), first, last)
        _clip_sums(rows, sums, mode_value)
        for k, slot in enumerate(sums):
            rows.store(builder.load(slot), target, k)
        return context.get_dummy_value()

    return signature, codegen


def _scatter(typing: Any, tile: Any, a: Any, rank: Any, index: Any, w: Any, start: Any, stop: Any, mode: Any) -> Any:
    """a[rank] = act(a[rank]), in the plain modes, then a[index[e]] += w[e] * a[rank] for e in start:stop."""
    signature = types.void(tile, a, types.int64, index, w, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, rank_value, index_value, w_value, first, last, mode_value = arguments
        rows = _Rows(context, builder, w.dtype, tile.literal_value)
        base, indexes, weights = rows.data(a, a_value), rows.data(index, index_value), rows.data(w, w_value)
        own_row = rows.row(base, rank_value)
        slots = [cgutils.alloca_once_value(builder, rows.load(own_row, k)) for k in range(rows.count)]
        _clip_sums(rows, slots, mode_value)
        own = [builder.load(slot) for slot in slots]
        for k, value in enumerate(own):
            rows.store(value, own_row, k)

        def add(edge: Any) -> None:
            target = rows.row(base, rows.index(indexes, edge))
            weight = rows.splat(rows.element(weights, edge))
            for k, mine in enumerate(own):
                rows.store(rows.multiply_add(weight, mine, rows.load(target, k)), target, k)

        middle = builder.sub(last, builder.and_(builder.sub(last, first), _constant(_UNROLL - 1)))
        with rows.loop(first, middle, _UNROLL) as (edge, _):
            for k in range(_UNROLL):
                add(builder.add(edge, _constant(k)))
        with rows.loop(middle, last, 1) as (edge, _):
            add(edge)
        return context.get_dummy_value()

    return signature, codegen


def _edge_gradients(
    rows: _Rows, own: list[Any], edges: tuple[Any, Any, Any, Any], sums: list[Any], dz: Any, dw: Any
) -> None:
    """Emit the loop over out-edges: dw[e] += <own, dz[e]>, and sums += w[e] * dz[e] from the same load of dz."""
    builder = rows.builder
    indexes, weights, start, stop = edges

    def product(edge: Any, chain: int = 0) -> Any:
        target = rows.row(dz, rows.index(indexes, edge))
        into = sums[chain * rows.count :] if len(sums) > rows.count else sums
        weight = rows.splat(rows.element(weights, edge)) if sums else None
        total = None
        for k, mine in enumerate(own):
            theirs = rows.load(target, k)
            if sums:
                builder.store(rows.multiply_add(weight, theirs, builder.load(into[k])), into[k])
            total = builder.fmul(mine, theirs) if total is None else rows.multiply_add(mine, theirs, total)
        return total

    rest = builder.and_(builder.sub(stop, start), _constant(_UNROLL - 1))
    middle = builder.sub(stop, rest)
    # Four edges at a time share the shuffles of their horizontal sums.
    with rows.loop(start, middle, _UNROLL) as (edge, _):
        rows.add_to(dw, edge, rows.fold([product(builder.add(edge, _constant(k)), k) for k in range(_UNROLL)]))
    with rows.loop(middle, stop, 1) as (edge, _):
        rows.add_to(dw, edge, rows.fold([product(edge)]))


def _backward(
    typing: Any,
    tile: Any,
    a: Any,
    dz: Any,
    rank: Any,
    seed: Any,
    index: Any,
    w: Any,
    dw: Any,
    start: Any,
    stop: Any,
    mode: Any,
) -> Any:
    """dz[rank] = act' * (seed + sum over out-edges of w[e] * dz[index[e]]), and dw[e] += <a[rank], dz[index[e]]>.

    Returns the sum of dz[rank], the node's bias gradient.
    """
    signature = w.dtype(tile, a, dz, types.int64, seed, index, w, dw, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, dz_value, rank_value, seed_value, index_value, w_value, dw_value, first, last, mode_value = (
            arguments
        )
        rows = _Rows(context, builder, w.dtype, tile.literal_value)
        gradient, own_row = rows.data(dz, dz_value), rows.row(rows.data(a, a_value), rank_value)
        own = [rows.load(own_row, k) for k in range(rows.count)]
        initial = rows.data(seed, seed_value)
        sums = [cgutils.alloca_once_value(builder, rows.load(initial, k)) for k in range(rows.count)]
        edges = (rows.data(index, index_value), rows.data(w, w_value), first, last)
        # A row of one vector is one chain of additions: four chains hide their latency.
        chains = _UNROLL if rows.count == 1 else 1
        more = [cgutils.alloca_once_value(builder, rows.fill(0.0)) for _ in range(rows.count * (chains - 1))]
        _edge_gradients(rows, own, edges, sums + more, gradient, rows.data(dw, dw_value))
        for slot in more:
            builder.store(builder.fadd(builder.load(sums[0]), builder.load(slot)), sums[0])
        zero, slope = rows.fill(0.0), rows.fill(LEAKY_SLOPE)

        def clip(below: Callable[[Any], Any]) -> None:
            for mine, slot in zip(own, sums, strict=True):
                grad = builder.load(slot)
                builder.store(builder.select(builder.fcmp_ordered(">", mine, zero), grad, below(grad)), slot)

        rows.by_mode(
            mode_value, {RELU: lambda: clip(lambda g: zero), LEAKY: lambda: clip(lambda g: builder.fmul(g, slope))}
        )
        target = rows.row(gradient, rank_value)
        total = None
        for k, slot in enumerate(sums):
            value = builder.load(slot)
            rows.store(value, target, k)
            total = value if total is None else builder.fadd(total, value)
        return rows.first_lane(rows.fold([total]))

    return signature, codegen


def _weight_gradient(
    typing: Any, tile: Any, a: Any, dz: Any, rank: Any, index: Any, dw: Any, start: Any, stop: Any
) -> Any:
    """dw[e] += <a[rank], dz[index[e]]> for e in start:stop, for an input whose own gradient nobody asked for."""
    signature = types.void(tile, a, dz, types.int64, index, dw, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, dz_value, rank_value, index_value, dw_value, first, last = arguments
        rows = _Rows(context, builder, dw.dtype, tile.literal_value)
        own_row = rows.row(rows.data(a, a_value), rank_value)
        own = [rows.load(own_row, k) for k in range(rows.count)]
        edges = (rows.data(index, index_value), None, first, last)
        _edge_gradients(rows, own, edges, [], rows.data(dz, dz_value), rows.data(dw, dw_value))
        return context.get_dummy_value()

    return signature, codegen


def _over_row(context: Any, builder: Any, row: Any, value: Any, visit: Callable[[_Rows, Any], None]) -> None:
    """Visit a row vector by vector: as many of 64 bytes as fit, then of 16."""
    wide, short = (_Rows(context, builder, row.dtype, size * 8 // row.dtype.bitwidth) for size in (64, 16))
    base, columns = wide.data(row, value), wide.length(row, value)
    middle = builder.and_(columns, _constant(-wide.lanes))
    for rows, start, stop in ((wide, _constant(0), middle), (short, middle, columns)):
        with rows.loop(start, stop, rows.lanes) as (column, _):
            visit(rows, rows.at(base, column))


def _exponential(typing: Any, row: Any, minus_one: Any) -> Any:
    """row[:] = exp(row) or, with `minus_one`, exp(row) - 1, accurate near 0; clipped to the finite range."""
    signature = types.void(row, minus_one)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        def visit(rows: _Rows, here: Any) -> None:
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

        def visit(rows: _Rows, here: Any) -> None:
            slot = slots[rows.lanes]
            builder.store(builder.fadd(builder.load(slot), rows.load(here, 0)), slot)

        parts = [_Rows(context, builder, row.dtype, size * 8 // row.dtype.bitwidth) for size in (64, 16)]
        for part in parts:
            slots[part.lanes] = cgutils.alloca_once_value(builder, part.fill(0.0))
        _over_row(context, builder, row, arguments[0], visit)
        total = ir.Constant(scalar, 0.0)
        for part in parts:
            total = builder.fadd(total, part.first_lane(part.fold([builder.load(slots[part.lanes])])))
        return total

    return signature, codegen


def _exponential_vector(rows: _Rows, x: Any, minus_one: bool) -> Any:
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


# `Any`, because compiled code calls these with one argument less than their definitions have.
row_forward: Any = intrinsic(prefer_literal=True)(_forward)
row_continue: Any = intrinsic(prefer_literal=True)(_continue)
row_scatter: Any = intrinsic(prefer_literal=True)(_scatter)
row_backward: Any = intrinsic(prefer_literal=True)(_backward)
row_weight_gradient: Any = intrinsic(prefer_literal=True)(_weight_gradient)
row_exponential: Any = intrinsic(prefer_literal=True)(_exponential)
row_total: Any = intrinsic(_total)

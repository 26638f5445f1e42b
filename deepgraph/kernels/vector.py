"""Row kernels as LLVM vector code: the tile of sums of one neuron stays in registers while its edges go by.

Each kernel is a numba intrinsic whose first argument, the tile width T, is a compile-time constant. Activations are
rows of T columns, 64-byte aligned: `A[r]` is the row of rank r for one tile of the batch. Edges name the other node by
`step`, the difference of the ranks, of 16 bits in most networks. Importing this file compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from deepgraph.kernels.activations import LEAKY_SLOPE, activation

__all__ = [
    "Rows",
    "constant",
    "edge_gradients",
    "row_backward",
    "row_continue",
    "row_forward",
    "row_scatter",
    "row_weight_gradient",
    "weighted_sums",
]

IDENTITY, RELU, LEAKY = (activation(name).code for name in ("identity", "relu", "leaky_relu"))
_I32, _I64 = ir.IntType(32), ir.IntType(64)
# Edges at a time, and as many sums in flight as it takes to hide the latency of one addition.
_UNROLL, _CHAINS = 4, 4


def constant(value: int) -> ir.Constant:
    """Return a 64-bit integer constant."""
    return ir.Constant(_I64, value)


class Rows:
    """Emits vector code on rows of `tile` columns of one dtype; a row is `count` vectors of up to 64 bytes."""

    def __init__(self, context: Any, builder: Any, dtype: Any, tile: int) -> None:
        self.context, self.builder, self.bits = context, builder, dtype.bitwidth
        self.scalar = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.lanes = min(512 // self.bits, tile)
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.count, self.tile = tile // self.lanes, tile
        self.align = self.lanes * self.bits // 8

    def data(self, array_type: Any, value: Any) -> Any:
        """Return where the data of an array begins."""
        return self.context.make_array(array_type)(self.context, self.builder, value).data

    def length(self, array_type: Any, value: Any) -> Any:
        """Return the first size of an array."""
        array = self.context.make_array(array_type)(self.context, self.builder, value)
        return self.builder.extract_value(array.shape, 0)

    def at(self, base: Any, index: Any, element: Any = None) -> Any:
        """Return the address of an element."""
        return self.builder.gep(base, [index], inbounds=True, source_etype=element or self.scalar)

    def row(self, base: Any, rank: Any) -> Any:
        """Return the row that many rows behind another."""
        return self.at(base, self.builder.mul(rank, constant(self.tile)))

    def load(self, row: Any, k: int) -> Any:
        """Return vector k of a row."""
        pointer = self.builder.bitcast(self.at(row, constant(k * self.lanes)), self.vector.as_pointer())
        return self.builder.load(pointer, align=self.align, typ=self.vector)

    def store(self, value: Any, row: Any, k: int) -> None:
        """Write vector k of a row."""
        pointer = self.builder.bitcast(self.at(row, constant(k * self.lanes)), self.vector.as_pointer())
        self.builder.store(value, pointer, align=self.align)

    def steps(self, array_type: Any, value: Any) -> tuple[Any, Any]:
        """Return where the steps of edges begin, and their integer type."""
        return self.data(array_type, value), ir.IntType(array_type.dtype.bitwidth)

    def other(self, row: Any, steps: tuple[Any, Any], edge: Any) -> Any:
        """Return the row at the other end of an edge of the node whose row is given."""
        base, integer = steps
        step = self.builder.load(self.at(base, edge, integer), typ=integer)
        return self.row(row, self.builder.sext(step, _I64))

    def others(self, row: Any, steps: tuple[Any, Any], edge: Any, count: int) -> list[Any]:
        """Return the rows at the other ends of consecutive edges; short steps come in one load."""
        base, integer = steps
        if integer.width * count > 64:
            return [self.other(row, steps, self.builder.add(edge, constant(k))) for k in range(count)]
        packed_type = ir.IntType(integer.width * count)
        pointer = self.builder.bitcast(self.at(base, edge, integer), packed_type.as_pointer())
        packed = self.builder.load(pointer, align=integer.width // 8, typ=packed_type)
        found = []
        for k in range(count):
            step = self.builder.trunc(self.builder.lshr(packed, ir.Constant(packed_type, k * integer.width)), integer)
            found.append(self.row(row, self.builder.sext(step, _I64)))
        return found

    def element(self, base: Any, edge: Any) -> Any:
        """Return one number."""
        return self.builder.load(self.at(base, edge), typ=self.scalar)

    def elements(self, base: Any, first: Any, count: int) -> Any:
        """Return consecutive elements as a vector."""
        vector = ir.VectorType(self.scalar, count)
        pointer = self.builder.bitcast(self.at(base, first), vector.as_pointer())
        # Frozen, so that it stays one load and is not taken apart into one for each lane.
        loaded = self.builder.load(pointer, align=self.bits // 8, typ=vector)
        frozen = ir.instructions.Instruction(self.builder.block, vector, "freeze", [loaded])
        self.builder._insert(frozen)
        return frozen

    def spread(self, vector: Any, lane: int, lanes: int) -> Any:
        """Return one lane of a vector in every lane of another."""
        return self.shuffle(vector, ir.Constant(vector.type, ir.Undefined), [lane] * lanes)

    def fill(self, value: float) -> ir.Constant:
        """Return a vector of one constant."""
        return ir.Constant(self.vector, [value] * self.lanes)

    def splat(self, scalar: Any) -> Any:
        """Return a vector of one number."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
        return self.shuffle(first, undefined, [0] * self.lanes)

    def shuffle(self, a: Any, b: Any, lanes: list[int]) -> Any:
        """Return the vector of the named lanes of two others."""
        return self.builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(lanes)), lanes))

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what an LLVM intrinsic makes of vectors."""
        signature = ir.FunctionType(self.vector, [self.vector] * len(arguments))
        function = cgutils.get_or_insert_function(
            self.builder.module, signature, f"llvm.{name}.v{self.lanes}f{self.bits}"
        )
        return self.builder.call(function, arguments)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a * b + c."""
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
                vectors = [self.shuffle(p, q, both) for p, q in pairs]
                segments *= 2
                continue
            low, high = self._halves(2 * segments, width)
            vectors = [self.builder.fadd(self.shuffle(p, q, low), self.shuffle(p, q, high)) for p, q in pairs]
            segments, width = 2 * segments, width // 2
        total = vectors[0]
        while width > 1:
            low, high = self._halves(segments, width)
            undefined = ir.Constant(total.type, ir.Undefined)
            total = self.builder.fadd(self.shuffle(total, undefined, low), self.shuffle(total, undefined, high))
            width //= 2
        return total

    @staticmethod
    def _halves(segments: int, width: int) -> tuple[list[int], list[int]]:
        low = [s * width + i for s in range(segments) for i in range(width // 2)]
        return low, [lane + width // 2 for lane in low]

    def first_lane(self, vector: Any) -> Any:
        """Return the number in lane 0."""
        return self.builder.extract_element(vector, ir.Constant(_I32, 0))

    def add_to(self, base: Any, at: Any, vector: Any, fresh: Any) -> None:
        """Add a short vector to consecutive elements from `at` on, which count as 0 where `fresh` is true."""
        pointer = self.builder.bitcast(self.at(base, at), vector.type.as_pointer())
        align = self.bits // 8
        old = self.builder.load(pointer, align=align, typ=vector.type)
        zero = ir.Constant(vector.type, [0.0] * vector.type.count)
        self.builder.store(self.builder.fadd(self.builder.select(fresh, zero, old), vector), pointer, align=align)

    def loop(self, start: Any, stop: Any, step: int) -> Any:
        """Return the context of a loop over integers."""
        return cgutils.for_range_slice(self.builder, start, stop, constant(step), _I64)

    def by_mode(self, mode: Any, cases: dict[int, Callable[[], None]]) -> None:
        """Run the case whose key is `mode`; none for other modes."""
        for key, emit in cases.items():
            with self.builder.if_then(self.builder.icmp_signed("==", mode, constant(key))):
                emit()


def _clip_sums(rows: Rows, slots: list[Any], mode: Any) -> None:
    """Emit the plain activations of sums in stack slots."""
    builder, zero, slope = rows.builder, rows.fill(0.0), rows.fill(LEAKY_SLOPE)

    def clip(below: Callable[[Any], Any]) -> None:
        for slot in slots:
            z = builder.load(slot)
            # An ordered comparison is false for NaN, which therefore passes.
            builder.store(builder.select(builder.fcmp_ordered("<=", z, zero), below(z), z), slot)

    rows.by_mode(mode, {RELU: lambda: clip(lambda z: zero), LEAKY: lambda: clip(lambda z: builder.fmul(z, slope))})


def weighted_sums(rows: Rows, own: Any, slots: list[Any], steps: Any, weights: Any, first: Any, last: Any) -> None:
    """Emit the loop that adds w[e] * a[source of e] to sums in stack slots: one chain, or several of short rows.

    LLVM turns the slots into phi nodes: the sums live in registers for the whole loop.
    """
    builder = rows.builder
    chains = max(1, _CHAINS // rows.count)
    slots = slots + [cgutils.alloca_once_value(builder, rows.fill(0.0)) for _ in range(rows.count * (chains - 1))]

    def add(edge: Any, chain: int) -> None:
        source = rows.other(own, steps, edge)
        weight = rows.splat(rows.element(weights, edge))
        for k, slot in enumerate(slots[chain * rows.count : (chain + 1) * rows.count]):
            builder.store(rows.multiply_add(weight, rows.load(source, k), builder.load(slot)), slot)

    middle = builder.sub(last, builder.and_(builder.sub(last, first), constant(chains - 1)))
    with rows.loop(first, middle, chains) as (edge, _):
        for chain in range(chains):
            add(builder.add(edge, constant(chain)), chain)
    if chains > 1:
        with rows.loop(middle, last, 1) as (edge, _):
            add(edge, 0)
    for number, slot in enumerate(slots[rows.count :]):
        into = slots[number % rows.count]
        builder.store(builder.fadd(builder.load(into), builder.load(slot)), into)


def _forward(
    typing: Any, tile: Any, a: Any, rank: Any, step: Any, w: Any, start: Any, stop: Any, b: Any, mode: Any
) -> Any:
    """a[rank] = act(b + sum over edges e in start:stop of w[e] * a[rank + step[e]]); act only in the plain modes."""
    signature = types.void(tile, a, types.int64, step, w, types.int64, types.int64, w.dtype, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, rank_value, step_value, w_value, first, last, bias, mode_value = arguments
        rows = Rows(context, builder, w.dtype, tile.literal_value)
        target = rows.row(rows.data(a, a_value), rank_value)
        sums = [cgutils.alloca_once_value(builder, rows.splat(bias)) for _ in range(rows.count)]
        weighted_sums(rows, target, sums, rows.steps(step, step_value), rows.data(w, w_value), first, last)
        _clip_sums(rows, sums, mode_value)
        for k, slot in enumerate(sums):
            rows.store(builder.load(slot), target, k)
        return context.get_dummy_value()

    return signature, codegen


def _continue(typing: Any, tile: Any, a: Any, rank: Any, step: Any, w: Any, start: Any, stop: Any, mode: Any) -> Any:
    """a[rank] = act(a[rank] + sum over e in start:stop of w[e] * a[rank + step[e]]); act only in the plain modes."""
    signature = types.void(tile, a, types.int64, step, w, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, rank_value, step_value, w_value, first, last, mode_value = arguments
        rows = Rows(context, builder, w.dtype, tile.literal_value)
        target = rows.row(rows.data(a, a_value), rank_value)
        sums = [cgutils.alloca_once_value(builder, rows.load(target, k)) for k in range(rows.count)]
        weighted_sums(rows, target, sums, rows.steps(step, step_value), rows.data(w, w_value), first, last)
        _clip_sums(rows, sums, mode_value)
        for k, slot in enumerate(sums):
            rows.store(builder.load(slot), target, k)
        return context.get_dummy_value()

    return signature, codegen


def _scatter(typing: Any, tile: Any, a: Any, rank: Any, step: Any, w: Any, start: Any, stop: Any, mode: Any) -> Any:
    """a[rank] = act(a[rank]), in the plain modes, then a[rank + step[e]] += w[e] * a[rank] for e in start:stop.

    A row of one column that is 0 adds nothing and is passed over. The last row of `a` is scratch.
    """
    signature = types.void(tile, a, types.int64, step, w, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, rank_value, step_value, w_value, first, last, mode_value = arguments
        rows = Rows(context, builder, w.dtype, tile.literal_value)
        steps, weights = rows.steps(step, step_value), rows.data(w, w_value)
        base = rows.data(a, a_value)
        own_row = rows.row(base, rank_value)
        nowhere = rows.row(base, builder.sub(rows.length(a, a_value), constant(1)))
        slots = [cgutils.alloca_once_value(builder, rows.load(own_row, k)) for k in range(rows.count)]
        _clip_sums(rows, slots, mode_value)
        own = [builder.load(slot) for slot in slots]
        for k, value in enumerate(own):
            rows.store(value, own_row, k)

        def add(edge: Any, count: int) -> None:
            # Steps and values of several edges come in one load each: loads are what limits this loop.
            values = rows.elements(weights, edge, count)
            if rows.tile == 1:
                values = builder.fmul(values, rows.spread(own[0], 0, count))
            for k, target in enumerate(rows.others(own_row, steps, edge, count)):
                if rows.tile == 1:
                    rows.store(builder.fadd(rows.spread(values, k, 1), rows.load(target, 0)), target, 0)
                    continue
                weight = rows.spread(values, k, rows.lanes)
                for part, mine in enumerate(own):
                    rows.store(rows.multiply_add(weight, mine, rows.load(target, part)), target, part)

        if rows.tile == 1:
            silent = builder.fcmp_ordered("==", rows.first_lane(own[0]), ir.Constant(rows.scalar, 0.0))
            last = builder.select(silent, first, last)
        middle = builder.sub(last, builder.and_(builder.sub(last, first), constant(_UNROLL - 1)))
        with rows.loop(first, middle, _UNROLL) as (edge, _):
            add(edge, _UNROLL)
        with builder.if_then(builder.icmp_signed("<", middle, last)):
            # No loop, whose end would be guessed wrong for most nodes: missing edges go to a row that nobody reads.
            for k in range(_UNROLL - 1):
                edge = builder.add(middle, constant(k))
                there = builder.icmp_signed("<", edge, last)
                edge = builder.select(there, edge, middle)
                target = builder.select(there, rows.other(own_row, steps, edge), nowhere)
                weight = rows.splat(rows.element(weights, edge))
                for part, mine in enumerate(own):
                    old = rows.load(target, part)
                    if rows.tile == 1:
                        rows.store(builder.fadd(builder.fmul(weight, mine), old), target, part)
                    else:
                        rows.store(rows.multiply_add(weight, mine, old), target, part)
        return context.get_dummy_value()

    return signature, codegen


def edge_gradients(
    rows: Rows, own: list[Any], edges: tuple[Any, Any, Any, Any], sums: list[Any], dz: Any, dw: Any, fresh: Any
) -> None:
    """Emit the loop over out-edges: dw[e] += <own, dz[e]>, and sums += w[e] * dz[e] from the same load of dz.

    `dz` is the node's own row. Where `fresh` is true dw is written and not added to.
    """
    builder = rows.builder
    steps, weights, start, stop = edges

    def product(edge: Any, chain: int = 0) -> Any:
        target = rows.other(dz, steps, edge)
        into = sums[chain * rows.count :] if len(sums) > rows.count else sums
        weight = rows.splat(rows.element(weights, edge)) if sums else None
        total = None
        for k, mine in enumerate(own):
            theirs = rows.load(target, k)
            if sums:
                builder.store(rows.multiply_add(weight, theirs, builder.load(into[k])), into[k])
            total = builder.fmul(mine, theirs) if total is None else rows.multiply_add(mine, theirs, total)
        return total

    rest = builder.and_(builder.sub(stop, start), constant(_UNROLL - 1))
    middle = builder.sub(stop, rest)
    # Four edges at a time share the shuffles of their horizontal sums.
    with rows.loop(start, middle, _UNROLL) as (edge, _):
        total = rows.fold([product(builder.add(edge, constant(k)), k) for k in range(_UNROLL)])
        rows.add_to(dw, edge, total, fresh)
    with rows.loop(middle, stop, 1) as (edge, _):
        rows.add_to(dw, edge, rows.fold([product(edge)]), fresh)


def _backward(
    typing: Any,
    tile: Any,
    a: Any,
    dz: Any,
    rank: Any,
    seed: Any,
    step: Any,
    w: Any,
    dw: Any,
    start: Any,
    stop: Any,
    mode: Any,
    fresh: Any,
) -> Any:
    """dz[rank] = act' * (seed + sum over out-edges of w[e] * dz[rank + step[e]]), dw[e] += <a[rank], the same dz>.

    Where `fresh` is true dw[e] counts as 0 before. Returns the sum of dz[rank], the node's bias gradient.
    """
    signature = w.dtype(
        tile, a, dz, types.int64, seed, step, w, dw, types.int64, types.int64, types.int64, types.boolean
    )

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, dz_value, rank_value, seed_value, step_value, w_value, dw_value, first, last, *rest = arguments
        mode_value, fresh_value = rest
        rows = Rows(context, builder, w.dtype, tile.literal_value)
        own_row, target = (rows.row(rows.data(*pair), rank_value) for pair in ((a, a_value), (dz, dz_value)))
        own = [rows.load(own_row, k) for k in range(rows.count)]
        initial = rows.data(seed, seed_value)
        sums = [cgutils.alloca_once_value(builder, rows.load(initial, k)) for k in range(rows.count)]
        edges = (rows.steps(step, step_value), rows.data(w, w_value), first, last)
        # A row of one vector is one chain of additions: four chains hide their latency.
        chains = _UNROLL if rows.count == 1 else 1
        more = [cgutils.alloca_once_value(builder, rows.fill(0.0)) for _ in range(rows.count * (chains - 1))]
        edge_gradients(rows, own, edges, sums + more, target, rows.data(dw, dw_value), fresh_value)
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
        total = None
        for k, slot in enumerate(sums):
            value = builder.load(slot)
            rows.store(value, target, k)
            total = value if total is None else builder.fadd(total, value)
        return rows.first_lane(rows.fold([total]))

    return signature, codegen


def _weight_gradient(
    typing: Any, tile: Any, a: Any, dz: Any, rank: Any, step: Any, dw: Any, start: Any, stop: Any, fresh: Any
) -> Any:
    """dw[e] += <a[rank], dz[rank + step[e]]> for e in start:stop, for an input whose own gradient nobody asked for."""
    signature = types.void(tile, a, dz, types.int64, step, dw, types.int64, types.int64, types.boolean)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        _, a_value, dz_value, rank_value, step_value, dw_value, first, last, fresh_value = arguments
        rows = Rows(context, builder, dw.dtype, tile.literal_value)
        own_row, target = (rows.row(rows.data(*pair), rank_value) for pair in ((a, a_value), (dz, dz_value)))
        own = [rows.load(own_row, k) for k in range(rows.count)]
        edges = (rows.steps(step, step_value), None, first, last)
        edge_gradients(rows, own, edges, [], target, rows.data(dw, dw_value), fresh_value)
        return context.get_dummy_value()

    return signature, codegen


# `Any`, because compiled code calls these with one argument less than their definitions have.
row_forward: Any = intrinsic(prefer_literal=True)(_forward)
row_continue: Any = intrinsic(prefer_literal=True)(_continue)
row_scatter: Any = intrinsic(prefer_literal=True)(_scatter)
row_backward: Any = intrinsic(prefer_literal=True)(_backward)
row_weight_gradient: Any = intrinsic(prefer_literal=True)(_weight_gradient)

"""Products of rows as LLVM vector code: coarse ones of bytes, a tile of them in registers, and single ones of floats.

Importing this file imports numba and compiles nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["ROWS", "WIDTH", "can_multiply_bytes", "chained_product", "coarse_tile", "lowest_bit", "row_product"]

# The sums of a tile fill the vector registers but for those that hold what is multiplied.
ROWS, _VECTORS, _LANES = 6, 4, 16
WIDTH = _VECTORS * _LANES
_FLOAT, _I8, _I32, _I64 = ir.FloatType(), ir.IntType(8), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTEGERS = ir.VectorType(_FLOAT, _LANES), ir.VectorType(_I32, _LANES)


@cache
def can_multiply_bytes() -> bool:
    """Return whether the processor multiplies and adds bytes 64 at a time, and numba compiles for all it can do."""
    restricted = numba.config.CPU_NAME or numba.config.CPU_FEATURES  # type: ignore[attr-defined]
    return not restricted and bool(binding.get_host_cpu_features().get("avx512vnni"))


def _constant(value: int) -> ir.Constant:
    return ir.Constant(_I64, value)


class _Emitter:
    """What the kernels here have in common: addresses, vectors and constants."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def array(self, kind: Any, value: Any) -> Any:
        return self.context.make_array(kind)(self.context, self.builder, value)

    def at(self, base: Any, index: Any, element: Any) -> Any:
        return self.builder.gep(base, [index], inbounds=True, source_etype=element)

    def load(self, base: Any, index: Any, element: Any, vector: Any, align: int = 4) -> Any:
        place = self.builder.bitcast(self.at(base, index, element), vector.as_pointer())
        return self.builder.load(place, align=align, typ=vector)

    def splat(self, scalar: Any, vector: Any) -> Any:
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
        lanes = ir.Constant(ir.VectorType(_I32, _LANES), [0] * _LANES)
        return self.builder.shuffle_vector(first, undefined, lanes)

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        signature = ir.FunctionType(result, [argument.type for argument in arguments])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, signature, name), arguments)

    def loop(self, stop: Any, step: int = 1) -> Any:
        return cgutils.for_range_slice(self.builder, ir.Constant(_I64, 0), stop, ir.Constant(_I64, step), _I64)


def _coarse(
    typing: Any, a: Any, first: Any, z: Any, block: Any, sources: Any, targets: Any, limit: Any, hits: Any, sizes: Any
) -> Any:
    """hits[r, w] bit l: whether pair (first + r, 16 w + l of the block) may reach the limit; returns whether any may.

    sizes[0] and sizes[1] (ROWS, WIDTH): the lowest and the highest that |score| may be.

    `a` (S + 5, 4 K) uint8 and `z` (blocks, K, WIDTH, 4) int8 are rows in units of their own, whose product is
    unit_u * unit_v * sum + low_u * total_v. `sources` (S + 5, 4) are (unit, low, error, norm) and `targets`
    (4, blocks * WIDTH) the (unit, total, norm, error): it is off by at most error_u norm_v + norm_u error_v.
    """
    signature = types.int64(a, types.int64, z, types.int64, sources, targets, types.float32, hits, sizes)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        emit = _Emitter(context, builder)
        first_value, block_value, limit_value = (arguments[n] for n in (1, 3, 6))
        kinds = ((a, 0), (z, 2), (sources, 4), (targets, 5), (hits, 7), (sizes, 8))
        left, right, source_facts, target_facts, out, around = (emit.array(kind, arguments[n]) for kind, n in kinds)
        depth, groups = builder.extract_value(left.shape, 1), builder.extract_value(right.shape, 1)
        rows = [builder.add(first_value, _constant(r)) for r in range(ROWS)]
        begins = [emit.at(left.data, builder.mul(row, depth), _I8) for row in rows]
        wide = _constant(4 * WIDTH)
        columns = emit.at(right.data, builder.mul(builder.mul(block_value, groups), wide), _I8)
        zero = ir.Constant(_INTEGERS, [0] * _LANES)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(_VECTORS)] for _ in range(ROWS)]
        with emit.loop(groups) as (group, _):
            there = emit.at(columns, builder.mul(group, wide), _I8)
            values = [emit.load(there, _constant(4 * _LANES * w), _I8, _INTEGERS, 64) for w in range(_VECTORS)]
            for begin, slots in zip(begins, sums, strict=True):
                four = emit.load(begin, builder.mul(group, _constant(4)), _I8, _I32)
                four = emit.splat(four, _INTEGERS)
                for slot, value in zip(slots, values, strict=True):
                    total = emit.call("llvm.x86.avx512.vpdpbusd.512", _INTEGERS, builder.load(slot), four, value)
                    builder.store(total, slot)
        column, count = builder.mul(block_value, _constant(WIDTH)), builder.extract_value(target_facts.shape, 1)
        any_hit: Any = _constant(0)
        for r, slots in enumerate(sums):
            facts = [
                emit.splat(emit.load(source_facts.data, builder.add(builder.mul(rows[r], _constant(4)), _constant(n)),
                                     _FLOAT, _FLOAT), _FLOATS)
                for n in range(4)
            ]  # fmt: skip
            for w, slot in enumerate(slots):
                place = builder.add(column, _constant(w * _LANES))
                unit, total, norm, error = (
                    emit.load(target_facts.data, builder.add(builder.mul(count, _constant(n)), place), _FLOAT, _FLOATS)
                    for n in range(4)
                )
                score = builder.fmul(builder.sitofp(builder.load(slot), _FLOATS), unit)
                score = builder.fadd(builder.fmul(score, facts[0]), builder.fmul(facts[1], total))
                slack = builder.fadd(builder.fmul(facts[2], norm), builder.fmul(facts[3], error))
                size = emit.call(f"llvm.fabs.v{_LANES}f32", _FLOATS, score)
                low, high = builder.fsub(size, slack), builder.fadd(size, slack)
                for side, value in enumerate((low, high)):
                    place = _constant(side * ROWS * WIDTH + r * WIDTH + w * _LANES)
                    place = builder.bitcast(emit.at(around.data, place, _FLOAT), _FLOATS.as_pointer())
                    builder.store(value, place, align=4)
                over = builder.fcmp_ordered(">=", high, emit.splat(limit_value, _FLOATS))
                bits = builder.zext(builder.bitcast(over, ir.IntType(_LANES)), _I64)
                builder.store(bits, emit.at(out.data, _constant(r * _VECTORS + w), _I64))
                any_hit = builder.or_(any_hit, bits)
        return any_hit

    return signature, codegen


def _product(typing: Any, a: Any, u: Any, z: Any, v: Any) -> Any:
    """The sum over b of a[u, b] * z[v, b], 16 chains of them side by side."""
    signature = types.float32(a, types.int64, z, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        emit = _Emitter(context, builder)
        a_value, u_value, z_value, v_value = arguments
        left, right = emit.array(a, a_value), emit.array(z, z_value)
        depth = builder.extract_value(left.shape, 1)
        own, other = (emit.at(side.data, builder.mul(row, depth), _FLOAT)
                      for side, row in ((left, u_value), (right, v_value)))  # fmt: skip
        slot = cgutils.alloca_once_value(builder, ir.Constant(_FLOATS, [0.0] * _LANES))
        rest = cgutils.alloca_once_value(builder, ir.Constant(_FLOAT, 0.0))
        whole = builder.and_(depth, ir.Constant(_I64, -_LANES))
        with emit.loop(whole, _LANES) as (b, _):
            pair = (emit.load(side, b, _FLOAT, _FLOATS) for side in (own, other))
            builder.store(emit.call(f"llvm.fma.v{_LANES}f32", _FLOATS, *pair, builder.load(slot)), slot)
        with cgutils.for_range_slice(builder, whole, depth, ir.Constant(_I64, 1), _I64) as (b, _):
            pair = (emit.load(side, b, _FLOAT, _FLOAT) for side in (own, other))
            builder.store(emit.call("llvm.fma.f32", _FLOAT, *pair, builder.load(rest)), rest)
        total, width = builder.load(slot), _LANES
        while width > 1:
            width //= 2
            lanes = [[*range(start, start + width)] + [0] * (_LANES - width) for start in (0, width)]
            halves = [builder.shuffle_vector(total, total, ir.Constant(_INTEGERS, each)) for each in lanes]
            total = builder.fadd(*halves)
        return builder.fadd(builder.extract_element(total, ir.Constant(_I32, 0)), builder.load(rest))

    return signature, codegen


def _chained(typing: Any, a: Any, u: Any, z: Any, v: Any, begin: Any, end: Any) -> Any:
    """The sum over b in begin:end of a[u, b] * z[v, b] as one chain, as a matrix product of BLAS computes it."""
    signature = types.float32(a, types.int64, z, types.int64, types.int64, types.int64)

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        emit = _Emitter(context, builder)
        a_value, u_value, z_value, v_value, begin_value, end_value = arguments
        left, right = emit.array(a, a_value), emit.array(z, z_value)
        depth = builder.extract_value(left.shape, 1)
        own, other = (emit.at(side.data, builder.mul(row, depth), _FLOAT)
                      for side, row in ((left, u_value), (right, v_value)))  # fmt: skip
        slot = cgutils.alloca_once_value(builder, ir.Constant(_FLOAT, 0.0))
        with cgutils.for_range_slice(builder, begin_value, end_value, ir.Constant(_I64, 1), _I64) as (b, _):
            pair = (emit.load(side, b, _FLOAT, _FLOAT) for side in (own, other))
            builder.store(emit.call("llvm.fma.f32", _FLOAT, *pair, builder.load(slot)), slot)
        return builder.load(slot)

    return signature, codegen


def _lowest(typing: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set."""

    def codegen(context: Any, builder: Any, sig: Any, arguments: Any) -> Any:
        return _Emitter(context, builder).call("llvm.cttz.i64", _I64, arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen


lowest_bit: Any = intrinsic(_lowest)
coarse_tile: Any = intrinsic(_coarse)
row_product: Any = intrinsic(_product)
chained_product: Any = intrinsic(_chained)

"""What the emitted Numba kernels are made of: addresses as pointers, low precision, random bits, the call's table."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

I16, I32, F16, F32 = ir.IntType(16), ir.IntType(32), ir.HalfType(), ir.FloatType()


def _pointer(target: Any) -> Any:
    """An intrinsic: an address, moved by ``start`` elements, as a pointer."""

    @intrinsic
    def pointer(typing: Any, address: Any, start: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            base = builder.inttoptr(args[0], context.get_value_type(signature.return_type))
            return builder.gep(base, [args[1]])

        return types.CPointer(target)(types.int64, types.int64), code

    return pointer


f32, f64, u16, i64 = (_pointer(t) for t in (types.float32, types.float64, types.uint16, types.int64))
bf16 = f16 = u16  # their bits

# What the integers of a call are; rows, columns, and sums are float64, the rest is int64.
COUNTER, CHUNKS, N_CHUNKS, TABLE, N_TENSORS, N_COLUMNS, ROWS, N_ROWS, N_INPUTS, SUMS, N_SUMS, SEEDS, BLOCK = range(13)


@intrinsic
def next_block(typing: Any, call: Any, block: Any) -> Any:
    """Take the next block of chunks: the counter moves on by ``block``, and no other thread gets the same."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", args[0], args[1], "monotonic")

    return types.int64(types.CPointer(types.int64), types.int64), code


# A core waits for memory less if it asks early: this many numbers at a time, so many before they are needed.
PIECE, AHEAD, LINE = 64, 384, 64  # a line is what memory hands over at once, in bytes
PARTS, LONG = 4, 32_768  # parts that are read side by side where a single column is read, of a chunk as long as this


@intrinsic
def prefetch(typing: Any, column: Any, begin: Any) -> Any:
    """Ask for a piece of a column that will be needed after the one that begins here. Beyond the end it does nothing."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, place = ir.IntType(8).as_pointer(), builder.add(args[1], ir.Constant(ir.IntType(64), AHEAD))
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        ask = builder.module.declare_intrinsic("llvm.prefetch", (byte,), kind)
        ahead = builder.bitcast(builder.gep(args[0], [place]), byte)
        size = context.get_abi_sizeof(context.get_value_type(column.dtype))
        for line in range(0, PIECE * size, LINE):
            builder.call(ask, [builder.gep(ahead, [_i(line)]), _i(0), _i(3), _i(1)])
        return context.get_dummy_value()

    return types.void(column, types.int64), code


def _on_bits(build: Any, result: Any, *arguments: Any) -> Any:
    """An intrinsic whose code is built on 32-bit patterns."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return build(builder, *args)

    if len(arguments) == 1:

        @intrinsic
        def one(typing: Any, a: Any) -> Any:
            return result(*arguments), code

        return one
    if len(arguments) == 2:

        @intrinsic
        def two(typing: Any, a: Any, b: Any) -> Any:
            return result(*arguments), code

        return two

    @intrinsic
    def three(typing: Any, a: Any, b: Any, c: Any) -> Any:
        return result(*arguments), code

    return three


def _i(value: int) -> ir.Constant:
    return ir.Constant(I32, value)


def _load_bf16(b: Any, x: Any) -> Any:
    return b.bitcast(b.shl(b.zext(x, I32), _i(16)), F32)


def _high(b: Any, bits: Any, extra: Any) -> Any:
    """The upper 16 bits of bits + extra, which leaves infinities as they are, and NaNs whose lower 16 bits are 0."""
    return b.lshr(b.add(bits, extra), _i(16))


def _any(b: Any, rounded: Any, x: Any) -> Any:
    """What was rounded, and NaN for every NaN."""
    return b.select(b.fcmp_unordered("uno", x, x), _i(0x7FC0), rounded)


def _nearest_bf16(b: Any, x: Any) -> Any:
    bits = b.bitcast(x, I32)
    odd = b.and_(b.lshr(bits, _i(16)), _i(1))
    return _high(b, bits, b.add(odd, _i(0x7FFF)))


def _store_bf16(b: Any, x: Any) -> Any:
    return b.trunc(_any(b, _nearest_bf16(b, x), x), I16)


def _keep_bf16(b: Any, x: Any) -> Any:
    return b.trunc(_nearest_bf16(b, x), I16)


def _noise(b: Any, z: Any, column: Any) -> Any:
    """16 of an element's random bits for each of its columns: the low, the high, the middle ones, then mixed ones."""
    column = b.trunc(column, I32)
    found = b.lshr(b.mul(z, b.add(b.shl(column, _i(4)), _i(0x9E3779B1))), _i(16))
    for which, shift in enumerate((0, 16, 8)):
        bits = b.and_(b.lshr(z, _i(shift)), _i(0xFFFF))
        found = b.select(b.icmp_unsigned("==", column, _i(which)), bits, found)
    return found


def _store_bf16_at_random(b: Any, x: Any, z: Any, column: Any) -> Any:
    return b.trunc(_any(b, _high(b, b.bitcast(x, I32), _noise(b, z, column)), x), I16)


def _keep_bf16_at_random(b: Any, x: Any, z: Any, column: Any) -> Any:
    return b.trunc(_high(b, b.bitcast(x, I32), _noise(b, z, column)), I16)


def _load_f16(b: Any, x: Any) -> Any:
    return b.fpext(b.bitcast(x, F16), F32)


def _store_f16(b: Any, x: Any) -> Any:
    return b.bitcast(b.fptrunc(x, F16), I16)


def _store_f16_at_random(b: Any, x: Any, z: Any, column: Any) -> Any:
    """Add 13 random bits below the last place of |x| and cut them off; beside 2⁻¹⁴ every denormal has that place too."""
    bits = b.bitcast(x, I32)
    size, least = b.bitcast(b.and_(bits, _i(0x7FFFFFFF)), F32), ir.Constant(F32, 2.0**-14)
    small = b.fcmp_ordered("<", size, least)
    shifted = b.bitcast(b.select(small, b.fadd(size, least), size), I32)
    moved = b.and_(b.add(shifted, b.lshr(_noise(b, z, column), _i(3))), _i(0xFFFFE000))
    moved = b.bitcast(moved, F32)
    moved = b.bitcast(b.select(small, b.fsub(moved, least), moved), I32)
    moved = b.bitcast(b.or_(moved, b.and_(bits, _i(0x80000000))), F32)
    huge = b.fcmp_unordered(">=", size, ir.Constant(F32, 65504.0))
    return _store_f16(b, b.select(huge, x, moved))


def _random(b: Any, index: Any, seed: Any) -> Any:
    """A hash of an element's number and a seed (the integer hash "lowbias32" of C. Wellons)."""
    x = b.add(b.trunc(index, I32), b.trunc(seed, I32))
    x = b.mul(b.xor(x, b.lshr(x, _i(16))), _i(0x7FEB352D))
    x = b.mul(b.xor(x, b.lshr(x, _i(15))), _i(0x846CA68B))
    return b.xor(x, b.lshr(x, _i(16)))


def _tally(b: Any, count: Any, condition: Any) -> Any:
    """One more where the condition holds."""
    return b.add(count, b.zext(condition, I32))


from_bf16 = _on_bits(_load_bf16, types.float32, types.uint16)
from_f16 = _on_bits(_load_f16, types.float32, types.uint16)
to_bf16 = _on_bits(_store_bf16, types.uint16, types.float32)
to_f16 = _on_bits(_store_f16, types.uint16, types.float32)
to_bf16_at_random = _on_bits(_store_bf16_at_random, types.uint16, types.float32, types.uint32, types.int64)
to_f16_at_random = _on_bits(_store_f16_at_random, types.uint16, types.float32, types.uint32, types.int64)
# Where all that is read is bfloat16: a NaN's lower 16 bits are then 0, in whatever is calculated of it too.
keep_bf16 = _on_bits(_keep_bf16, types.uint16, types.float32)
keep_bf16_at_random = _on_bits(_keep_bf16_at_random, types.uint16, types.float32, types.uint32, types.int64)
tally = _on_bits(_tally, types.int32, types.int32, types.boolean)
random_bits = _on_bits(_random, types.uint32, types.int64, types.int64)


@njit(fastmath={"nsz", "contract", "reassoc"})
def plus(total: Any, x: Any) -> Any:
    """A sum in any order, which is what lets it be vectorized; what is summed keeps its own order."""
    return total + x


@njit
def exactly(total: Any, rest: Any, x: Any) -> Any:
    """A sum, and what rounding has taken from it so far (D. Knuth's two-sum)."""
    new = total + x
    part = new - total
    return new, rest + ((total - (new - part)) + (x - part))


@njit
def whole_sum(total: Any, rest: Any) -> Any:
    """The sum with what rounding took from it, which is no number where the sum is infinite."""
    return total + rest if rest == rest else total


@njit
def maximum(x: Any, y: Any) -> Any:
    """The larger of two; NaN if one of them is NaN."""
    return x if x > y or x != x else y


@njit
def minimum(x: Any, y: Any) -> Any:
    """The smaller of two; NaN if one of them is NaN."""
    return x if x < y or x != x else y


@njit
def sign(x: Any) -> Any:
    """−1, 0 or 1; NaN for NaN."""
    return type(x)(1) if x > 0 else type(x)(-1) if x < 0 else x


@njit
def where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, else ``y``."""
    return x if condition else y

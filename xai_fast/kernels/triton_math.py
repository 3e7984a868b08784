"""Device functions that the Triton kernels share: which entries a program has, sums over a row, standard normals.

Only the ``triton_kernels`` modules import this file, and only when a kernel runs: it needs Triton.

What holds for all kernels here:

* The grid is one-dimensional, because CUDA allows 65535 blocks on the other axes. Row offsets are int64, and a program
  counts its entries from its own start, so neither R * N nor N has to fit into int32.
* A sum over a row is a buffer of at most `PARTS` partial sums, one a program, that the next launch adds up: without
  atomics, the result does not depend on the order in which the programs run.
* Multiply-adds are written as `tl.fma`, and the kernels are compiled with ``enable_fp_fusion=False``: the result
  depends neither on the environment variable TRITON_DEFAULT_FP_FUSION nor on what the compiler finds worth fusing.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

__all__ = [
    "PARTS",
    "block_span",
    "number_of",
    "part_of_row",
    "quotient",
    "random_words",
    "row_total",
    "standard_normals",
    "uniforms",
]

PARTS = tl.constexpr(256)
"""The largest number of partial sums of a row."""


_LN_2 = tl.constexpr(math.log(2))
_STEP_OF_ANGLE = tl.constexpr(2 * math.pi / 2**17)
_BITS_OF_SQRT_HALF = tl.constexpr(0x3F3504F3)


@triton.jit
def part_of_row(parts: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Return (row int64, part int32) of this program in a grid of rows * parts programs."""
    program = tl.program_id(0)
    return (program // parts).to(tl.int64), program % parts


@triton.jit
def block_span(block: tl.tensor, entries: tl.tensor, BLOCK: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return (start int64, count int32): the entries start .. start + count - 1 of a row make up its block."""
    start = block.to(tl.int64) * BLOCK
    return start, tl.minimum(entries - start, BLOCK).to(tl.int32)


@triton.jit
def number_of(bits: tl.tensor) -> tl.tensor:
    """Return the float64 whose bits `xai_fast.kernels.triton_launch.bits_of` took."""
    return bits.to(tl.int64).to(tl.float64, bitcast=True)


@triton.jit
def quotient(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Return a / b, correctly rounded: in float32 `/` is an approximate instruction."""
    return tl.div_rn(a, b) if a.dtype == tl.float32 else a / b


@triton.jit
def row_total(sums: tl.tensor, parts: tl.tensor) -> tl.tensor:
    """Add up the partial sums at ``sums``, float64, at most PARTS of them."""
    part = tl.arange(0, PARTS)
    return tl.sum(tl.load(sums + part, mask=part < parts, other=0.0))


@triton.jit
def _artanh_series(square: tl.tensor, TERMS: tl.constexpr) -> tl.tensor:
    """Return artanh(s) / s for s^2 = square."""
    value = tl.full(square.shape, 1.0 / (2 * TERMS - 1), square.dtype)
    for k in tl.static_range(TERMS - 2, -1, -1):
        value = tl.fma(value, square, tl.full(square.shape, 1.0 / (2 * k + 1), square.dtype))
    return value


@triton.jit
def _circle_series(square: tl.tensor, FIRST: tl.constexpr, TERMS: tl.constexpr) -> tl.tensor:
    """Return cos(a), or with FIRST = 1 sin(a) / a, for a^2 = square: 1 - a^2 / (1 2) (1 - a^2 / (3 4) (1 - ...))."""
    one = tl.full(square.shape, 1.0, square.dtype)
    value = one
    for k in tl.static_range(2 * TERMS - 3 + FIRST, FIRST, -2):
        value = tl.fma(square * (-1.0 / (k * (k + 1))), value, one)
    return value


@triton.jit
def _minus_two_log(word: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """Return -2 ln(u), u = ((word >> 16) + 1/2) / 2^16.

    u = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), ln u = e ln 2 + 2 artanh(s), s = f / (2 + f). Everything up to
    and including f is exact in float32. What the series leaves out is at most 2e-9, in float64 2e-18.
    """
    u = ((word >> 16).to(tl.int32).to(tl.float32) + 0.5) * 0.0000152587890625
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits - _BITS_OF_SQRT_HALF) >> 23
    f = ((bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0).to(dtype)
    s = quotient(f, f + 2.0)
    artanh = s * _artanh_series(s * s, 5 if dtype == tl.float32 else 11)
    return -2.0 * tl.fma(exponent.to(dtype), tl.full(f.shape, _LN_2, dtype), 2.0 * artanh)


@triton.jit
def _cosine_and_sine(word: tl.tensor, dtype: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return cos and sin of 2 pi v, v = (word mod 2^16 + 1/2) / 2^16.

    v = quarter / 4 + t with |t| <= 1/8; as v is an odd multiple of 2^-17, t is exact, and never zero. What the series
    leave out is at most 3e-9, in float64 2e-18.
    """
    numerator = 2 * (word & 0xFFFF).to(tl.int32) + 1
    quarter = (numerator + 0x4000) >> 15
    angle = (numerator - (quarter << 15)).to(dtype) * _STEP_OF_ANGLE
    cosine = _circle_series(angle * angle, 0, 6 if dtype == tl.float32 else 10)
    sine = angle * _circle_series(angle * angle, 1, 5 if dtype == tl.float32 else 9)
    odd = (quarter & 1) != 0
    along, across = tl.where(odd, sine, cosine), tl.where(odd, cosine, sine)
    return tl.where(((quarter + 1) & 2) != 0, -along, along), tl.where((quarter & 2) != 0, -across, across)


@triton.jit
def _box_muller(word: tl.tensor, dtype: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    square = _minus_two_log(word, dtype)
    # tl.sqrt is an approximate instruction in float32.
    radius = tl.sqrt_rn(square) if dtype == tl.float32 else tl.sqrt(square)
    cosine, sine = _cosine_and_sine(word, dtype)
    return radius * cosine, radius * sine


@triton.jit
def random_words(
    block: tl.tensor, point: tl.tensor, step: tl.tensor, item_id: tl.tensor, seed: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return the four Philox4x32-10 words of each block, as in the contract of `random_points`.

    ``block`` is a vector of uint32 and ``item_id`` an int64; the other numbers fit into uint32. Four vectors come back.
    """
    zero = block * 0
    w0, w1, w2, w3 = tl.philox(
        (item_id << 32) | seed.to(tl.int64),
        block,
        zero + point.to(tl.uint32),
        zero + step.to(tl.uint32),
        zero + (item_id >> 32).to(tl.uint32),
    )
    return w0, w1, w2, w3


@triton.jit
def _centered(word: tl.tensor, dtype: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return 2 u - 1 of the uniforms u of both halves of a word: odd multiples of 2^-16, exact in float32."""
    first = (2 * (word >> 16).to(tl.int32) - 0xFFFF).to(dtype) * 0.0000152587890625
    second = (2 * (word & 0xFFFF).to(tl.int32) - 0xFFFF).to(dtype) * 0.0000152587890625
    return first, second


@triton.jit
def standard_normals(
    block: tl.tensor, point: tl.tensor, step: tl.tensor, item_id: tl.tensor, seed: tl.tensor, dtype: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return the normals of the entries 8 * block .. 8 * block + 7: eight vectors; arguments as of `random_words`."""
    w0, w1, w2, w3 = random_words(block, point, step, item_id, seed)
    z0, z1 = _box_muller(w0, dtype)
    z2, z3 = _box_muller(w1, dtype)
    z4, z5 = _box_muller(w2, dtype)
    z6, z7 = _box_muller(w3, dtype)
    return z0, z1, z2, z3, z4, z5, z6, z7


@triton.jit
def uniforms(
    block: tl.tensor, point: tl.tensor, step: tl.tensor, item_id: tl.tensor, seed: tl.tensor, dtype: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return uniform numbers in [-1, 1] of those entries, likewise."""
    w0, w1, w2, w3 = random_words(block, point, step, item_id, seed)
    z0, z1 = _centered(w0, dtype)
    z2, z3 = _centered(w1, dtype)
    z4, z5 = _centered(w2, dtype)
    z6, z7 = _centered(w3, dtype)
    return z0, z1, z2, z3, z4, z5, z6, z7

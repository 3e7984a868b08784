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

__all__ = ["PARTS", "block_span", "part_of_row", "random_words", "row_total", "standard_normals"]

PARTS = tl.constexpr(256)
"""The largest number of partial sums of a row."""


def _sine_series(terms: int) -> tuple[float, ...]:
    return tuple((-1) ** k * (2 * math.pi) ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(terms))


def _cosine_series(terms: int) -> tuple[float, ...]:
    return tuple((-1) ** k * (2 * math.pi) ** (2 * k) / math.factorial(2 * k) for k in range(terms))


def _logarithm_series(terms: int) -> tuple[float, ...]:
    return tuple(2 / (2 * k + 1) for k in range(terms))


# Taylor series. What they leave out, relative to the result: sine 3e-9 and cosine 2e-10 at |t| = 1/8, logarithm 3e-9 at
# s^2 = 0.0295 in float32; below 1e-16 in float64.
_SINE_32 = tl.constexpr(_sine_series(5))
_COSINE_32 = tl.constexpr(_cosine_series(6))
_LOGARITHM_32 = tl.constexpr(_logarithm_series(5))
_SINE_64 = tl.constexpr(_sine_series(9))
_COSINE_64 = tl.constexpr(_cosine_series(10))
_LOGARITHM_64 = tl.constexpr(_logarithm_series(11))
_LN_2 = tl.constexpr(math.log(2))
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
def row_total(sums: tl.tensor, parts: tl.tensor) -> tl.tensor:
    """Add up the partial sums at ``sums``, float64, at most PARTS of them."""
    part = tl.arange(0, PARTS)
    return tl.sum(tl.load(sums + part, mask=part < parts, other=0.0))


@triton.jit
def _polynomial(x: tl.tensor, COEFFICIENTS: tl.constexpr, TERMS: tl.constexpr) -> tl.tensor:
    value = tl.full(x.shape, COEFFICIENTS[TERMS - 1], x.dtype)
    for k in tl.static_range(TERMS - 2, -1, -1):
        value = tl.fma(value, x, tl.full(x.shape, COEFFICIENTS[k], x.dtype))
    return value


@triton.jit
def _minus_two_log(word: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """Return -2 ln(u), u = ((word >> 9) + 1/2) / 2^23.

    u = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)), ln u = e ln 2 + 2 artanh(s), s = f / (2 + f). Everything up to
    and including f is exact in float32.
    """
    u = ((word >> 9).to(tl.int32).to(tl.float32) + 0.5) * 0.00000011920928955078125
    bits = u.to(tl.int32, bitcast=True)
    exponent = (bits - _BITS_OF_SQRT_HALF) >> 23
    f = ((bits - (exponent << 23)).to(tl.float32, bitcast=True) - 1.0).to(dtype)
    if dtype == tl.float32:
        s = tl.div_rn(f, f + 2.0)
        artanh = s * _polynomial(s * s, _LOGARITHM_32, 5)
    else:
        s = f / (f + 2.0)
        artanh = s * _polynomial(s * s, _LOGARITHM_64, 11)
    log = tl.fma(exponent.to(dtype), tl.full(f.shape, _LN_2, dtype), artanh)
    return -2.0 * log


@triton.jit
def _cosine_and_sine(word: tl.tensor, dtype: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Return cos and sin of 2 pi v, v = ((word >> 9) + 1/2) / 2^23.

    v = quarter / 4 + t with |t| <= 1/8; as v is a whole multiple of 2^-24, t is exact, and never zero.
    """
    numerator = 2 * (word >> 9).to(tl.int32) + 1
    quarter = (numerator + 0x200000) >> 22
    t = (numerator - (quarter << 22)).to(dtype) * 0.000000059604644775390625
    if dtype == tl.float32:
        sine = t * _polynomial(t * t, _SINE_32, 5)
        cosine = _polynomial(t * t, _COSINE_32, 6)
    else:
        sine = t * _polynomial(t * t, _SINE_64, 9)
        cosine = _polynomial(t * t, _COSINE_64, 10)
    odd = (quarter & 1) != 0
    along, across = tl.where(odd, sine, cosine), tl.where(odd, cosine, sine)
    return tl.where(((quarter + 1) & 2) != 0, -along, along), tl.where((quarter & 2) != 0, -across, across)


@triton.jit
def _box_muller(first: tl.tensor, second: tl.tensor, dtype: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    square = _minus_two_log(first, dtype)
    # tl.sqrt is an approximate instruction in float32.
    radius = tl.sqrt_rn(square) if dtype == tl.float32 else tl.sqrt(square)
    cosine, sine = _cosine_and_sine(second, dtype)
    return radius * cosine, radius * sine


@triton.jit
def random_words(
    block: tl.tensor, point: tl.tensor, step: tl.tensor, item_id: tl.tensor, seed: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return the four Philox4x32-10 words of each block, as in the contract of `sphere_points`.

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
def standard_normals(
    block: tl.tensor, point: tl.tensor, step: tl.tensor, item_id: tl.tensor, seed: tl.tensor, dtype: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Return the normals of the entries 4 * block .. 4 * block + 3: four vectors; arguments as of `random_words`."""
    w0, w1, w2, w3 = random_words(block, point, step, item_id, seed)
    z0, z1 = _box_muller(w0, w1, dtype)
    z2, z3 = _box_muller(w2, w3, dtype)
    return z0, z1, z2, z3

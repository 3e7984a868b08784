"""The passes of `sphere_step` in Triton. Imported when the kernel runs: it needs Triton.

Per entry the arithmetic is in float64 also for float32 rows: gradients of 1e-25 and of 1e25 neither vanish nor overflow
when squared, and a tangent that is a thousandth of its gradient keeps its digits. Memory stays the bottleneck.
"""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import block_span, number_of, part_of_row, row_total

__all__ = ["move", "row_sums", "tangent_sums"]


@triton.jit
def _offset_and_gradient(
    points: tl.tensor,
    centers: tl.tensor,
    gradients: tl.tensor,
    row: tl.tensor,
    index: tl.tensor,
    entries: tl.tensor,
    start: tl.tensor,
    count: tl.tensor,
    BLOCK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Return d = x~ - x and F of a block in float64, zero behind the end of the row."""
    here = tl.arange(0, BLOCK)
    F = tl.load(gradients + row * entries + start + here, mask=here < count, other=0.0).to(tl.float64)
    point = tl.load(points + row * entries + start + here, mask=here < count, other=0.0).to(tl.float64)
    x = tl.load(centers + index * entries + start + here, mask=here < count, other=0.0).to(tl.float64)
    return point - x, F


@triton.jit(do_not_specialize=["part_sums"])
def row_sums(
    sums: tl.tensor,  # (3, R, parts) float64: F.F, and for the tangent F.d and d.d
    points: tl.tensor,
    centers: tl.tensor,
    gradients: tl.tensor,
    item: tl.tensor,
    active: tl.tensor,
    entries: tl.tensor,
    parts: tl.tensor,
    blocks_per_part: tl.tensor,
    part_sums: tl.tensor,  # R * parts
    TANGENT: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write what the norms need of each part of each active row."""
    row, part = part_of_row(parts)
    if tl.load(active + row):
        square = tl.zeros((BLOCK,), tl.float64)
        along = tl.zeros((BLOCK,), tl.float64)
        distance = tl.zeros((BLOCK,), tl.float64)
        for k in range(blocks_per_part):
            start, count = block_span(part * blocks_per_part + k, entries, BLOCK)
            if TANGENT:
                index = tl.load(item + row)
                d, F = _offset_and_gradient(points, centers, gradients, row, index, entries, start, count, BLOCK)
                along = tl.fma(F, d, along)
                distance = tl.fma(d, d, distance)
            else:
                here = tl.arange(0, BLOCK)
                F = tl.load(gradients + row * entries + start + here, mask=here < count, other=0.0).to(tl.float64)
            square = tl.fma(F, F, square)
        out = sums + row * parts + part
        tl.store(out, tl.sum(square))
        if TANGENT:
            tl.store(out + part_sums, tl.sum(along))
            tl.store(out + 2 * part_sums, tl.sum(distance))


@triton.jit(do_not_specialize=["part_sums"])
def tangent_sums(
    tangents: tl.tensor,  # (R, parts) float64
    sums: tl.tensor,  # as `row_sums` wrote them
    points: tl.tensor,
    centers: tl.tensor,
    gradients: tl.tensor,
    item: tl.tensor,
    active: tl.tensor,
    entries: tl.tensor,
    parts: tl.tensor,
    blocks_per_part: tl.tensor,
    part_sums: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Write the sum of t^2 over each part: t.t = F.F - (F.d)^2 / d.d cancels too much for float64 rows."""
    row, part = part_of_row(parts)
    if tl.load(active + row):
        index = tl.load(item + row)
        here = sums + row * parts
        ratio = row_total(here + part_sums, parts) / row_total(here + 2 * part_sums, parts)
        square = tl.zeros((BLOCK,), tl.float64)
        for k in range(blocks_per_part):
            start, count = block_span(part * blocks_per_part + k, entries, BLOCK)
            d, F = _offset_and_gradient(points, centers, gradients, row, index, entries, start, count, BLOCK)
            t = tl.fma(d, tl.zeros_like(d) - ratio, F)
            square = tl.fma(t, t, square)
        tl.store(tangents + row * parts + part, tl.sum(square))


@triton.jit
def _coefficients(
    sums: tl.tensor,
    tangents: tl.tensor,  # or None
    row: tl.tensor,
    parts: tl.tensor,
    part_sums: tl.tensor,
    radius: tl.tensor,
    floor: tl.tensor,
    RULE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Return (moves, a, b) of x~ = x + a d + b F, float64, for a rule that has norms."""
    here = sums + row * parts
    square = row_total(here, parts)
    if RULE == "normalized":
        moves = square != 0.0
        of_offset = square * 0.0
        of_gradient = -radius / tl.sqrt(square)
    else:
        along = row_total(here + part_sums, parts)
        distance = row_total(here + 2 * part_sums, parts)
        ratio = along / distance
        if tangents is None:
            of_tangent = square - ratio * along
            of_tangent = tl.where(of_tangent < 0.0, 0.0, of_tangent)
        else:
            of_tangent = row_total(tangents + row * parts, parts)
        # A row with NaN or infinite gradients does not stay: all of it becomes NaN, which shows.
        finite = square < float("inf")
        length = tl.where(finite, tl.sqrt(of_tangent), float("nan"))
        vanishes = tl.where(finite, length <= floor * tl.sqrt(square), False)
        moves = tl.where(distance == 0.0, False, vanishes == 0)
        shrink = radius / tl.sqrt(distance + radius * radius)  # norm(d')^2 = d.d + eps^2
        of_gradient = -shrink * (radius / length)
        of_offset = shrink - of_gradient * ratio
    return moves, of_offset, of_gradient


@triton.jit(do_not_specialize=["part_sums", "radius_bits", "floor_bits"])
def move(
    points: tl.tensor,
    centers: tl.tensor,
    gradients: tl.tensor,
    item: tl.tensor,
    active: tl.tensor,
    sums: tl.tensor,  # or None
    tangents: tl.tensor,  # or None
    entries: tl.tensor,
    blocks: tl.tensor,
    parts: tl.tensor,
    part_sums: tl.tensor,
    radius_bits: tl.int64,
    floor_bits: tl.int64,
    RULE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write x~ of each active row, from its sums."""
    row, block = part_of_row(blocks)
    if tl.load(active + row):
        radius = number_of(radius_bits)
        index = tl.load(item + row)
        start, count = block_span(block, entries, BLOCK)
        here = tl.arange(0, BLOCK)
        F = tl.load(gradients + row * entries + start + here, mask=here < count, other=0.0).to(tl.float64)
        x = tl.load(centers + index * entries + start + here, mask=here < count, other=0.0).to(tl.float64)
        out = points + row * entries + start + here
        if RULE == "sign":
            sign = tl.where(F == 0.0, 0.0, tl.where(F > 0.0, 1.0, tl.where(F < 0.0, -1.0, F)))  # NaN shows
            tl.store(out, (x - radius * sign).to(points.dtype.element_ty), mask=here < count)
        else:
            moves, of_offset, of_gradient = _coefficients(
                sums, tangents, row, parts, part_sums, radius, number_of(floor_bits), RULE
            )
            if moves:
                moved = tl.fma(F, tl.zeros_like(F) + of_gradient, x)
                if RULE == "tangent":
                    d = tl.load(out, mask=here < count, other=0.0).to(tl.float64) - x
                    moved = tl.fma(d, tl.zeros_like(d) + of_offset, moved)
                tl.store(out, moved.to(points.dtype.element_ty), mask=here < count)

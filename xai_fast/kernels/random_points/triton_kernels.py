"""The two passes of `random_points` in Triton. Imported when the kernel runs: it needs Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import block_span, number_of, part_of_row, row_total, standard_normals, uniforms

__all__ = ["square_sums", "write_points"]


@triton.jit
def _squares(first: tl.tensor, second: tl.tensor, rest: tl.tensor) -> tl.tensor:
    """Return first^2 + second^2, of which only `rest` numbers are in the row."""
    first = tl.where(rest > 0, first, 0.0)
    second = tl.where(rest > 1, second, 0.0)
    return tl.fma(first, first, second * second)


@triton.jit(do_not_specialize=["seed", "step"])
def square_sums(
    sums: tl.tensor,  # (R, parts) float64
    item: tl.tensor,
    item_ids: tl.tensor,
    point: tl.tensor,
    active: tl.tensor,
    entries: tl.tensor,
    parts: tl.tensor,
    blocks_per_part: tl.tensor,
    seed: tl.uint32,
    step: tl.uint32,
    dtype: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the sum of z^2 over each part of each active row."""
    row, part = part_of_row(parts)
    if tl.load(active + row):
        item_id = tl.load(item_ids + tl.load(item + row))
        total = tl.full((), 0.0, tl.float64)
        for k in range(blocks_per_part):
            start, count = block_span(part * blocks_per_part + k, entries, BLOCK)
            octet = tl.arange(0, BLOCK // 8)
            z0, z1, z2, z3, z4, z5, z6, z7 = standard_normals(
                ((start // 8) + octet).to(tl.uint32), tl.load(point + row), step, item_id, seed, dtype
            )
            rest = count - 8 * octet  # of the entries, from the first one of the octet
            squares = _squares(z0, z1, rest) + _squares(z2, z3, rest - 2)
            squares += _squares(z4, z5, rest - 4) + _squares(z6, z7, rest - 6)
            # A tree sum of 2048 squares keeps the norm to 1e-7 in float32; what adds up over a long row is float64.
            total += tl.sum(squares).to(tl.float64)
        tl.store(sums + row * parts + part, total)


@triton.jit(do_not_specialize=["radius_bits", "seed", "step"])
def write_points(
    points: tl.tensor,
    sums: tl.tensor,  # (R, parts) float64 for a sphere, or None
    centers: tl.tensor,
    item: tl.tensor,
    item_ids: tl.tensor,
    point: tl.tensor,
    active: tl.tensor,
    entries: tl.tensor,
    blocks: tl.tensor,
    parts: tl.tensor,
    radius_bits: tl.int64,
    seed: tl.uint32,
    step: tl.uint32,
    BOX: tl.constexpr,
    dtype: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write x + radius * z, z / norm(z) for a sphere: to draw z again is cheaper than to keep it, as large as x~."""
    row, block = part_of_row(blocks)
    if tl.load(active + row):
        scale = number_of(radius_bits)
        if sums is not None:
            scale = scale / tl.sqrt(row_total(sums + row * parts, parts))
        scale = scale.to(dtype)
        index = tl.load(item + row)
        start, count = block_span(block, entries, BLOCK)
        item_id = tl.load(item_ids + index)
        octet = ((start // 8) + tl.arange(0, BLOCK // 8)).to(tl.uint32)
        if BOX:
            z0, z1, z2, z3, z4, z5, z6, z7 = uniforms(octet, tl.load(point + row), step, item_id, seed, dtype)
        else:
            z0, z1, z2, z3, z4, z5, z6, z7 = standard_normals(octet, tl.load(point + row), step, item_id, seed, dtype)
        # (BLOCK / 8, 2, 2, 2) -> BLOCK: each thread holds whole octets, so the store is 128 bits wide.
        even = tl.join(tl.join(z0, z4), tl.join(z2, z6))
        odd = tl.join(tl.join(z1, z5), tl.join(z3, z7))
        z = tl.reshape(tl.join(even, odd), (BLOCK,))
        offset = tl.arange(0, BLOCK)
        x = tl.load(centers + index * entries + start + offset, mask=offset < count, other=0.0)
        tl.store(points + row * entries + start + offset, tl.fma(z, scale + tl.zeros_like(z), x), mask=offset < count)

"""The passes of `pair_reduce` in Triton. Imported when the kernel runs: it needs Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import part_of_row

__all__ = ["add_parts", "part_sums"]


@triton.jit
def part_sums(
    partial: tl.tensor,  # (parts, B, nA, nC)
    left: tl.tensor,
    right: tl.tensor,
    weight: tl.tensor,  # or None
    items: tl.tensor,
    rows: tl.tensor,
    columns: tl.tensor,
    units: tl.tensor,
    parts: tl.tensor,
    blocks_per_part: tl.tensor,
    tiles_down: tl.tensor,
    tiles_across: tl.tensor,
    TILE: tl.constexpr,
    UNITS: tl.constexpr,
) -> None:
    """Write the sums of a tile of pairs over a part of an item's units. Programs side by side share that part."""
    place, tile = part_of_row(tiles_down * tiles_across)
    item, part = place // parts, place % parts
    i = tile // tiles_across * TILE + tl.arange(0, TILE)
    j = tile % tiles_across * TILE + tl.arange(0, TILE)
    of_left = (i.to(tl.int64) * items + item) * units
    of_right = (j.to(tl.int64) * items + item) * units
    total = tl.zeros((TILE, TILE), left.dtype.element_ty)
    for k in range(blocks_per_part):
        unit = (part * blocks_per_part + k) * UNITS + tl.arange(0, UNITS)
        inside = unit < units
        a = tl.load(left + of_left[:, None] + unit[None, :], mask=(i < rows)[:, None] & inside[None, :], other=0.0)
        b = tl.load(right + of_right[:, None] + unit[None, :], mask=(j < columns)[:, None] & inside[None, :], other=0.0)
        if weight is not None:
            a = a * tl.load(weight + item * units + unit, mask=inside, other=0.0)[None, :]
        # All bits of float32: not the shorter numbers of the tensor cores.
        total = tl.dot(a, tl.trans(b), total, input_precision="ieee", out_dtype=left.dtype.element_ty)
    to = ((part * items + item) * rows + i.to(tl.int64)[:, None]) * columns + j[None, :]
    tl.store(partial + to, total, mask=(i < rows)[:, None] & (j < columns)[None, :])


@triton.jit
def add_parts(sums: tl.tensor, partial: tl.tensor, entries: tl.tensor, parts: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Add the parts of each sum, in order and in float64, to what is there."""
    here = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = here < entries
    total = tl.zeros((BLOCK,), tl.float64)
    for part in range(parts):
        total += tl.load(partial + part * tl.cast(entries, tl.int64) + here, mask=inside, other=0.0).to(tl.float64)
    before = tl.load(sums + here, mask=inside, other=0.0)
    tl.store(sums + here, before + total.to(before.dtype), mask=inside)

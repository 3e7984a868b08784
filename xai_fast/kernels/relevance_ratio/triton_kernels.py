"""The passes of `relevance_ratio` in Triton. Imported when the kernel runs: it needs Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import block_span, number_of, part_of_row, quotient

__all__ = ["add_blocks", "ratios"]


@triton.jit(do_not_specialize=["eps_bits", "inner", "channels"])
def ratios(
    out: tl.tensor,  # (T, B, M)
    partial: tl.tensor,  # (T, B, blocks, 4) float64, or None
    c: tl.tensor,
    numerator: tl.tensor,
    divisor: tl.tensor,
    bias: tl.tensor,  # (2, C), or None
    inner: tl.tensor,
    eps_bits: tl.tensor,
    rows: tl.tensor,
    items: tl.tensor,
    units: tl.tensor,
    channels: tl.tensor,
    blocks: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Write a block of an item's units in all rows: what the rows share is read once."""
    item, block = part_of_row(blocks)
    start, count = block_span(block, units, BLOCK)
    here = tl.arange(0, BLOCK)
    inside = here < count
    of_item = item * units + start + here
    z = tl.load(numerator + of_item, mask=inside, other=0.0)
    d = tl.load(divisor + of_item, mask=inside, other=1.0)
    eps = tl.zeros_like(d) + number_of(eps_bits).to(d.dtype)
    stabiliser = tl.where(d < 0, -eps, eps)
    ratio = quotient(z, d + stabiliser)
    if partial is not None:
        beyond = tl.where(tl.abs(d) > eps, stabiliser, 0.0)
        within = tl.where(tl.abs(d) <= eps, stabiliser, 0.0)
        if bias is not None:
            # The block's first channel in 64 bits, the rest in 32: divisions of 64 bits take many instructions.
            channel = ((start % inner).to(tl.int32) + here) // inner + (start // inner % channels).to(tl.int32)
            of_unit = channel % channels + tl.where(z > 0, 0, channels)
            beside = tl.load(bias + of_unit, mask=inside, other=0.0)
    place = item  # in (T, B)
    for _ in range(rows):
        of_row = place * units + start + here
        arriving = tl.load(c + of_row, mask=inside, other=0.0)
        result = arriving * ratio
        tl.store(out + of_row, result, mask=inside)
        if partial is not None:
            to = partial + (place * blocks + block) * 4
            tl.store(to, tl.sum(arriving * z).to(tl.float64))
            if bias is not None:
                tl.store(to + 1, tl.sum(result * beside).to(tl.float64))
            else:
                tl.store(to + 1, 0.0)
            tl.store(to + 2, tl.sum(result * beyond).to(tl.float64))
            tl.store(to + 3, tl.sum(result * within).to(tl.float64))
        place += items


@triton.jit
def add_blocks(sums: tl.tensor, partial: tl.tensor, blocks: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Add up the four sums of all blocks of a row of an item, in the order of the blocks alone."""
    place = tl.program_id(0).to(tl.int64)
    kind = tl.arange(0, 4)
    total = tl.zeros((BLOCK, 4), tl.float64)
    for first in range(0, blocks, BLOCK):
        block = first + tl.arange(0, BLOCK)
        at = partial + (place * blocks + block[:, None]) * 4 + kind[None, :]
        total += tl.load(at, mask=(block < blocks)[:, None], other=0.0)
    tl.store(sums + place * 4 + kind, tl.sum(total, axis=0))

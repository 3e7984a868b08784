"""The two passes of `flux_accumulate` in Triton. Imported when the kernel runs: it needs Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import block_span, part_of_row, quotient

__all__ = ["accumulate", "chain_rows"]


@triton.jit(do_not_specialize=["rows"])
def chain_rows(
    following: tl.tensor,  # (R,) int64: the next negative row of the same item, or -1; like `number`, of negative rows
    number: tl.tensor,  # (R,) int64: the count of its item with this row
    leads: tl.tensor,  # (R,) bool: the first negative row of its item
    count: tl.tensor,
    item: tl.tensor,
    negative: tl.tensor,
    rows: tl.tensor,
    CHUNK: tl.constexpr,
) -> None:
    """Chain the negative rows of each item, so that one program can walk along them in order."""
    row = tl.program_id(0)
    if tl.load(negative + row):
        mine = tl.load(item + row)
        before = tl.zeros((CHUNK,), tl.int32)
        after = tl.full((CHUNK,), 0, tl.int32) + rows
        for start in range(0, rows, CHUNK):
            other = start + tl.arange(0, CHUNK)
            is_negative = tl.load(negative + other, mask=other < rows, other=0) != 0
            same = is_negative & (tl.load(item + other, mask=is_negative, other=-1) == mine)
            before += (same & (other < row)).to(tl.int32)
            after = tl.minimum(after, tl.where(same & (other > row), other, rows))
        earlier = tl.sum(before)
        next_row = tl.min(after)
        tl.store(following + row, tl.where(next_row < rows, next_row, -1).to(tl.int64))
        tl.store(number + row, tl.load(count + mine) + earlier + 1)
        tl.store(leads + row, earlier == 0)
    else:
        tl.store(leads + row, False)


@triton.jit
def accumulate(
    mean: tl.tensor,
    m2: tl.tensor,  # or None
    count: tl.tensor,
    centers: tl.tensor,  # or None
    points: tl.tensor,  # or None
    gradients: tl.tensor,
    item: tl.tensor,
    following: tl.tensor,
    number: tl.tensor,
    leads: tl.tensor,
    entries: tl.tensor,
    blocks: tl.tensor,
    MAGNITUDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Walk along the rows of one item: mean and m2 are read and written once, other rows are never touched."""
    leader, block = part_of_row(blocks)
    if tl.load(leads + leader):
        index = tl.load(item + leader)
        start, remaining = block_span(block, entries, BLOCK)
        here = tl.arange(0, BLOCK)
        inside = here < remaining
        of_item = index * entries + start + here
        average = tl.load(mean + of_item, mask=inside, other=0.0)
        if points is not None:
            x = tl.load(centers + of_item, mask=inside, other=0.0)
        if m2 is not None:
            deviations = tl.load(m2 + of_item, mask=inside, other=0.0)
        row = leader
        total = tl.load(number + leader)
        while row >= 0:
            of_row = row * entries + start + here
            contribution = tl.load(gradients + of_row, mask=inside, other=0.0).to(average.dtype)
            if points is not None:
                contribution *= x - tl.load(points + of_row, mask=inside, other=0.0)
            total = tl.load(number + row)
            row = tl.load(following + row)
            if MAGNITUDE:
                contribution = tl.abs(contribution)
            delta = contribution - average
            # Correctly rounded as in the reference: rows with equal fluxes have no deviation.
            change = quotient(delta, tl.zeros_like(delta) + total.to(delta.dtype))
            average += change
            if m2 is not None:
                deviations += delta * (delta - change)
        tl.store(mean + of_item, average, mask=inside)
        if m2 is not None:
            tl.store(m2 + of_item, deviations, mask=inside)
        if block == 0:
            tl.store(count + index, total)  # nobody reads count in this launch: `number` holds what is needed

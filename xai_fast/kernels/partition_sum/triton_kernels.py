"""The passes of `partition_sum` in Triton. Imported when the kernel runs: it needs Triton.

Every index of the program is compared with its bounds: beyond them nothing is read, and the term is NaN.
"""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import block_span, part_of_row

__all__ = ["add_parts", "sum_targets", "write_targets"]


@triton.jit
def _row(
    array: tl.tensor,
    index: tl.tensor,
    count: tl.tensor,
    entries: tl.tensor,
    start: tl.tensor,
    here: tl.tensor,
    inside: tl.tensor,
) -> tl.tensor:
    """Return a block of a row, NaN if there is no such row."""
    there = (index >= 0) & (index < count)
    return tl.load(array + (index.to(tl.int64) * entries + start) + here, mask=inside & there, other=float("nan"))


@triton.jit
def _sum_over_terms(
    s: tl.tensor,
    rows: tl.tensor,
    adjoints: tl.tensor,  # or None
    term_offsets: tl.tensor,
    term_order: tl.tensor,
    term_adjoint: tl.tensor,
    block_offsets: tl.tensor,
    blocks: tl.tensor,
    row_count: tl.tensor,
    adjoint_count: tl.tensor,
    terms: tl.tensor,
    block_count: tl.tensor,
    orders: tl.tensor,
    entries: tl.tensor,  # of a row of all items
    target: tl.tensor,
    start: tl.tensor,
    count: tl.tensor,
    BLOCK: tl.constexpr,
) -> tl.tensor:
    """Return c of one target at ``count`` entries from `start` on; what is behind them means nothing."""
    here = tl.arange(0, BLOCK)
    inside = here < count
    total = tl.zeros((BLOCK,), s.dtype.element_ty)
    first = tl.maximum(tl.load(term_offsets + target), 0)
    end = tl.minimum(tl.load(term_offsets + target + 1), terms)
    for term in range(first, end):
        product = tl.full((BLOCK,), 1.0, s.dtype.element_ty)
        first_block = tl.maximum(tl.load(block_offsets + term), 0)
        end_block = tl.minimum(tl.load(block_offsets + term + 1), block_count)
        for block in range(first_block, end_block):
            product = product * _row(rows, tl.load(blocks + block), row_count, entries, start, here, inside)
        adjoint = tl.load(term_adjoint + term)
        if adjoint >= 0:
            if adjoints is None:
                product = product * float("nan")
            else:
                product = product * _row(adjoints, adjoint, adjoint_count, entries, start, here, inside)
        s_of_term = _row(s, tl.load(term_order + term), orders + 1, entries, start, here, inside)
        total = tl.fma(product, s_of_term, total)
    return total


@triton.jit
def write_targets(
    out: tl.tensor,
    s: tl.tensor,  # (orders + 1, B, U)
    rows: tl.tensor,
    adjoints: tl.tensor,
    term_offsets: tl.tensor,
    term_order: tl.tensor,
    term_adjoint: tl.tensor,
    block_offsets: tl.tensor,
    blocks: tl.tensor,
    row_count: tl.tensor,
    adjoint_count: tl.tensor,
    terms: tl.tensor,
    block_count: tl.tensor,
    orders: tl.tensor,
    entries: tl.tensor,  # B * U
    targets: tl.tensor,
    groups: tl.tensor,
    TARGETS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write a group of targets at a block of units. Programs side by side have the same units."""
    stretch, group = part_of_row(groups)
    start, count = block_span(stretch, entries, BLOCK)
    here = tl.arange(0, BLOCK)
    for target in range(group * TARGETS, tl.minimum((group + 1) * TARGETS, targets)):
        total = _sum_over_terms(
            s,
            rows,
            adjoints,
            term_offsets,
            term_order,
            term_adjoint,
            block_offsets,
            blocks,
            row_count,
            adjoint_count,
            terms,
            block_count,
            orders,
            entries,
            target,
            start,
            count,
            BLOCK,
        )
        tl.store(out + (target * tl.cast(entries, tl.int64) + start) + here, total, mask=here < count)


@triton.jit
def sum_targets(
    partial: tl.tensor,  # (parts, B, T) float64
    s: tl.tensor,
    rows: tl.tensor,
    adjoints: tl.tensor,
    term_offsets: tl.tensor,
    term_order: tl.tensor,
    term_adjoint: tl.tensor,
    block_offsets: tl.tensor,
    blocks: tl.tensor,
    row_count: tl.tensor,
    adjoint_count: tl.tensor,
    terms: tl.tensor,
    block_count: tl.tensor,
    orders: tl.tensor,
    items: tl.tensor,
    units: tl.tensor,
    targets: tl.tensor,
    groups: tl.tensor,
    parts: tl.tensor,
    blocks_per_part: tl.tensor,
    TARGETS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the sums of a group of targets over a part of an item's units."""
    place, group = part_of_row(groups)
    item, part = place // parts, place % parts
    for target in range(group * TARGETS, tl.minimum((group + 1) * TARGETS, targets)):
        sum_of_part = tl.zeros((BLOCK,), tl.float64)
        for k in range(blocks_per_part):
            start, count = block_span(part * blocks_per_part + k, units, BLOCK)
            total = _sum_over_terms(
                s,
                rows,
                adjoints,
                term_offsets,
                term_order,
                term_adjoint,
                block_offsets,
                blocks,
                row_count,
                adjoint_count,
                terms,
                block_count,
                orders,
                items * tl.cast(units, tl.int64),
                target,
                item * units + start,
                count,
                BLOCK,
            )
            sum_of_part += tl.where(tl.arange(0, BLOCK) < count, total, 0.0).to(tl.float64)
        tl.store(partial + (part * items + item) * targets + target, tl.sum(sum_of_part))


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

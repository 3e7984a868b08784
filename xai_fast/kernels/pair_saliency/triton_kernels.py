"""The passes of `pair_saliency` in Triton. Imported when the kernel runs: it needs Triton.

A strength is a saliency where NaN counts as infinite, and -1 where there is no pair, or one that is already taken.
"""

from __future__ import annotations

import triton
import triton.language as tl

from xai_fast.kernels.triton_math import part_of_row

__all__ = ["merge_blocks", "rank_blocks", "write_saliency"]

_NO_PAIR = tl.constexpr(-1.0)
_BEHIND_ALL = tl.constexpr(0x7FFFFFFF)


@triton.jit
def write_saliency(
    out: tl.tensor,
    sums: tl.tensor,
    mask: tl.tensor,  # or None
    positions: tl.tensor,
    tiles: tl.tensor,
    SYMMETRIC: tl.constexpr,
    MASK_OF_EACH: tl.constexpr,
    TILE: tl.constexpr,
) -> None:
    """Write a tile of an item's saliency; of mutual pairs the mirrored tile is read along its rows, and turned."""
    item, tile = part_of_row(tiles * tiles)
    i = tile // tiles * TILE + tl.arange(0, TILE)[:, None]
    j = tile % tiles * TILE + tl.arange(0, TILE)[None, :]
    matrix = item * positions * positions
    inside = (i < positions) & (j < positions)
    here = tl.load(sums + matrix + i * positions + j, mask=inside, other=0.0)
    saliency = here * here
    counts = i != j
    if SYMMETRIC:
        row = tile % tiles * TILE + tl.arange(0, TILE)[:, None]
        column = tile // tiles * TILE + tl.arange(0, TILE)[None, :]
        mirrored = (row < positions) & (column < positions)
        there = tl.trans(tl.load(sums + matrix + row * positions + column, mask=mirrored, other=0.0))
        saliency = saliency + there * there
        counts = i < j
    if mask is not None:
        first = matrix if MASK_OF_EACH else matrix * 0
        counts = counts & (tl.load(mask + first + i * positions + j, mask=inside, other=0) != 0)
    tl.store(out + matrix + i * positions + j, tl.where(counts, saliency, 0.0), mask=inside)


@triton.jit
def _saliency_at(
    sums: tl.tensor,
    matrix: tl.tensor,
    i: tl.tensor,
    j: tl.tensor,
    positions: tl.tensor,
    inside: tl.tensor,
    SYMMETRIC: tl.constexpr,
) -> tl.tensor:
    here = tl.load(sums + matrix + i * positions + j, mask=inside, other=0.0)
    saliency = here * here
    if SYMMETRIC:
        there = tl.load(sums + matrix + j * positions + i, mask=inside, other=0.0)
        saliency = saliency + there * there
    return saliency


@triton.jit
def rank_blocks(
    strengths: tl.tensor,  # (B, blocks, kept): the largest of each block, in order; -1 behind the last pair
    indices: tl.tensor,  # (B, blocks, kept) int32: i * n + j
    sums: tl.tensor,
    mask: tl.tensor,  # or None
    positions: tl.tensor,
    blocks: tl.tensor,
    kept: tl.tensor,
    SYMMETRIC: tl.constexpr,
    MASK_OF_EACH: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Take the largest of a block of pairs again and again, the smallest index among equals."""
    item, block = part_of_row(blocks)
    matrix = item * positions * positions
    index = block * BLOCK + tl.arange(0, BLOCK)
    i = index // positions
    j = index - i * positions
    counts = (i < positions) & ((i < j) if SYMMETRIC else (i != j))
    if mask is not None:
        first = matrix if MASK_OF_EACH else matrix * 0
        counts = counts & (tl.load(mask + first + index, mask=counts, other=0) != 0)
    saliency = _saliency_at(sums, matrix, i, j, positions, counts, SYMMETRIC)
    strength = tl.where(saliency == saliency, saliency, float("inf"))
    strength = tl.where(counts, strength, _NO_PAIR)
    to = (item * blocks + block) * kept
    for rank in range(kept):
        most = tl.max(strength)
        chosen = tl.min(tl.where(strength == most, index, _BEHIND_ALL))
        tl.store(strengths + to + rank, most)
        tl.store(indices + to + rank, chosen)
        strength = tl.where(index == chosen, _NO_PAIR, strength)


@triton.jit
def merge_blocks(
    values: tl.tensor,
    pairs: tl.tensor,
    strengths: tl.tensor,
    indices: tl.tensor,
    sums: tl.tensor,
    positions: tl.tensor,
    blocks: tl.tensor,
    kept: tl.tensor,
    k: tl.tensor,
    SYMMETRIC: tl.constexpr,
    HEADS: tl.constexpr,
) -> None:
    """Take the largest of the blocks' first again and again; the block that had it moves on to its next."""
    item = tl.program_id(0).to(tl.int64)
    matrix = item * positions * positions
    block = tl.arange(0, HEADS)
    first = (item * blocks + block) * kept
    taken = tl.zeros((HEADS,), tl.int32)
    inside = block < blocks
    strength = tl.load(strengths + first, mask=inside, other=_NO_PAIR)
    index = tl.load(indices + first, mask=inside, other=_BEHIND_ALL)
    for rank in range(k):
        most = tl.max(strength)
        chosen = tl.min(tl.where(strength == most, index, _BEHIND_ALL))
        found = most >= 0
        i = chosen // positions
        j = chosen - i * positions
        saliency = _saliency_at(sums, matrix, i, j, positions, found, SYMMETRIC)
        tl.store(values + item * k + rank, tl.where(found, saliency, 0.0))
        tl.store(pairs + 2 * (item * k + rank), tl.where(found, i, -1).to(tl.int64))
        tl.store(pairs + 2 * (item * k + rank) + 1, tl.where(found, j, -1).to(tl.int64))
        moves = tl.where(found, index == chosen, False)
        taken = tl.where(moves, taken + 1, taken)
        more = moves & (taken < kept)
        following = tl.load(strengths + first + taken, mask=more, other=_NO_PAIR)
        strength = tl.where(moves, following, strength)
        index = tl.where(moves, tl.load(indices + first + taken, mask=more, other=_BEHIND_ALL), index)

"""`pair_saliency` on a GPU: a pass over tiles; for the largest, each block's largest in order, then their merge."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.backends import triton_why_not as why_not

__all__ = ["run", "run_top_k", "why_not"]

TILE = 32
NUM_WARPS = 4
BLOCK = 2048
"""Pairs that one program ranks; the merge holds the first of each block, up to 4096 of them."""


def run(out: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_saliency.pair_saliency`."""
    from xai_fast.kernels import triton_launch
    from xai_fast.kernels.pair_saliency import triton_kernels as kernels

    items, positions, _ = sums.shape
    tiles = -(-positions // TILE)
    with triton_launch.device_of(sums):
        kernels.write_saliency[(items * tiles * tiles,)](
            out,
            sums,
            mask,
            positions,
            tiles,
            SYMMETRIC=symmetric,
            MASK_OF_EACH=mask is not None and mask.ndim == 3,
            TILE=TILE,
            **triton_launch.options(NUM_WARPS),
        )


def run_top_k(values: Tensor, pairs: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_saliency.pair_top_k`."""
    from xai_fast.kernels import triton_launch
    from xai_fast.kernels.pair_saliency import triton_kernels as kernels

    items, positions, _ = sums.shape
    k = values.shape[1]
    block = BLOCK
    while -(-positions * positions // block) > 2 * BLOCK:
        block *= 2
    blocks = -(-positions * positions // block)
    kept = min(k, block)
    constants = {"SYMMETRIC": symmetric, **triton_launch.options(NUM_WARPS)}
    strengths = torch.empty((items, blocks, kept), dtype=sums.dtype, device=sums.device)
    indices = torch.empty((items, blocks, kept), dtype=torch.int32, device=sums.device)
    heads = 1 << (blocks - 1).bit_length()
    with triton_launch.device_of(sums):
        kernels.rank_blocks[(items * blocks,)](
            strengths,
            indices,
            sums,
            mask,
            positions,
            blocks,
            kept,
            MASK_OF_EACH=mask is not None and mask.ndim == 3,
            BLOCK=block,
            **constants,
        )
        kernels.merge_blocks[(items,)](
            values, pairs, strengths, indices, sums, positions, blocks, kept, k, HEADS=heads, **constants
        )

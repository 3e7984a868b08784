"""`relevance_ratio` on a GPU: a program for each block of an item's units, then a pass that adds up their sums."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels import triton_launch
from xai_fast.kernels.relevance_ratio import triton_kernels as kernels

__all__ = ["run"]

# Two 128-bit accesses to a row for each thread.
BLOCK = {torch.float32: 1024, torch.float64: 512}
NUM_WARPS = 4
ADDED = 64  # blocks whose sums are added together


def run(
    out: Tensor,
    sums: Tensor | None,
    c: Tensor,
    numerator: Tensor,
    divisor: Tensor,
    bias: Tensor | None,
    inner: int,
    eps: float,
) -> None:
    """Run the contract of `xai_fast.kernels.relevance_ratio`."""
    rows, items, units = out.shape
    block = BLOCK[out.dtype]
    blocks = triton_launch.split(units, block).blocks
    partial = None if sums is None else sums.new_empty((rows, items, blocks, 4))
    options = triton_launch.options(NUM_WARPS)
    with triton_launch.device_of(out):
        kernels.ratios[(items * blocks,)](
            out,
            partial,
            c,
            numerator,
            divisor,
            bias,
            inner,
            triton_launch.bits_of(eps),
            rows,
            items,
            units,
            0 if bias is None else bias.shape[1],
            blocks,
            BLOCK=block,
            **options,
        )
        if sums is not None:
            kernels.add_blocks[(rows * items,)](sums, partial, blocks, BLOCK=ADDED, **options)

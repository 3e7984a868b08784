"""`pair_reduce` on a GPU: tiles of pairs over parts of the units, then a pass that adds up the parts."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels import triton_launch
from xai_fast.kernels.pair_reduce import triton_kernels as kernels

__all__ = ["run"]

TILE = 32
UNITS = {torch.float32: 32, torch.float64: 16}
"""Units that a program multiplies at a time."""
NUM_WARPS = 4
MOST_PARTS = 32
LEAST_BLOCKS = 8  # of units in a part: a shorter one would write more than it reads
ADDED = 256


def run(sums: Tensor, left: Tensor, right: Tensor, weight: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_reduce`."""
    items, rows, columns = sums.shape
    units = left.shape[2]
    block = UNITS[sums.dtype]
    blocks = -(-units // block)
    blocks_per_part = max(-(-blocks // MOST_PARTS), LEAST_BLOCKS)
    parts = -(-blocks // blocks_per_part)
    tiles_down, tiles_across = -(-rows // TILE), -(-columns // TILE)
    partial = torch.empty((parts, *sums.shape), dtype=sums.dtype, device=sums.device)
    options = triton_launch.options(NUM_WARPS)
    with triton_launch.device_of(sums):
        kernels.part_sums[(items * parts * tiles_down * tiles_across,)](
            partial,
            left,
            right,
            weight,
            items,
            rows,
            columns,
            units,
            parts,
            blocks_per_part,
            tiles_down,
            tiles_across,
            TILE=TILE,
            UNITS=block,
            **options,
        )
        kernels.add_parts[(-(-sums.numel() // ADDED),)](sums, partial, sums.numel(), parts, BLOCK=ADDED, **options)

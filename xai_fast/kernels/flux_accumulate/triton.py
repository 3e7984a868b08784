"""`flux_accumulate` on a GPU: a small pass that chains each item's rows, and one that walks along the chains."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels import triton_launch
from xai_fast.kernels.flux_accumulate import triton_kernels as kernels

__all__ = ["run"]

# Eight entries a thread: two 128-bit loads of each float32 row in flight, one of a bfloat16 gradient. In float64 five
# arrays of eight entries would take the registers that hide the memory's latency, so half of that.
BLOCK = {torch.float32: 1024, torch.float64: 512}
NUM_WARPS = 4
CHUNK = 1024  # rows that a program of the first pass looks at together


def run(
    mean: Tensor,
    m2: Tensor | None,
    count: Tensor,
    centers: Tensor | None,
    points: Tensor | None,
    gradients: Tensor,
    item: Tensor,
    negative: Tensor,
    magnitude: bool,
) -> None:
    """Run the contract of `xai_fast.kernels.flux_accumulate`."""
    rows, entries = gradients.shape
    blocks = triton_launch.split(entries, BLOCK[mean.dtype]).blocks
    options = triton_launch.options(NUM_WARPS)
    following, number = torch.empty((2, rows), dtype=torch.int64, device=mean.device)
    leads = torch.empty_like(negative)
    with triton_launch.device_of(mean):
        kernels.chain_rows[(rows,)](following, number, leads, count, item, negative, rows, CHUNK=CHUNK, **options)
        kernels.accumulate[(rows * blocks,)](
            mean,
            m2,
            count,
            centers,
            points,
            gradients,
            item,
            following,
            number,
            leads,
            entries,
            blocks,
            MAGNITUDE=magnitude,
            BLOCK=BLOCK[mean.dtype],
            **options,
        )

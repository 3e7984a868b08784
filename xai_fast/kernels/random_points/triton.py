"""`random_points` on a GPU: for a sphere a pass that sums z^2, and one that draws z again and writes the points."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels import triton_launch
from xai_fast.kernels.random_points import triton_kernels as kernels

__all__ = ["run"]

# Two Philox blocks a thread, of eight entries each: chains of multiplications that hide each other's latency, 50-odd
# registers in float32, and enough work beside the sum over the row's parts. In float64 half of that, for the registers.
BLOCK = {torch.float32: 2048, torch.float64: 1024}
NUM_WARPS = 4


def run(
    points: Tensor,
    centers: Tensor,
    item: Tensor,
    item_ids: Tensor,
    point: Tensor,
    active: Tensor,
    radius: float,
    kind: str,
    seed: int,
    step: int,
) -> None:
    """Run the contract of `xai_fast.kernels.random_points`."""
    rows, entries = points.shape
    split = triton_launch.split(entries, BLOCK[points.dtype])
    constants = {
        "dtype": triton_launch.language_dtype(points.dtype),
        "BLOCK": BLOCK[points.dtype],
        **triton_launch.options(NUM_WARPS),
    }
    sums = None
    with triton_launch.device_of(points):
        if kind == "sphere":
            sums = torch.empty((rows, split.parts), dtype=torch.float64, device=points.device)
            numbers = (entries, split.parts, split.blocks_per_part, seed, step)
            kernels.square_sums[(rows * split.parts,)](sums, item, item_ids, point, active, *numbers, **constants)
        kernels.write_points[(rows * split.blocks,)](
            points,
            sums,
            centers,
            item,
            item_ids,
            point,
            active,
            entries,
            split.blocks,
            split.parts,
            triton_launch.bits_of(radius),
            seed,
            step,
            BOX=kind == "box",
            **constants,
        )

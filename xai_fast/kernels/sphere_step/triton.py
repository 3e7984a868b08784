"""`sphere_step` on a GPU: one pass for the sign; else a pass of sums, and one that moves the points."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels import triton_launch
from xai_fast.kernels.sphere_step import TANGENT_FLOOR
from xai_fast.kernels.sphere_step import triton_kernels as kernels

__all__ = ["run"]

# Eight entries a thread: two 128-bit loads of each float32 row in flight, one of a bfloat16 gradient.
BLOCK = {torch.float32: 1024, torch.float64: 512}
NUM_WARPS = 4


def run(
    points: Tensor, centers: Tensor, gradients: Tensor, item: Tensor, active: Tensor, radius: float, rule: str
) -> None:
    """Run the contract of `xai_fast.kernels.sphere_step`."""
    rows, entries = points.shape
    block = BLOCK[points.dtype]
    split = triton_launch.split(entries, block)
    constants = {"BLOCK": block, **triton_launch.options(NUM_WARPS)}
    rest = (entries, split.parts, split.blocks_per_part, rows * split.parts)
    sums = tangents = None
    with triton_launch.device_of(points):
        if rule != "sign":
            sums = torch.empty((3, rows, split.parts), dtype=torch.float64, device=points.device)
            kernels.row_sums[(rows * split.parts,)](
                sums, points, centers, gradients, item, active, *rest, TANGENT=rule == "tangent", **constants
            )
        if rule == "tangent" and points.dtype == torch.float64:
            tangents = torch.empty((rows, split.parts), dtype=torch.float64, device=points.device)
            kernels.tangent_sums[(rows * split.parts,)](
                tangents, sums, points, centers, gradients, item, active, *rest, **constants
            )
        kernels.move[(rows * split.blocks,)](
            points,
            centers,
            gradients,
            item,
            active,
            sums,
            tangents,
            entries,
            split.blocks,
            split.parts,
            rows * split.parts,
            triton_launch.bits_of(radius),
            triton_launch.bits_of(TANGENT_FLOOR[points.dtype]),
            RULE=rule,
            **constants,
        )

"""The compiled CPU version: ``csrc/kernels/sphere_step``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native
from xai_fast.kernels.sphere_step import TANGENT_FLOOR

__all__ = ["run"]


def run(
    points: Tensor, centers: Tensor, gradients: Tensor, item: Tensor, active: Tensor, radius: float, rule: str
) -> None:
    """Run the contract of `xai_fast.kernels.sphere_step`."""
    native.call(
        "sphere_step",
        locals(),
        rows=points.shape[0],
        items=centers.shape[0],
        entries=points.shape[1],
        tangent_floor=TANGENT_FLOOR[points.dtype],
        dtype=native.dtype_name(points),
        gradient_dtype=native.dtype_name(gradients),
    )

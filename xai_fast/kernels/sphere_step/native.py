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
    with native.checked_items():
        native.module().sphere_step(
            points=native.address(points),
            centers=native.address(centers),
            gradients=native.address(gradients),
            item=native.address(item),
            active=native.address(active),
            rows=points.shape[0],
            items=centers.shape[0],
            entries=points.shape[1],
            radius=radius,
            rule=rule,
            tangent_floor=TANGENT_FLOOR[points.dtype],
            dtype=native.dtype_name(points),
            gradient_dtype=native.dtype_name(gradients),
            threads=native.threads(),
        )

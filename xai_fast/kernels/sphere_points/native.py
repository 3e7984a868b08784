"""The compiled CPU version: ``csrc/kernels/sphere_points``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(
    points: Tensor,
    centers: Tensor,
    item: Tensor,
    item_ids: Tensor,
    point: Tensor,
    active: Tensor,
    radius: float,
    seed: int,
    step: int,
) -> None:
    """Run the contract of `xai_fast.kernels.sphere_points`."""
    native.call(
        "sphere_points",
        locals(),
        rows=points.shape[0],
        items=centers.shape[0],
        entries=points.shape[1],
        dtype=native.dtype_name(points),
    )

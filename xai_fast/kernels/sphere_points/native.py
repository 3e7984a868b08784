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
    with native.checked_items():
        native.module().sphere_points(
            points=native.address(points),
            centers=native.address(centers),
            item=native.address(item),
            item_ids=native.address(item_ids),
            point=native.address(point),
            active=native.address(active),
            rows=points.shape[0],
            items=centers.shape[0],
            entries=points.shape[1],
            radius=radius,
            seed=seed,
            step=step,
            dtype=native.dtype_name(points),
            threads=native.threads(),
        )

"""The compiled CPU version: ``csrc/kernels/random_points``."""

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
    kind: str,
    seed: int,
    step: int,
) -> None:
    """Run the contract of `xai_fast.kernels.random_points`."""
    native.call(
        "random_points",
        locals(),
        rows=points.shape[0],
        items=centers.shape[0],
        entries=points.shape[1],
        dtype=native.dtype_name(points),
    )

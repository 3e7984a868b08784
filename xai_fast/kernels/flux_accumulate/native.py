"""The compiled CPU version: ``csrc/kernels/flux_accumulate``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(
    mean: Tensor,
    m2: Tensor | None,
    count: Tensor,
    centers: Tensor,
    points: Tensor,
    gradients: Tensor,
    item: Tensor,
    negative: Tensor,
    magnitude: bool,
) -> None:
    """Run the contract of `xai_fast.kernels.flux_accumulate`."""
    with native.checked_items():
        native.module().flux_accumulate(
            mean=native.address(mean),
            m2=native.address(m2),
            count=native.address(count),
            centers=native.address(centers),
            points=native.address(points),
            gradients=native.address(gradients),
            item=native.address(item),
            negative=native.address(negative),
            rows=points.shape[0],
            items=mean.shape[0],
            entries=points.shape[1],
            magnitude=magnitude,
            dtype=native.dtype_name(points),
            gradient_dtype=native.dtype_name(gradients),
            threads=native.threads(),
        )

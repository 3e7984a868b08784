"""The compiled CPU version: ``csrc/kernels/flux_accumulate``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


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
    native.call(
        "flux_accumulate",
        locals(),
        rows=gradients.shape[0],
        items=mean.shape[0],
        entries=mean.shape[1],
        dtype=native.dtype_name(mean),
        gradient_dtype=native.dtype_name(gradients),
    )

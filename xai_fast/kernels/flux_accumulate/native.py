"""The compiled CPU version: ``csrc/kernels/flux_accumulate``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.flux_accumulate import flux_accumulate

__all__ = ["run"]

run = native.runner(
    flux_accumulate,
    lambda mean, gradients, **_: {
        "rows": gradients.shape[0],
        "items": mean.shape[0],
        "entries": mean.shape[1],
        "dtype": native.dtype_name(mean),
        "gradient_dtype": native.dtype_name(gradients),
    },
)

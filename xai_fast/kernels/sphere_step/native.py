"""The compiled CPU version: ``csrc/kernels/sphere_step``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.sphere_step import TANGENT_FLOOR, sphere_step

__all__ = ["run"]

run = native.runner(
    sphere_step,
    lambda points, centers, gradients, **_: {
        "rows": points.shape[0],
        "items": centers.shape[0],
        "entries": points.shape[1],
        "tangent_floor": TANGENT_FLOOR[points.dtype],
        "dtype": native.dtype_name(points),
        "gradient_dtype": native.dtype_name(gradients),
    },
)

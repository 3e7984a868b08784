"""The compiled CPU version: ``csrc/kernels/random_points``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.random_points import random_points

__all__ = ["run"]

run = native.runner(
    random_points,
    lambda points, centers, **_: {
        "rows": points.shape[0],
        "items": centers.shape[0],
        "entries": points.shape[1],
        "dtype": native.dtype_name(points),
    },
)

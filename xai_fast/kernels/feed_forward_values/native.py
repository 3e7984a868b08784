"""The compiled CPU version: ``csrc/kernels/feed_forward_values``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.feed_forward_values import feed_forward_values

__all__ = ["run"]

run = native.runner(
    feed_forward_values,
    lambda derivatives, x, **_: {
        "items": x.shape[0],
        "inputs": x.shape[1],
        "orders": derivatives.shape[1] - 1,
        "dtype": native.dtype_name(x),
    },
)

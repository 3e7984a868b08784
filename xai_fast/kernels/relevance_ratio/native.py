"""The compiled CPU version: ``csrc/kernels/relevance_ratio``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.relevance_ratio import relevance_ratio

__all__ = ["run"]

run = native.runner(
    relevance_ratio,
    lambda out, bias, **_: {
        "rows": out.shape[0],
        "items": out.shape[1],
        "units": out.shape[2],
        "channels": 0 if bias is None else bias.shape[1],
        "dtype": native.dtype_name(out),
    },
)

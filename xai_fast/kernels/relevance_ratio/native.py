"""The compiled CPU version: ``csrc/kernels/relevance_ratio``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(
    out: Tensor,
    sums: Tensor | None,
    c: Tensor,
    numerator: Tensor,
    divisor: Tensor,
    bias: Tensor | None,
    inner: int,
    eps: float,
) -> None:
    """Run the contract of `xai_fast.kernels.relevance_ratio`."""
    native.call(
        "relevance_ratio",
        locals(),
        rows=out.shape[0],
        items=out.shape[1],
        units=out.shape[2],
        channels=0 if bias is None else bias.shape[1],
        dtype=native.dtype_name(out),
    )

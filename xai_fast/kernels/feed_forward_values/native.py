"""The compiled CPU version: ``csrc/kernels/feed_forward_values``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(
    derivatives: Tensor,
    x: Tensor,
    transposed: Tensor,
    biases: Tensor,
    widths: Sequence[int],
    activations: Sequence[str],
    parameters: Sequence[float],
) -> None:
    """Run the contract of `xai_fast.kernels.feed_forward_values`."""
    native.call(
        "feed_forward_values",
        locals(),
        items=x.shape[0],
        inputs=x.shape[1],
        orders=derivatives.shape[1] - 1,
        dtype=native.dtype_name(x),
    )

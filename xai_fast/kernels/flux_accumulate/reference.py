"""The running mean and deviation in plain PyTorch: the definition of the kernel, and the fallback."""

from __future__ import annotations

from torch import Tensor

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
    """Run the contract of `xai_fast.kernels.flux_accumulate`, a row at a time."""
    for row in negative.nonzero().flatten().tolist():
        i = int(item[row])
        contribution = gradients[row].to(mean.dtype)
        if centers is not None and points is not None:
            contribution = contribution * (centers[i] - points[row])
        if magnitude:
            contribution = contribution.abs()
        count[i] += 1
        delta = contribution - mean[i]
        change = delta / count[i]
        mean[i] += change
        if m2 is not None:
            m2[i] += delta * (delta - change)

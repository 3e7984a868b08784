"""How tests compare tensors."""

from __future__ import annotations

from torch import Tensor


def relative_rms(got: Tensor, expected: Tensor) -> float:
    """Root mean square of the difference, relative to that of the expected values."""
    return float((got - expected).norm() / expected.norm())

"""The sum in plain PyTorch: the definition of the kernel, and the fallback. Sums are in float64."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["run"]


def run(sums: Tensor, left: Tensor, right: Tensor, weight: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_reduce`."""
    weighted = left.double() if weight is None else left.double() * weight.double()
    sums += torch.einsum("ibu,jbu->bij", weighted, right.double()).to(sums.dtype)

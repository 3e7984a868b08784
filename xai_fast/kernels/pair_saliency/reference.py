"""Saliency of pairs in plain PyTorch: the definition of the kernel, and the fallback."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["run", "run_top_k", "why_not"]


def why_not(tensors: Sequence[Tensor]) -> str | None:
    """Return None: plain PyTorch runs everywhere."""
    return None


def _counted(sums: Tensor, symmetric: bool, mask: Tensor | None) -> Tensor:
    """Return which pairs count, (B, n, n) bool."""
    everywhere = torch.ones_like(sums, dtype=torch.bool)
    counted = everywhere.triu(1) if symmetric else everywhere.triu(1) | everywhere.tril(-1)
    return counted if mask is None else counted & mask


def _saliency(sums: Tensor, symmetric: bool) -> Tensor:
    squares = sums * sums
    return squares + squares.mT if symmetric else squares


def run(out: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_saliency.pair_saliency`."""
    out.zero_()
    counted = _counted(sums, symmetric, mask)
    out[counted] = _saliency(sums, symmetric)[counted]


def run_top_k(values: Tensor, pairs: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_saliency.pair_top_k`."""
    positions, k = sums.shape[1], values.shape[1]
    counted = _counted(sums, symmetric, mask).flatten(1)
    saliency = _saliency(sums, symmetric).flatten(1)
    strength = torch.where(saliency.isnan(), torch.inf, saliency).masked_fill(~counted, -1.0)
    # A stable sort keeps the order of the flat index, which is that of (i, j), among equals.
    order = strength.sort(dim=1, descending=True, stable=True).indices[:, :k]
    found = counted.gather(1, order)
    values.copy_(saliency.gather(1, order).masked_fill(~found, 0.0))
    indices = torch.stack((order // positions, order % positions), dim=2)
    pairs.copy_(indices.masked_fill(~found[..., None], -1))

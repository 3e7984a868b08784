"""Sums over units of products of two rows: the contraction to which every second derivative comes down."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels.pair_reduce import pair_reduce

__all__ = ["pair_sum"]

# Below this many products per item, a product of matrices is quicker than the kernel, which writes no weighted rows.
_WORTH_A_KERNEL = 1 << 20


def pair_sum(left: Tensor, right: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute (B, L, R), the sums over units of weight * left * right; left (L, B, *shape), right (R, B, *shape)."""
    first, second = left.flatten(2), right.flatten(2)
    factor = None if weight is None else weight.flatten(1)
    if first.shape[0] * second[:, :1].numel() < _WORTH_A_KERNEL:
        first = first if factor is None else first * factor
        return torch.bmm(first.transpose(0, 1), second.permute(1, 2, 0))
    sums = left.new_zeros(left.shape[1], left.shape[0], right.shape[0])
    pair_reduce(sums, first.contiguous(), second.contiguous(), None if factor is None else factor.contiguous())
    return sums

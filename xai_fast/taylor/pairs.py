"""Sums over units of products of two rows: the contraction to which every second derivative comes down."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pair_sum"]


def pair_sum(left: Tensor, right: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the sum over units of weight * left * right, for each item and each pair of rows.

    Args:
        left: (L, B, *shape).
        right: (R, B, *shape).
        weight: (B, *shape), or None for one.

    Returns:
        (B, L, R).
    """
    first = left.transpose(0, 1).flatten(2)
    if weight is not None:
        first = first * weight.flatten(1).unsqueeze(1)
    return torch.matmul(first, right.transpose(0, 1).flatten(2).transpose(1, 2))

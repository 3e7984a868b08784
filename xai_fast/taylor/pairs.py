"""Sums over units of products of two rows: the contraction to which every second derivative comes down."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["pair_sum"]

_WEIGHTED_AT_ONCE = 1 << 20
"""Entries of ``weight * left`` that exist at a time."""


def pair_sum(left: Tensor, right: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute (B, L, R), the sums over units of weight * left * right; left (L, B, *shape), right (R, B, *shape)."""
    first, second = left.flatten(2), right.flatten(2)
    factor = None if weight is None else weight.flatten(1)
    sums = left.new_empty(left.shape[1], left.shape[0], right.shape[0])
    step = max(1, _WEIGHTED_AT_ONCE // max(1, first[:, :1].numel()))
    for start in range(0, len(sums), step):
        items = slice(start, start + step)
        rows = first[:, items] if factor is None else first[:, items] * factor[items]
        sums[items] = torch.bmm(rows.transpose(0, 1), second[:, items].permute(1, 2, 0))
    return sums

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
    items = first.shape[1]
    step = max(1, _WEIGHTED_AT_ONCE // max(1, first[:, :1].numel()))
    if items <= step:
        return _product(first, second, factor)
    sums = left.new_empty(items, left.shape[0], right.shape[0])
    for start in range(0, items, step):
        at = slice(start, start + step)
        sums[at] = _product(first[:, at], second[:, at], None if factor is None else factor[at])
    return sums


def _product(first: Tensor, second: Tensor, factor: Tensor | None) -> Tensor:
    """Compute (B, L, R) of (L, B, U), (R, B, U) and (B, U)."""
    rows = first if factor is None else first * factor
    return torch.bmm(rows.transpose(0, 1), second.permute(1, 2, 0))

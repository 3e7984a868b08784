"""The three step rules in plain PyTorch: the definition of the kernel, and the fallback. Sums are in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.kernels.sphere_step import TANGENT_FLOOR

__all__ = ["run"]


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64)
    return norm


def _tangent_offset(offset: Tensor, gradients: Tensor, radius: float, floor: float) -> Tensor:
    squared = (offset * offset).sum(1, keepdim=True)
    tangent = gradients - (gradients * offset).sum(1, keepdim=True) / squared * offset
    length, norm = _norm(tangent), _norm(gradients)
    moved = offset - radius * tangent / length
    moved = radius * moved / _norm(moved)
    # Written so that a row with NaN or infinite gradients does not stay: it becomes NaN, which shows.
    stays = (squared == 0) | ((length <= floor * norm) & norm.isfinite())
    return torch.where(stays, offset, moved)


def run(
    points: Tensor, centers: Tensor, gradients: Tensor, item: Tensor, active: Tensor, radius: float, rule: str
) -> None:
    """Run the contract of `xai_fast.kernels.sphere_step`."""
    (rows,) = active.nonzero(as_tuple=True)
    x, F = centers[item[rows]].double(), gradients[rows].double()
    if rule == "sign":
        moved = x - radius * torch.where(F.isnan(), F, torch.sign(F))  # torch.sign hides a NaN
    elif rule == "normalized":
        norm = _norm(F)
        moved = torch.where(norm == 0, points[rows].double(), x - radius * F / norm)
    else:
        before = points[rows].double()
        moved = x + _tangent_offset(before - x, F, radius, TANGENT_FLOOR[points.dtype])
    points[rows] = moved.to(points.dtype)

"""One step of NeFLAG's search for a negative flux (Li et al., IJCAI 2023), by three rules.

With ``d = x~ - x`` and ``eps`` the radius:

* ``sign``: ``x~ = x - eps * sign(F)`` (Algorithm 1), a corner of the L-infinity ball.
* ``normalized``: ``x~ = x - eps * F / norm(F)`` (Eq. 7). Where ``norm(F)`` is zero the row stays where it is.
* ``tangent``: ``x~ = x + eps * d' / norm(d')``, ``d' = d - eps * t / norm(t)``, ``t = F - (F.d / d.d) d`` (Eq. 8 and
  back on the sphere): a step of length ``eps`` along the part of ``-F`` that is tangent to the sphere. Where ``t``
  drowns in rounding (or ``F`` or ``d`` is zero) the row stays: it is at a stationary point of the sphere.

A row whose gradient is NaN becomes NaN, and one of an infinite gradient as well where it is divided by a norm.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["STEPS", "stepped"]

STEPS = ("sign", "normalized", "tangent")
_TANGENT_FLOOR = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Smallest norm(t) / norm(F) at which the tangent is told from rounding."""


def stepped(points: Tensor, centers: Tensor, gradients: Tensor, radius: float, step: str) -> Tensor:
    """Return x~ (R, N) after a step of rows at ``points``, of items x at ``centers``, by gradients F, all (R, N)."""
    if step == "sign":
        force = gradients.to(points.dtype)
        largest = force.amax(1, keepdim=True)  # NaN where an entry is, which `sign` hides
        return torch.addcmul(centers, force.sign(), torch.where(largest.isnan(), largest, -radius))
    x, before, force = centers.double(), points.double(), gradients.double()
    norm = _norm(force)
    if step == "normalized":
        moved = torch.where(norm == 0, before, x - radius * force / norm)
    else:
        offset = before - x
        squared = (offset * offset).sum(1, keepdim=True)
        tangent = force - (force * offset).sum(1, keepdim=True) / squared * offset
        length = _norm(tangent)
        inward = offset - radius * tangent / length
        # Written so that a row with NaN or infinite gradients does not stay.
        stays = (squared == 0) | ((length <= _TANGENT_FLOOR[points.dtype] * norm) & norm.isfinite())
        moved = torch.where(stays, before, x + radius * inward / _norm(inward))
    return moved.to(points.dtype)


def _norm(x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return norm

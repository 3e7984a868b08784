"""``sphere_step``: one step of NeFLAG's search for a negative flux, in place.

With ``x = centers[item[r]]``, ``F = gradients[r]``, ``d = points[r] - x`` and ``eps = radius`` (Li et al., "Negative
Flux Aggregation to Estimate Feature Attributions", IJCAI 2023):

* ``sign``: ``x~ = x - eps * sign(F)`` (Algorithm 1), with ``sign(0) = 0``; a corner of the L-infinity ball.
* ``normalized``: ``x~ = x - eps * F / norm(F)`` (Eq. 7). Where ``norm(F)`` is zero the row stays where it is.
* ``tangent``: ``x~ = x + eps * d' / norm(d')``, ``d' = d - eps * t / norm(t)``, ``t = F - (F.d / d.d) d`` (Eq. 8 and
  back on the sphere): a step of length ``eps`` along the part of ``-F`` that is tangent to the sphere. As ``t`` and
  ``d`` are orthogonal, ``norm(d')^2 = d.d + eps^2``. Where ``t`` vanishes (``norm(t) <= 1e-3 norm(F)`` in float32,
  1e-7 in float64, which is where it drowns in rounding; or ``F`` or ``d`` is zero) the row stays: it is at a
  stationary point of the sphere.
"""

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check, check_radius
from xai_fast.kernels.operators import operator

__all__ = ["RULES", "sphere_step"]

RULES = ("sign", "normalized", "tangent")
TANGENT_FLOOR = {torch.float32: 1e-3, torch.float64: 1e-7}
"""Smallest norm(t) / norm(F) at which the tangent is told from rounding."""


def gradient_dtypes(dtype: torch.dtype) -> tuple[torch.dtype, ...]:
    """Return the dtypes of gradients that go with points of this dtype."""
    return (dtype, torch.bfloat16) if dtype == torch.float32 else (dtype,)


@operator(writes=("points",), needs=("points",))
def sphere_step(
    points: Tensor, centers: Tensor, gradients: Tensor, item: Tensor, active: Tensor, radius: float, rule: str
) -> None:
    """Move each active row of ``points`` by one step of the rule.

    Args:
        points: (R, N) float32 or float64, changed where ``active``; other rows keep what they hold.
        centers: (B, N), the dtype of ``points``: the items, in the model's input units.
        gradients: (R, N), the dtype of ``points``, or bfloat16 with float32 points: F at ``points``.
        item: (R,) int64, the item of each row; values outside 0..B-1 are undefined in active rows, unread in others.
        active: (R,) bool, the rows to move.
        radius: of the sphere (L2), in the model's input units; positive.
        rule: one of `RULES`.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    if points.ndim != 2 or points.shape[1] < 1:
        raise bad_argument("points", "shape (R, N) with N >= 1", str(tuple(points.shape)))
    rows, entries = points.shape
    check("points", points, shape=(rows, entries), dtypes=FLOATS)
    check("centers", centers, shape=(centers.shape[0], entries), dtypes=(points.dtype,), like=points)
    check("gradients", gradients, shape=(rows, entries), dtypes=gradient_dtypes(points.dtype), like=points)
    check("item", item, shape=(rows,), dtypes=(torch.int64,), like=points)
    check("active", active, shape=(rows,), dtypes=(torch.bool,), like=points)
    check_radius(radius)
    if rule not in RULES:
        raise bad_argument("rule", f"one of {', '.join(RULES)}", repr(rule))

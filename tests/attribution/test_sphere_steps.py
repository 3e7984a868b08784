"""The steps of NeFLAG's points: where they end, and that what is not finite shows."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xai_fast.attribution.sphere_steps import STEPS, stepped

NAN, INF = math.nan, math.inf
RADIUS = 0.5


def rows(dtype: torch.dtype = torch.float64, scale: float = 1.0) -> dict[str, Tensor]:
    """Points on spheres around their items; the first row's gradient is zero, and every fifth entry of the others."""
    generator = torch.Generator().manual_seed(2)
    centers, offset, gradients = torch.randn(3, 4, 63, dtype=torch.float64, generator=generator)
    offset *= RADIUS / offset.norm(dim=1, keepdim=True)
    gradients[:, ::5] = 0
    gradients[0] = 0
    return {
        "points": (centers + offset).to(dtype),
        "centers": centers.to(dtype),
        "gradients": (scale * gradients).to(dtype),
    }


def literal(points: Tensor, centers: Tensor, gradients: Tensor, step: str) -> Tensor:
    """Compute the step of one row by the formulas, in units of its gradient's norm."""
    norm = float(gradients.norm())
    if step == "sign" or norm == 0:
        return centers - RADIUS * gradients.sign() if step == "sign" else points
    force, offset = gradients / norm, points - centers
    if step == "normalized":
        return centers - RADIUS * force
    tangent = force - force @ offset / (offset @ offset) * offset
    inward = offset - RADIUS * tangent / tangent.norm()
    return centers + RADIUS * inward / inward.norm()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("dtype", "scale", "tolerance"),
    [
        (torch.float64, 1.0, 1e-12),
        (torch.float32, 1.0, 1e-6),
        (torch.float32, 1e-25, 1e-6),
        (torch.float32, 1e25, 1e-6),
    ],
)
def test_equals_the_formulas(step: str, dtype: torch.dtype, scale: float, tolerance: float) -> None:
    given = rows(dtype, scale)
    wide = {name: value.double() for name, value in given.items()}
    wanted = torch.stack([literal(*(value[row] for value in wide.values()), step) for row in range(4)])
    got = stepped(**given, radius=RADIUS, step=step)
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("step", STEPS)
def test_gradients_in_bfloat16_are_widened(step: str) -> None:
    given = rows(torch.float32)
    short = given["gradients"].bfloat16()
    got, wanted = (stepped(**given | {"gradients": g}, radius=RADIUS, step=step) for g in (short, short.float()))
    assert torch.equal(got, wanted)


@pytest.mark.parametrize("rest", [1e-1, 3e-2, 1e-3])
def test_tangent_of_a_gradient_that_is_nearly_normal(rest: float) -> None:
    given = rows()
    offset = given["points"] - given["centers"]
    across = torch.randn(offset.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    across -= (across * offset).sum(1, keepdim=True) / RADIUS**2 * offset
    got = stepped(given["points"], given["centers"], offset + rest * across, RADIUS, "tangent")
    wanted = stepped(given["points"], given["centers"], across, RADIUS, "tangent")
    assert (got - wanted).abs().max() <= 1e-13 / rest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("edge", ["radial", "on the center"])
def test_a_stationary_point_of_the_sphere_stays(edge: str, dtype: torch.dtype) -> None:
    given = rows(dtype)
    if edge == "radial":
        given["gradients"] = 3 * (given["points"] - given["centers"])
    else:
        given["points"] = given["centers"]
    assert torch.equal(stepped(**given, radius=RADIUS, step="tangent"), given["points"])


# What is put into entry 1 of row 1, where; then the entries of that row that have to be NaN.
NOT_FINITE = [
    ("sign", "gradients", NAN, "all"),
    ("sign", "gradients", INF, "nowhere"),
    ("sign", "centers", NAN, "here"),
    ("normalized", "gradients", NAN, "all"),
    ("normalized", "gradients", -INF, "here"),
    ("normalized", "centers", NAN, "here"),
    ("tangent", "gradients", NAN, "all"),
    ("tangent", "gradients", INF, "all"),
    ("tangent", "points", NAN, "all"),
    ("tangent", "points", INF, "all"),
    ("tangent", "centers", NAN, "all"),
]


@pytest.mark.parametrize(("step", "name", "value", "where"), NOT_FINITE)
def test_a_step_from_what_is_not_finite_shows(step: str, name: str, value: float, where: str) -> None:
    given = rows()
    given[name][1, 1] = value
    got = stepped(**given, radius=RADIUS, step=step)
    expected = torch.zeros(63, dtype=torch.bool)
    expected[1 if where == "here" else slice(None)] = where != "nowhere"
    assert torch.equal(got[1].isnan(), expected)
    assert got[[0, 2, 3]].isfinite().all()

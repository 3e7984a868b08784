"""Derivatives of elementwise functions, against series in high precision and against torch's own."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
from kernel_ways import Way, on_every_way
from torch import Tensor
from torch.nn import functional as F

from xai_fast.errors import InputError
from xai_fast.kernels.partition_sum import ACTIVATIONS, MAX_ORDER, Term, partition_sum, program_of
from xai_fast.kernels.partition_sum.activations import derivatives

mp = mpmath.mp.clone()
mp.dps = 50
ELU = (1.5, 0.7, 1.25)
# name: parameters, lowest argument, the function in high precision (its smooth part)
EXACT: dict[str, tuple[tuple[float, ...], float, Callable[[Any], Any]]] = {
    "exp": ((), -30, mp.exp),
    "expm1": ((), -30, mp.expm1),
    "log": ((), 0.05, mp.log),
    "log1p": ((), -0.9, lambda z: mp.log(1 + z)),
    "sqrt": ((), 0.05, mp.sqrt),
    "rsqrt": ((), 0.05, lambda z: 1 / mp.sqrt(z)),
    "reciprocal": ((), -30, lambda z: 1 / z),
    "pow": ((2.5,), 0.05, lambda z: z ** mp.mpf(2.5)),
    "tanh": ((), -30, mp.tanh),
    "sigmoid": ((), -30, lambda z: 1 / (1 + mp.exp(-z))),
    "log_sigmoid": ((), -30, lambda z: -mp.log(1 + mp.exp(-z))),
    "softplus": ((1.5, 100.0), -30, lambda z: mp.log(1 + mp.exp(1.5 * z)) / 1.5),
    "gelu": ((), -30, lambda z: z * mp.erfc(-z / mp.sqrt(2)) / 2),
    "gelu_tanh": ((), -30, lambda z: z / (1 + mp.exp(-2 * mp.sqrt(2 / mp.pi) * (z + mp.mpf(0.044715) * z**3)))),
    "silu": ((), -30, lambda z: z / (1 + mp.exp(-z))),
    "mish": ((), -30, lambda z: z * mp.tanh(mp.log(1 + mp.exp(z)))),
    "elu": (ELU, -30, lambda z: ELU[1] * (ELU[0] * (mp.exp(ELU[2] * z) - 1) if z < 0 else z)),
    "hardswish": ((), -30, lambda z: 0 if z < -3 else z if z > 3 else z * (z + 3) / 6),
    "sin": ((), -30, mp.sin),
    "cos": ((), -30, mp.cos),
    "erf": ((), -30, mp.erf),
}
POINTS = 21
PIECEWISE = {"elu", "hardswish"}
TOLERANCE = {torch.float32: 60 * 2.0**-24, torch.float64: 60 * 2.0**-53}
"""Largest error, relative to the derivative or to one, whichever is larger."""


def _run(activation: str, parameters: tuple[float, ...], z: Tensor, way: Way) -> list[Tensor]:
    """Compute all derivatives by the kernel: its terms without rows are the derivatives."""
    out = torch.full((MAX_ORDER + 1, 1, z.numel()), torch.nan, dtype=z.dtype)
    program = program_of([[Term(order, ())] for order in range(MAX_ORDER + 1)])
    with way():
        partition_sum(out, z[None], z.new_zeros(0, 1, z.numel()), None, activation, list(parameters), *program)
    return list(out[:, 0])


@functools.cache
def _in_high_precision(activation: str, dtype: torch.dtype) -> tuple[Tensor, list[list[Any]]]:
    """Return arguments, none of them at a kink, and for each all derivatives."""
    _, lowest, function = EXACT[activation]
    z = torch.cat((torch.linspace(lowest, 30.1, POINTS, dtype=dtype), torch.tensor([1e-4, 0.7, 2.9], dtype=dtype)))
    if activation in PIECEWISE:  # differences that are too short to cross a kink
        step = mp.mpf(10) ** -7
        return z, [[mp.diff(function, mp.mpf(x), k, h=step) for k in range(MAX_ORDER + 1)] for x in z.tolist()]
    series = [mp.taylor(function, mp.mpf(x), MAX_ORDER) for x in z.tolist()]
    return z, [[c * mp.factorial(k) for k, c in enumerate(coefficients)] for coefficients in series]


def test_every_activation_is_tested() -> None:
    assert EXACT.keys() == ACTIVATIONS.keys()


@on_every_way
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("activation", EXACT)
def test_derivatives_equal_series_in_high_precision(activation: str, dtype: torch.dtype, way: Way) -> None:
    z, columns = _in_high_precision(activation, dtype)
    found = torch.stack(_run(activation, EXACT[activation][0], z, way))
    limit = max(TOLERANCE[dtype], 1e-13 if activation in PIECEWISE else 0)
    for column, expected in enumerate(columns):
        for order, wanted in enumerate(expected):
            error = abs(mp.mpf(float(found[order, column])) - wanted) / max(1, abs(wanted))
            assert error <= limit, (float(z[column]), order, float(wanted))


@on_every_way
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("activation", EXACT)
def test_far_away_derivatives_are_finite_or_as_in_the_reference(activation: str, dtype: torch.dtype, way: Way) -> None:
    parameters = EXACT[activation][0]
    far = [math.nan, math.inf, 0.0, 1e-30, 40.0, 100.0, 1e4, 1e30, 3.0]
    if activation in {"sin", "cos"}:
        far.remove(1e30)  # libraries reduce it differently
    z = torch.tensor(far + [-value for value in far], dtype=dtype)
    for order, (got, wanted) in enumerate(
        zip(_run(activation, parameters, z, way), derivatives(activation, parameters, z, MAX_ORDER), strict=True)
    ):
        torch.testing.assert_close(
            got,
            wanted,
            rtol=TOLERANCE[dtype],
            atol=TOLERANCE[dtype],
            equal_nan=True,
            msg=lambda m, k=order: f"{k}: {m}",
        )


SATURATING = ("tanh", "sigmoid", "log_sigmoid", "softplus", "gelu", "gelu_tanh", "silu", "mish", "hardswish", "erf")


@pytest.mark.parametrize("activation", SATURATING)
def test_derivatives_of_what_saturates_are_finite_everywhere(activation: str) -> None:
    z = torch.tensor([math.inf, 1e38, 1e10, 50.0], dtype=torch.float32)
    parameters = EXACT[activation][0]
    for order, values in enumerate(derivatives(activation, parameters, torch.cat((z, -z)), MAX_ORDER)):
        assert order == 0 or values.isfinite().all(), (order, values)


INTEGERS = [
    (3.0, [-8.0, 12.0, -12.0, 6.0, 0.0, 0.0, 0.0]),
    (1.0, [-2.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
    (-2.0, [0.25, 0.25, 0.375, 0.75, 1.875, 5.625, 19.6875]),
]


@on_every_way
@pytest.mark.parametrize(("exponent", "expected"), INTEGERS)
def test_whole_powers_are_exact_below_zero(exponent: float, expected: list[float], way: Way) -> None:
    found = _run("pow", (exponent,), torch.tensor([-2.0]), way)
    assert [float(value) for value in found] == expected


@on_every_way
def test_whole_powers_at_zero_have_no_nan(way: Way) -> None:
    found = _run("pow", (2.0,), torch.tensor([0.0]), way)
    assert [float(value) for value in found] == [0, 0, 2, 0, 0, 0, 0]


# torch's own gradient, where a side has to be chosen
KINKS: list[tuple[str, tuple[float, ...], Callable[[Tensor], Tensor], list[float]]] = [
    ("hardswish", (), F.hardswish, [-3.0, -2.9, 2.9, 3.0, 5.0]),
    ("elu", (2.0, 1.0, 1.0), functools.partial(F.elu, alpha=2.0), [-1.0, 0.0, 1.0]),
    ("elu", (1.6732632423543772, 1.0507009873554805, 1.0), torch.selu, [-1.0, 0.0, 1.0]),
    ("softplus", (2.0, 3.0), functools.partial(F.softplus, beta=2.0, threshold=3.0), [-1.0, 1.5, 1.6, 9.0]),
    ("gelu", (), F.gelu, [-1.0, 0.0, 2.0]),
    ("gelu_tanh", (), functools.partial(F.gelu, approximate="tanh"), [-1.0, 0.0, 2.0]),
    ("mish", (), F.mish, [-1.0, 0.0, 2.0]),
]


@on_every_way
@pytest.mark.parametrize(("activation", "parameters", "function", "points"), KINKS)
def test_values_and_slopes_are_those_of_torch(
    activation: str,
    parameters: tuple[float, ...],
    function: Callable[[Tensor], Tensor],
    points: list[float],
    way: Way,
) -> None:
    z = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    value = function(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    found = _run(activation, parameters, z.detach(), way)
    torch.testing.assert_close(found[0], value.detach(), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(found[1], slope, rtol=1e-14, atol=1e-14)


BAD = [
    (("cosh", (), torch.ones(1), 1), "activation: expected one of"),
    (("elu", (1.0,), torch.ones(1), 1), r"parameters: expected 3 numbers for elu \(alpha, scale, input_scale\)"),
    (("exp", (), torch.ones(1), 7), "orders: expected an integer from 0 to 6, got 7"),
    (("exp", (), torch.ones(1, dtype=torch.int64), 1), "z: expected a tensor of floating point numbers"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_a_bad_argument_is_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        derivatives(*arguments)

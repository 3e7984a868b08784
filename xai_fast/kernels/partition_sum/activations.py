"""Elementwise functions and their derivatives up to order six, as exact formulas in plain PyTorch.

Where a derivative is small for large ``|z|`` it is formed from small numbers (``exp(-|z|)``, the tails of a normal
distribution), never as a difference of large ones, and factors that would overflow meet arguments that are clamped
where the function is zero or linear to the last bit. ``csrc/activations.h`` has the same formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.partition_sum.series import hyperbolic_tangent, logistic

__all__ = ["ACTIVATIONS", "MAX_ORDER", "check_activation", "derivatives"]

MAX_ORDER = 6
"""The highest derivative."""

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "exp": (),
    "expm1": (),
    "log": (),
    "log1p": (),
    "sqrt": (),
    "rsqrt": (),
    "reciprocal": (),
    "pow": ("exponent",),
    "tanh": (),
    "sigmoid": (),
    "log_sigmoid": (),
    "softplus": ("beta", "threshold"),
    "gelu": (),
    "gelu_tanh": (),
    "silu": (),
    "mish": (),
    "elu": ("alpha", "scale", "input_scale"),
    "hardswish": (),
    "sin": (),
    "cos": (),
    "erf": (),
}
"""Name of each function to the names of its parameters, in their order."""

_SATURATED = 800.0  # exp(-800) is zero in float64
_NORMAL_TAIL = 40.0  # and so is exp(-40^2 / 2)


def check_activation(activation: str, parameters: Sequence[float]) -> None:
    """Check that a function is known, and that its parameters are as many as it has."""
    if activation not in ACTIVATIONS:
        raise bad_argument("activation", f"one of {', '.join(ACTIVATIONS)}", repr(activation))
    names = ACTIVATIONS[activation]
    if len(parameters) != len(names):
        expected = f"{len(names)} numbers for {activation}" + (f" ({', '.join(names)})" if names else "")
        raise bad_argument("parameters", expected, repr(list(parameters)))


def derivatives(activation: str, parameters: Sequence[float], z: Tensor, orders: int) -> list[Tensor]:
    """Return ``[s(z), s'(z), ..., s^(orders)(z)]``, each with the shape and dtype of ``z``, float32 or float64.

    ``parameters`` are in the order that `ACTIVATIONS` gives; ``orders`` is from 0 to `MAX_ORDER`. At a kink (elu with
    ``alpha != 1``, hardswish, softplus at its threshold) it is the side that torch's own gradient takes. Outside its
    domain a function is NaN. An `InputError` names an argument that does not fit.
    """
    check_activation(activation, parameters)
    if not 0 <= orders <= MAX_ORDER:
        raise bad_argument("orders", f"an integer from 0 to {MAX_ORDER}", repr(orders))
    if not z.is_floating_point():
        raise bad_argument("z", "a tensor of floating point numbers", str(z.dtype))
    return _FORMULAS[activation](z, orders, *parameters)[: orders + 1]


# --- Powers, exponentials and circular functions ----------------------------------------------------------------------


def _exp(z: Tensor, orders: int) -> list[Tensor]:
    return [torch.exp(z)] * (orders + 1)


def _expm1(z: Tensor, orders: int) -> list[Tensor]:
    return [torch.expm1(z), *_exp(z, orders)]


def _log_at(value: Tensor, w: Tensor, orders: int) -> list[Tensor]:
    """log^(k)(w) = (-1)^(k-1) (k-1)! / w^k."""
    return [value] + [(-1) ** (k - 1) * math.factorial(k - 1) * w ** (-k) for k in range(1, orders + 1)]


def _log(z: Tensor, orders: int) -> list[Tensor]:
    return _log_at(torch.log(z), z, orders)


def _log1p(z: Tensor, orders: int) -> list[Tensor]:
    return _log_at(torch.log1p(z), 1 + z, orders)


def _pow(z: Tensor, orders: int, exponent: float) -> list[Tensor]:
    """Falling factorials; where one is zero the derivative is, although z^(exponent - k) may be infinite."""
    result, falling = [], 1.0
    if not float(exponent).is_integer():
        z = torch.where(z < 0, torch.full_like(z, math.nan), z.abs())
    for k in range(orders + 1):
        result.append(falling * torch.pow(z, exponent - k) if falling else torch.zeros_like(z))
        falling *= exponent - k
    return result


def _sin(z: Tensor, orders: int) -> list[Tensor]:
    sine, cosine = torch.sin(z), torch.cos(z)
    return ([sine, cosine, -sine, -cosine] * 2)[: orders + 1]


def _cos(z: Tensor, orders: int) -> list[Tensor]:
    return _sin(z, orders + 1)[1:]


# --- Logistic functions -----------------------------------------------------------------------------------------------


def _sigmoid(z: Tensor, orders: int = MAX_ORDER) -> list[Tensor]:
    """Polynomials in v = p (1 - p) = e / (1 + e)^2, e = exp(-|z|), the odd ones times d = 1 - 2 p = -tanh(z / 2)."""
    e = torch.exp(-z.abs())
    v, d = e / (1 + e) ** 2, -torch.tanh(0.5 * z)
    return [
        torch.sigmoid(z),
        v,
        v * d,
        v * (1 - 6 * v),
        v * d * (1 - 12 * v),
        v * (1 - v * (30 - 120 * v)),
        v * d * (1 - v * (60 - 360 * v)),
    ][: orders + 1]


def _tanh(z: Tensor, orders: int) -> list[Tensor]:
    """tanh(z) = 2 sigmoid(2 z) - 1."""
    return [torch.tanh(z)] + [2.0 ** (k + 1) * s for k, s in enumerate(_sigmoid(2 * z, orders)) if k]


def _softplus(z: Tensor, orders: int, beta: float, threshold: float) -> list[Tensor]:
    x = beta * z
    linear = x > threshold
    value = (torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)) / beta
    result = [torch.where(linear, z, value)]
    for k, s in enumerate(_sigmoid(x, orders - 1) if orders else []):
        result.append(torch.where(linear, torch.full_like(z, float(k == 0)), beta**k * s))
    return result


def _log_sigmoid(z: Tensor, orders: int) -> list[Tensor]:
    """Log sigmoid(z) = -softplus(-z)."""
    flipped = _softplus(-z, orders, 1.0, math.inf)
    return [-s if k % 2 == 0 else s for k, s in enumerate(flipped)]


def _times_z(z: Tensor, inner: Tensor, factor: list[Tensor]) -> list[Tensor]:
    """Leibniz: (z f)^(k) = z f^(k) + k f^(k-1); derivatives of f are zero where ``inner`` is not z but a bound."""
    products = [inner * f + k * factor[k - 1] for k, f in enumerate(factor) if k]
    return [z * factor[0], *products]


def _silu(z: Tensor, orders: int) -> list[Tensor]:
    return _times_z(z, z.clamp(-_SATURATED, _SATURATED), _sigmoid(z, orders))


def _mish(z: Tensor, orders: int) -> list[Tensor]:
    """Z tanh(softplus(z)); with n = exp(z) (exp(z) + 2) the factor is n / (n + 2)."""
    e = torch.exp(-z.abs())
    negative = z < 0
    n = torch.where(negative, e * (e + 2), 1 + 2 * e)
    rest = torch.where(negative, torch.full_like(z, 2.0), 2 * e * e)
    y = [torch.zeros_like(z)] + [s / math.factorial(k) for k, s in enumerate(_sigmoid(z, orders), 1)]
    series = hyperbolic_tangent(n / (n + rest), rest / (n + rest), y[: orders + 1])
    factor = [math.factorial(k) * f for k, f in enumerate(series)]
    return _times_z(z, z.clamp(-_SATURATED, _SATURATED), factor)


def _gelu_tanh(z: Tensor, orders: int) -> list[Tensor]:
    """Z sigmoid(2 u) with u = sqrt(2 / pi) (z + 0.044715 z^3)."""
    inner = z.clamp(-_NORMAL_TAIL, _NORMAL_TAIL)
    c, cubic = 2 * math.sqrt(2 / math.pi), 0.044715
    square = inner * inner
    x = [c * inner * (1 + cubic * square), c * (1 + 3 * cubic * square), 3 * c * cubic * inner]
    x += [torch.full_like(z, c * cubic), *[torch.zeros_like(z)] * 3]
    factor = [math.factorial(k) * f for k, f in enumerate(logistic(x[: orders + 1]))]
    return _times_z(z, inner, factor)


# --- The normal distribution ------------------------------------------------------------------------------------------


def _gelu(z: Tensor, orders: int) -> list[Tensor]:
    """Z Phi(z) with the normal distribution Phi; from order two on a polynomial times its density."""
    w = z.clamp(-_NORMAL_TAIL, _NORMAL_TAIL)
    x = w * w
    below = 0.5 * torch.special.erfc(z * -math.sqrt(0.5))
    density = torch.exp(-0.5 * x) / math.sqrt(2 * math.pi)
    return [
        z * below,
        below + w * density,
        density * (2 - x),
        density * w * (x - 4),
        density * (x * (7 - x) - 4),
        density * w * (x * (x - 11) + 18),
        density * (x * (x * (16 - x) - 51) + 18),
    ][: orders + 1]


def _erf(z: Tensor, orders: int) -> list[Tensor]:
    """Hermite polynomials times exp(-z^2)."""
    w = z.clamp(-_NORMAL_TAIL, _NORMAL_TAIL)
    x = w * w
    bell = torch.exp(-x) * (2 / math.sqrt(math.pi))
    return [
        torch.erf(z),
        bell,
        bell * -2 * w,
        bell * (4 * x - 2),
        bell * w * (12 - 8 * x),
        bell * (x * (16 * x - 48) + 12),
        bell * w * (x * (160 - 32 * x) - 120),
    ][: orders + 1]


# --- Piecewise functions ----------------------------------------------------------------------------------------------


def _elu(z: Tensor, orders: int, alpha: float, scale: float, input_scale: float) -> list[Tensor]:
    linear = z > 0
    x = input_scale * torch.where(linear, torch.zeros_like(z), z)
    result = [torch.where(linear, scale * z, alpha * scale * torch.expm1(x))]
    for k in range(1, orders + 1):
        slope = torch.full_like(z, scale if k == 1 else 0.0)
        result.append(torch.where(linear, slope, alpha * scale * input_scale**k * torch.exp(x)))
    return result


def _hardswish(z: Tensor, orders: int) -> list[Tensor]:
    zero = torch.zeros_like(z)
    below, above = z <= -3, z >= 3
    inside = [z * (z + 3) / 6, z / 3 + 0.5, torch.where(z.isnan(), z, torch.full_like(z, 1 / 3))]
    outside = [z, torch.ones_like(z), zero]
    result = [torch.where(below, zero, torch.where(above, b, a)) for a, b in zip(inside, outside, strict=True)]
    return [*result, *[zero] * 4][: orders + 1]


_FORMULAS: dict[str, Callable[..., list[Tensor]]] = {
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "sqrt": lambda z, orders: _pow(z, orders, 0.5),
    "rsqrt": lambda z, orders: _pow(z, orders, -0.5),
    "reciprocal": lambda z, orders: _pow(z, orders, -1.0),
    "pow": _pow,
    "tanh": _tanh,
    "sigmoid": _sigmoid,
    "log_sigmoid": _log_sigmoid,
    "softplus": _softplus,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "mish": _mish,
    "elu": _elu,
    "hardswish": _hardswish,
    "sin": _sin,
    "cos": _cos,
    "erf": _erf,
}

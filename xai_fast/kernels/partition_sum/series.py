"""Truncated Taylor series of compositions: lists of coefficients, the k-th is that of the k-th power."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["hyperbolic_tangent", "logistic"]


def _convolve(a: list[Tensor], b: list[Tensor], k: int, first: int, last: int) -> Tensor:
    """Sum a_i b_(k-i) for i from ``first`` to ``last``."""
    total = torch.zeros_like(a[0])
    for i in range(first, last + 1):
        total = total + a[i] * b[k - i]
    return total


def logistic(x: list[Tensor]) -> list[Tensor]:
    """Compute the series of p = sigmoid(x), relatively as accurate as w = p - p^2 = exp(-|x|) / (1 + exp(-|x|))^2."""
    e = torch.exp(-x[0].abs())
    p, w, d = [torch.sigmoid(x[0])], [e / (1 + e) ** 2], -torch.tanh(0.5 * x[0])
    slope = [j * x[j] for j in range(len(x))]
    for k in range(1, len(x)):
        p.append(_convolve(slope, w, k, 1, k) / k)
        w.append(p[k] * d - _convolve(p, p, k, 1, k - 1))
    return p


def hyperbolic_tangent(value: Tensor, rest: Tensor, y: list[Tensor]) -> list[Tensor]:
    """Return the series of t = tanh(y) from t' = u y', u = 1 - t^2: as many coefficients as ``y``, the first not read.

    ``value`` is t at the center, and ``rest`` 1 - t, not as a difference: the result is relatively as accurate as it.
    """
    t, u = [value], [rest * (1 + value)]
    slope = [j * y[j] for j in range(len(y))]
    for k in range(1, len(y)):
        t.append(_convolve(slope, u, k, 1, k) / k)
        u.append(-2 * value * t[k] - _convolve(t, t, k, 1, k - 1))
    return t

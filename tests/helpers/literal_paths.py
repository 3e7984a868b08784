"""Integrated gradients, SmoothGrad, VarGrad and expected gradients as their papers define them, in loops."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""From one item (...) to its score ()."""


def gradient(score: Score, x: Tensor) -> Tensor:
    """Compute the gradient of a score at one point (...)."""
    at = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(at), at)[0]


def rule(name: str, n: int) -> list[tuple[float, float]]:
    """Give the nodes of a quadrature rule of n nodes on [0, 1], and their weights, which add up to 1."""
    if name == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(n)
        return [((1 + node) / 2, weight / 2) for node, weight in zip(nodes, weights, strict=True)]
    if name == "trapezoid":
        return [(k / (n - 1), (0.5 if k in (0, n - 1) else 1.0) / (n - 1)) for k in range(n)]
    shift = {"riemann_left": 0.0, "riemann_middle": 0.5, "riemann_right": 1.0}[name]
    return [((k + shift) / n, 1 / n) for k in range(n)]


def integrated_gradients(score: Score, x: Tensor, baseline: Tensor, name: str, n: int) -> Tensor:
    """Sundararajan et al. 2017, Eq. 1 and 3: (x - x') times the integral of the gradient from x' to x."""
    total = torch.zeros_like(x)
    for node, weight in rule(name, n):
        total += weight * gradient(score, baseline + node * (x - baseline))
    return (x - baseline) * total


def smoothed(
    score: Score, x: Tensor, noise: Sequence[Tensor], aggregate: str, times_input: bool
) -> tuple[Tensor, Tensor]:
    """Smilkov et al. 2017, and Adebayo et al. 2018: the map under noise, and the standard error of a mean."""
    values = torch.stack([gradient(score, x + z) * (x if times_input else 1.0) for z in noise])
    if aggregate == "variance":
        return values.var(0, correction=0), torch.tensor(math.nan)
    values = {"signed": values, "magnitude": values.abs(), "squared": values**2}[aggregate]
    return values.mean(0), values.std(0) / math.sqrt(len(values))


def expected_gradients(
    score: Score, x: Tensor, draws: Sequence[Sequence[tuple[Tensor, Tensor, float]]]
) -> tuple[Tensor, Tensor]:
    """Erion et al. 2021, Eq. 3: the mean of (x - x') times the gradient at x' + alpha (x - x').

    Args:
        score: of one item.
        x: the item.
        draws: groups, over whose means the mean and its standard error are taken, of x (with noise), x' and alpha.
    """
    values = torch.stack(
        [torch.stack([(y - b) * gradient(score, b + a * (y - b)) for y, b, a in group]).mean(0) for group in draws]
    )
    return values.mean(0), values.std(0) / math.sqrt(len(values))

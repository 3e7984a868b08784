"""Rules for z = W a + b: from the coefficient c of z, whose relevance is c z, to that of a.

With the contributions w a of an input to a unit, and b, of which P sums up the positive and N the negative ones, every
rule of the first group gives the inputs ``(w a)+ p + (w a)- n``, where p and n belong to the unit.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.relevance.weighted import Weighted

__all__ = ["AlphaBeta", "Epsilon", "Flat", "Gamma", "Pulled", "Rule", "WSquare", "ZBox", "ZPlus", "stabilised"]


@dataclass(frozen=True)
class Pulled:
    """What a rule gives an input: its relevance is ``coefficient * a + relevance``; None for zero."""

    coefficient: Tensor | None = None
    relevance: Tensor | None = None


def stabilised(z: Tensor, eps: float) -> Tensor:
    """Move z away from zero by eps, by its sign; zero counts as positive."""
    return z + torch.where(z < 0, -eps, eps).to(z.dtype)


@dataclass(frozen=True)
class Rule(abc.ABC):
    """A rule; ``eps`` is added to what is divided by."""

    eps: float = 1e-6

    @abc.abstractmethod
    def pull(self, layer: Weighted, a: Tensor, z: Tensor, c: Tensor, bias: bool) -> Pulled:
        """Go from z to a.

        Args:
            layer: the weights.
            a: (B, *shape of a).
            z: (B, *shape of z).
            c: (T, B, *shape of z).
            bias: whether the bias takes its share.

        Returns:
            (T, B, *shape of a).
        """


class Epsilon(Rule):
    """R_j = sum over k of a_j w_jk R_k / (z_k + eps sign z_k) (Bach et al. 2015, Eq. 58)."""

    def pull(self, layer: Weighted, a: Tensor, z: Tensor, c: Tensor, bias: bool) -> Pulled:
        divisor = z if bias or layer.bias is None else z - layer.per_unit(layer.bias)
        return Pulled(layer.pull(c * (z / stabilised(divisor, self.eps)), layer.weight, a.shape[1:]))


class ZPlus(Rule):
    """Positive contributions only (Montavon et al. 2017, Eq. 17, and for inputs of both signs)."""

    def pull(self, layer: Weighted, a: Tensor, z: Tensor, c: Tensor, bias: bool) -> Pulled:
        b = layer.bias if bias else None
        if layer.is_rectified and not layer.is_nonnegative and b is layer.bias:
            positive, _ = _halves(layer, a, z, b)
        else:
            positive = _positive(layer, a, b)
        return _shared(layer, a, c * (z / stabilised(positive, self.eps)), None)


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """Positive contributions share alpha times the relevance, negative ones -beta times (Bach et al. 2015, Eq. 60)."""

    alpha: float = 2.0
    beta: float = 1.0

    def pull(self, layer: Weighted, a: Tensor, z: Tensor, c: Tensor, bias: bool) -> Pulled:
        b = layer.bias if bias else None
        negative = _negative(layer, a, b)
        # Where z > 0 there is nothing to cancel in z - N.
        positive = z - negative if layer.is_rectified and b is layer.bias else _positive(layer, a, b)
        relevance = c * z
        p = self.alpha * relevance / stabilised(positive, self.eps)
        return _shared(layer, a, p, -self.beta * relevance / stabilised(negative, self.eps))


@dataclass(frozen=True)
class Gamma(Rule):
    """Contributions of the sign of z_k count (1 + gamma) times (Montavon et al. 2019, and for both signs)."""

    gamma: float = 0.25

    def pull(self, layer: Weighted, a: Tensor, z: Tensor, c: Tensor, bias: bool) -> Pulled:
        b = layer.bias if bias else None
        own = z if b is layer.bias else z - layer.per_unit(layer.bias)  # type: ignore[arg-type]
        if layer.is_nonnegative:
            if layer.is_rectified:  # c is zero where z is not positive
                weight = layer.with_gamma(self.gamma)
                divisor = layer.apply(a, weight, None if b is None else b + self.gamma * b.clamp(min=0))
                return Pulled(layer.pull(c * (z / stabilised(divisor, self.eps)), weight, a.shape[1:]))
            positive = layer.apply(a, layer.variant("+"), None if b is None else b.clamp(min=0))
            negative = own - positive
        else:
            positive, negative = _halves(layer, a, own, b)
        s = c * (z / stabilised(own + self.gamma * torch.where(z > 0, positive, negative), self.eps))
        return _shared(layer, a, *(s * (1 + self.gamma * side.to(s.dtype)) for side in (z > 0, z < 0)))


@dataclass(frozen=True)
class ZBox(Rule):
    """Inputs between ``low`` and ``high`` (Montavon et al. 2017, Eq. 18), like a, or numbers."""

    low: Tensor | float = 0.0
    high: Tensor | float = 1.0

    def pull(self, layer: Weighted, a: Tensor, z: Tensor, c: Tensor, bias: bool) -> Pulled:
        weights = layer.variant("+"), layer.variant("-")
        bounds = [torch.as_tensor(bound, dtype=a.dtype, device=a.device).expand(a[:1].shape) for bound in (self.low, self.high)]
        floor = sum(layer.apply(bound, weight) for bound, weight in zip(bounds, weights, strict=True))
        own = z if layer.bias is None else z - layer.per_unit(layer.bias)
        s = c * (z / stabilised(own - floor, self.eps))
        parts = [(a - bound) * layer.pull(s, weight, a.shape[1:]) for bound, weight in zip(bounds, weights, strict=True)]
        return Pulled(relevance=parts[0] + parts[1])


class WSquare(Rule):
    """R_j = sum over k of w_jk^2 R_k / sum over j of w_jk^2 (Montavon et al. 2017, Eq. 12), whatever the inputs are."""

    part = "square"

    def pull(self, layer: Weighted, a: Tensor, z: Tensor, c: Tensor, bias: bool) -> Pulled:
        weight = layer.variant(self.part)
        b = layer.bias.square() if bias and layer.bias is not None and self.part == "square" else None
        shares = layer.apply(a.new_ones(()).expand(a[:1].shape), weight, b)
        return Pulled(relevance=layer.pull(c * (z / stabilised(shares, self.eps)), weight, a.shape[1:]))


class Flat(WSquare):
    """Every input of a unit gets the same (Lapuschkin et al. 2019)."""

    part = "one"


def _clamped(bias: Tensor | None, positive: bool) -> Tensor | None:
    return None if bias is None else bias.clamp(min=0) if positive else bias.clamp(max=0)


def _positive(layer: Weighted, a: Tensor, bias: Tensor | None) -> Tensor:
    """Sum up the positive contributions, P."""
    own = layer.apply(a if layer.is_nonnegative else a.clamp(min=0), layer.variant("+"), _clamped(bias, True))
    return own if layer.is_nonnegative else own + layer.apply(a.clamp(max=0), layer.variant("-"))


def _negative(layer: Weighted, a: Tensor, bias: Tensor | None) -> Tensor:
    """Sum up the negative contributions, N; as z - P it would be rounding where there are few."""
    own = layer.apply(a if layer.is_nonnegative else a.clamp(min=0), layer.variant("-"), _clamped(bias, False))
    return own if layer.is_nonnegative else own + layer.apply(a.clamp(max=0), layer.variant("+"))


def _halves(layer: Weighted, a: Tensor, z: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Give P, which is right where z > 0, and N, which is right where z < 0, by one product."""
    total = layer.apply(a.abs(), layer.variant("abs"), None if bias is None else bias.abs())
    return (z + total) / 2, (z - total) / 2


def _shared(layer: Weighted, a: Tensor, p: Tensor, n: Tensor | None) -> Pulled:
    """Give the inputs (w a)+ p + (w a)- n."""
    shape = a.shape[1:]
    if layer.is_nonnegative:
        c = layer.pull(p, layer.variant("+"), shape)
        return Pulled(c if n is None else c + layer.pull(n, layer.variant("-"), shape))
    both, difference = (p, p) if n is None else (p + n, p - n)
    sides = layer.pull(both, layer.weight, shape), layer.pull(difference, layer.variant("abs"), shape)
    return Pulled((sides[0] + torch.sign(a) * sides[1]) / 2)

"""Rules for z = W a + b: how the relevance R of a unit is shared by what it reads.

Relevance is carried as a coefficient c with R = c z. With (w a)+ and (w a)- the contributions of an input to a unit, P
the sum of the positive ones and N that of the negative ones, b included, every rule but those of the first layer gives
an input ``(w a)+ p + (w a)- n``, where p and n belong to the unit and are c times a ratio that depends on the values
only. So all rules are a few `Term`: a ratio, weights, and a factor of the input; any number of coefficients goes back
through them (`Share.pull`), and rows of relevance go forward (`Share.push`).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.relevance.weighted import Weighted

__all__ = [
    "AlphaBeta",
    "Epsilon",
    "Flat",
    "Gamma",
    "Local",
    "Pot",
    "Rule",
    "Share",
    "Term",
    "WSquare",
    "ZBox",
    "ZPlus",
    "stabilised",
]


@dataclass(frozen=True, eq=False)
class Local:
    """A layer at the values of a batch.

    Attributes:
        layer: the weights.
        a: (B, *shape of a).
        z: (B, *shape of z), b included.
        bias: b as it takes part in the sharing, like z or so that it broadcasts; None where it does not.
        bounds: the smallest and the largest values that a can have, like a; None where nothing is known.
    """

    layer: Weighted
    a: Tensor
    z: Tensor
    bias: Tensor | None = None
    bounds: tuple[Tensor, Tensor] | None = None

    @property
    def own(self) -> Tensor:
        """W a, and b where it takes part."""
        if self.layer.bias is None or self.bias is not None:
            return self.z
        return self.z - self.layer.per_unit(self.layer.bias)

    @property
    def is_rectified(self) -> bool:
        """Whether nothing comes back to units with z <= 0, and z is the sum of what takes part."""
        return self.layer.is_rectified and (self.layer.bias is None or self.bias is not None)

    def clamped(self, positive: bool) -> Tensor | float:
        """Give the positive or the negative part of the bias."""
        return 0.0 if self.bias is None else self.bias.clamp(min=0) if positive else self.bias.clamp(max=0)

    def signed(self, positive: bool) -> Tensor:
        """Compute P, or N; as z - P it would be rounding where there is little of it."""
        layer, weight = self.layer, self.layer.weight
        same, other = (
            (weight.clamp(min=0), weight.clamp(max=0)) if positive else (weight.clamp(max=0), weight.clamp(min=0))
        )
        if layer.is_nonnegative:
            return layer.apply(self.a, same) + self.clamped(positive)
        return layer.apply(self.a.clamp(min=0), same) + layer.apply(self.a.clamp(max=0), other) + self.clamped(positive)

    def halves(self) -> tuple[Tensor, Tensor]:
        """Compute P, which is right where z > 0, and N, which is right where z < 0, by one product."""
        total = self.layer.apply(self.a.abs(), self.layer.weight.abs())
        total = total if self.bias is None else total + self.bias.abs()
        return (self.own + total) / 2, (self.own - total) / 2


@dataclass(frozen=True, eq=False)
class Pot:
    """What a rule divides: the ratio that c is multiplied by, what it is divided by, how that was moved, and b in it."""

    ratio: Tensor
    divisor: Tensor
    eps: float
    bias: Tensor | float


@dataclass(frozen=True, eq=False)
class Term:
    """``factor * W^T (ratio * c)``."""

    ratio: Tensor
    weight: Tensor
    factor: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Share:
    """A rule at the values of a batch: a linear map from c at the units to what their inputs get.

    Attributes:
        layer: the weights.
        terms: their sum is what inputs get.
        pots: where it came from, for the ledger.
        is_relevance: whether inputs get relevance; else a coefficient, which is to be multiplied by a.
    """

    layer: Weighted
    terms: Sequence[Term]
    pots: Sequence[Pot]
    is_relevance: bool = False

    def pull(self, c: Tensor) -> Tensor:
        """Go back: (T, B, *shape of a) from coefficients (T, B, *shape of z)."""
        total: Tensor | None = None
        for term in self.terms:
            part = self.layer.pull(c * term.ratio, term.weight)
            part = part if term.factor is None else part * term.factor
            total = part if total is None else total + part
        assert total is not None
        return total

    def push(self, rows: Tensor) -> Tensor:
        """Go forward, the transpose of `pull`: (T, B, *shape of z) from rows (T, B, *shape of a)."""
        total: Tensor | None = None
        for term in self.terms:
            part = self.layer.apply(rows if term.factor is None else rows * term.factor, term.weight) * term.ratio
            total = part if total is None else total + part
        assert total is not None
        return total


def stabilised(z: Tensor, eps: float) -> Tensor:
    """Move z away from zero by eps, by its sign; zero counts as positive."""
    return z + torch.where(z < 0, -eps, eps).to(z.dtype)


@dataclass(frozen=True)
class Rule(abc.ABC):
    """A rule; ``eps`` is added to what is divided by."""

    eps: float = 1e-6

    @abc.abstractmethod
    def share(self, at: Local) -> Share:
        """Prepare the rule for the values of a batch."""

    def _pot(self, relevance: Tensor, divisor: Tensor, bias: Tensor | float | None) -> Pot:
        return Pot(relevance / stabilised(divisor, self.eps), divisor, self.eps, 0.0 if bias is None else bias)


class Epsilon(Rule):
    """R_j = sum over k of a_j w_jk R_k / (z_k + eps sign z_k) (Bach et al. 2015, Eq. 58)."""

    def share(self, at: Local) -> Share:
        pot = self._pot(at.z, at.own, at.bias)
        return Share(at.layer, [Term(pot.ratio, at.layer.weight)], [pot])


class ZPlus(Rule):
    """Positive contributions only (Montavon et al. 2017, Eq. 17, and for inputs of both signs)."""

    def share(self, at: Local) -> Share:
        by_one = at.is_rectified and not at.layer.is_nonnegative
        pot = self._pot(at.z, at.halves()[0] if by_one else at.signed(True), at.clamped(True))
        return Share(at.layer, _terms(at, pot.ratio, None), [pot])


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """Positive contributions share alpha times the relevance, negative ones -beta times (Bach et al. 2015, Eq. 60)."""

    alpha: float = 2.0
    beta: float = 1.0

    def share(self, at: Local) -> Share:
        negative = at.signed(False)
        # Where z > 0 there is nothing to cancel in z - N.
        positive = at.z - negative if at.is_rectified else at.signed(True)
        p = self._pot(self.alpha * at.z, positive, at.clamped(True))
        n = self._pot(-self.beta * at.z, negative, at.clamped(False))
        return Share(at.layer, _terms(at, p.ratio, n.ratio), [p, n])


@dataclass(frozen=True)
class Gamma(Rule):
    """Contributions of the sign of z_k count (1 + gamma) times (Montavon et al. 2019, and for both signs)."""

    gamma: float = 0.25

    def share(self, at: Local) -> Share:
        layer, own, above = at.layer, at.own, at.z > 0
        if layer.is_nonnegative and at.is_rectified:
            weight = layer.weight + self.gamma * layer.weight.clamp(min=0)
            bias = 0.0 if at.bias is None else at.bias + self.gamma * at.clamped(True)
            pot = self._pot(at.z, layer.apply(at.a, weight) + bias, bias)
            return Share(layer, [Term(pot.ratio, weight)], [pot])
        if layer.is_nonnegative:
            positive = at.signed(True)
            negative = own - positive
        else:
            positive, negative = at.halves()
        bias = 0.0
        if at.bias is not None:
            bias = at.bias + self.gamma * torch.where(above, at.clamped(True), at.clamped(False))
        pot = self._pot(at.z, own + self.gamma * torch.where(above, positive, negative), bias)
        more = [pot.ratio * (1 + self.gamma * side.to(own.dtype)) for side in (above, at.z < 0)]
        return Share(layer, _terms(at, *more), [pot])


@dataclass(frozen=True)
class ZBox(Rule):
    """Inputs between two bounds (Montavon et al. 2017, Eq. 18)."""

    def share(self, at: Local) -> Share:
        low, high = at.bounds or (at.a.amin(), at.a.amax())
        weight = at.layer.weight
        above, below = weight.clamp(min=0), weight.clamp(max=0)
        low, high = low.expand(at.a.shape), high.expand(at.a.shape)
        floor = at.layer.apply(low, above) + at.layer.apply(high, below)
        own = at.z if at.layer.bias is None else at.z - at.layer.per_unit(at.layer.bias)
        pot = self._pot(at.z, own - floor, None)
        terms = [Term(pot.ratio, weight, at.a), Term(pot.ratio, above, -low), Term(pot.ratio, below, -high)]
        return Share(at.layer, terms, [pot], is_relevance=True)


class WSquare(Rule):
    """R_j = sum over k of w_jk^2 R_k / sum over j of w_jk^2 (Montavon et al. 2017, Eq. 12), whatever the inputs are."""

    def share(self, at: Local) -> Share:
        bias = None if at.bias is None else at.bias.square()
        return self._without_inputs(at, at.layer.weight.square(), bias)

    def _without_inputs(self, at: Local, weight: Tensor, bias: Tensor | None) -> Share:
        shares = at.layer.apply(at.a.new_ones(()).expand(at.a[:1].shape), weight)
        pot = self._pot(at.z, (shares if bias is None else shares + bias).expand(at.z.shape), bias)
        return Share(at.layer, [Term(pot.ratio, weight)], [pot], is_relevance=True)


class Flat(WSquare):
    """Every input of a unit gets the same (Lapuschkin et al. 2019)."""

    def share(self, at: Local) -> Share:
        return self._without_inputs(at, torch.ones_like(at.layer.weight), None)


def _terms(at: Local, p: Tensor, n: Tensor | None) -> list[Term]:
    """Give the inputs (w a)+ p + (w a)- n; None for zero."""
    weight = at.layer.weight
    if at.layer.is_nonnegative:
        terms = [Term(p, weight.clamp(min=0))]
        return terms if n is None else [*terms, Term(n, weight.clamp(max=0))]
    half, difference = (p / 2, p / 2) if n is None else ((p + n) / 2, (p - n) / 2)
    return [Term(half, weight), Term(difference, weight.abs(), torch.sign(at.a))]

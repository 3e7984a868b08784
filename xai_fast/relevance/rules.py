"""Rules for z = W a + b: how the relevance R of a unit is shared by what it reads.

Relevance is carried as a coefficient c with R = c z. With (w a)+ and (w a)- the contributions of an input to a unit, P
the sum of the positive ones and N that of the negative ones, b included, every rule but those of the first layer gives
an input ``(w a)+ p + (w a)- n``, where p and n belong to the unit. Whatever it is, a rule divides c z by one sum or two
(`Pot`), and takes the results back through weights (`Term`). So it is a linear map of c that depends on the values
only: any number of coefficients goes back through it, and rows of relevance go forward (`Share`).
"""

from __future__ import annotations

import abc
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.errors import bad_argument
from xai_fast.kernels.relevance_ratio import relevance_ratio
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
    "divided",
    "stabilised",
]


@dataclass(frozen=True, eq=False)
class Local:
    """A layer at the values of a batch.

    Attributes:
        layer: the weights.
        a: (B, *shape of a).
        z: (B, *shape of z), b included.
        bias: b (channels of z,) as it takes part in the sharing; None where it does not.
        bounds: gives the smallest and the largest values that a can have: like a, one for all items, or a number for
            each; None where nothing is known.
        is_gated: whether c is that of relu(z), not of z.
    """

    layer: Weighted
    a: Tensor
    z: Tensor
    bias: Tensor | None = None
    bounds: Callable[[], tuple[Tensor, Tensor]] | None = None
    is_gated: bool = False

    @functools.cached_property
    def valued(self) -> Tensor:
        """What c is a coefficient of: a mask once per item, instead of one per row of c."""
        return _part(self.z, True) if self.is_gated else self.z

    @property
    def own(self) -> Tensor:
        """W a, and b where it takes part."""
        return self.z if self.layer.bias is None or self.bias is not None else self.without_bias

    @property
    def without_bias(self) -> Tensor:
        """W a."""
        return self.z if self.layer.bias is None else self.z - self.layer.per_unit(self.layer.bias)

    @property
    def is_rectified(self) -> bool:
        """Whether nothing comes back to units with z <= 0, and z is the sum of what takes part."""
        return self.layer.is_rectified and (self.layer.bias is None or self.bias is not None)

    @functools.cached_property
    def parts(self) -> tuple[Tensor, Tensor]:
        """The negative and the positive part of the weights."""
        return _part(self.layer.weight, False), _part(self.layer.weight, True)

    def clamped(self, positive: bool) -> Tensor | None:
        """Give the positive or the negative part of the bias."""
        return None if self.bias is None else _part(self.bias, positive)

    def signed(self, positive: bool) -> Tensor:
        """Compute P, or N; as z - P it would be rounding where there is little of it."""
        layer, bias = self.layer, self.clamped(positive)
        if layer.is_nonnegative:
            return layer.apply(self.a, self.parts[positive], bias)
        other = layer.apply(_part(self.a, False), self.parts[not positive])
        return layer.apply(_part(self.a, True), self.parts[positive], bias) + other

    def halves(self) -> tuple[Tensor, Tensor]:
        """Compute P, which is right where z > 0, and N, which is right where z < 0, by one product."""
        bias = None if self.bias is None else self.bias.abs()
        total = self.layer.apply(self.a.abs(), self.layer.weight.abs(), bias)
        return (self.own + total) / 2, (self.own - total) / 2

    def exact(self, positive: Tensor, negative: Tensor) -> Tensor:
        """Give P, found as a difference: next to a much larger N that is rounding, and P has a product of its own."""
        if self.is_rectified:
            return positive  # where z > 0 there is nothing to cancel
        little = positive < negative / -_CANCELLED
        return torch.where(little, self.signed(True), positive) if bool(little.any()) else positive


@dataclass(frozen=True, eq=False)
class Pot:
    """What a rule divides, and by what: ``c * numerator / (divisor + eps sign divisor)``.

    Attributes:
        numerator: (B, *shape of z).
        divisor: like it.
        eps: how far the divisor is moved away from zero.
        bias: what b is of the divisor, (2, channels of z) for z > 0 and for others; None for nothing.
    """

    numerator: Tensor
    divisor: Tensor
    eps: float
    bias: Tensor | None


@dataclass(frozen=True, eq=False)
class Term:
    """``factor * W^T (sum over the pots of unit * pot)``.

    Attributes:
        units: for each pot a number, or (B, *shape of z).
        weight: W, or a part of it.
        factor: (B, *shape of a); None for 1.
    """

    units: Sequence[Tensor | float]
    weight: Tensor
    factor: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Share:
    """A rule at the values of a batch: a linear map from c at the units to what their inputs get.

    Attributes:
        layer: the weights.
        pots: what is divided.
        terms: their sum is what inputs get.
        is_relevance: whether inputs get relevance; else a coefficient, which is to be multiplied by a.
    """

    layer: Weighted
    pots: Sequence[Pot]
    terms: Sequence[Term]
    is_relevance: bool = False

    def pull(self, c: Tensor, lost: Tensor | None = None) -> Tensor:
        """Go back.

        Args:
            c: (T, B, *shape of z).
            lost: (T, B, 4) float64, zeros, to which what arrives, and what bias, stabiliser and rule keep, are added;
                None to count nothing.

        Returns:
            (T, B, *shape of a).
        """
        if torch.is_grad_enabled() and c.requires_grad:
            return _Transposed.apply(c, self)  # type: ignore[no-any-return, no-untyped-call]  # torch
        units = [self._divide(pot, c, lost) for pot in self.pots]

        parts: list[Tensor] = []
        for _, group in itertools.groupby(self.terms, lambda term: id(term.units)):  # one product for several weights
            terms = list(group)
            pulled = self.layer.pull(_combined(terms[0], units), *(term.weight for term in terms))
            parts += [p if t.factor is None else p * t.factor for p, t in zip(pulled, terms, strict=True)]
        return functools.reduce(torch.add, parts)

    def push(self, rows: Tensor) -> Tensor:
        """Go forward, the transpose of `pull`: (T, B, *shape of z) from rows (T, B, *shape of a)."""

        def part(term: Term, factor: Tensor) -> Tensor:
            given = rows if term.factor is None else rows * term.factor
            return self.layer.apply(given, term.weight) * factor

        return functools.reduce(torch.add, map(part, self.terms, self._factors))

    @functools.cached_property
    def _factors(self) -> list[Tensor]:
        """What a unit gets for 1 from each term."""
        ones = torch.ones_like(self.pots[0].numerator).unsqueeze(0)
        ratios = [self._divide(pot, ones, None) for pot in self.pots]
        return [_combined(term, ratios) for term in self.terms]

    def _divide(self, pot: Pot, c: Tensor, lost: Tensor | None) -> Tensor:
        sums = None if lost is None else torch.empty_like(lost)
        found = divided(c, pot.numerator, pot.divisor, pot.eps, sums, pot.bias, self.layer.inner)
        if lost is not None and sums is not None:
            lost += sums
        return found


class _Transposed(torch.autograd.Function):
    """`Share.pull` where coefficients ask for a gradient, which `Share.push` gives."""

    @staticmethod
    def forward(ctx: Any, c: Tensor, share: Share) -> Tensor:
        ctx.share = share
        return share.pull(c)

    @staticmethod
    def backward(ctx: Any, rows: Tensor) -> tuple[Tensor, None]:
        return ctx.share.push(rows), None


_CANCELLED = 16.0
"""How many times larger than P the sum N may be for z - N to be taken for P."""


def _combined(term: Term, values: Sequence[Tensor]) -> Tensor:
    pairs = [(unit, value) for unit, value in zip(term.units, values, strict=True) if isinstance(unit, Tensor) or unit]
    parts = [value if not isinstance(unit, Tensor) and unit == 1 else value * unit for unit, value in pairs]
    return functools.reduce(torch.add, parts)


def _part(value: Tensor, positive: bool) -> Tensor:
    return value.clamp(min=0) if positive else value.clamp(max=0)


def divided(
    c: Tensor,
    numerator: Tensor,
    divisor: Tensor,
    eps: float,
    sums: Tensor | None = None,
    bias: Tensor | None = None,
    inner: int = 1,
) -> Tensor:
    """Multiply c (T, B, *shape) by numerator / (divisor + eps sign divisor); see the kernel `relevance_ratio`."""
    if torch.is_grad_enabled() and c.requires_grad:  # autograd is to transpose it
        return c * (numerator / stabilised(divisor, eps))
    c = c.contiguous()
    found = torch.empty_like(c)
    z, d = (value.contiguous().flatten(1) for value in (numerator, divisor))
    relevance_ratio(found.flatten(2), sums, c.flatten(2), z, d, bias, inner, eps)
    return found


def stabilised(z: Tensor, eps: float) -> Tensor:
    """Move z away from zero by eps, by its sign; zero counts as positive."""
    return z + torch.where(z < 0, z.new_tensor(-eps), z.new_tensor(eps))


@dataclass(frozen=True)
class Rule(abc.ABC):
    """A rule; ``eps`` is added to what is divided by."""

    eps: float = field(default=1e-6, kw_only=True)

    @abc.abstractmethod
    def share(self, at: Local) -> Share:
        """Prepare the rule for the values of a batch."""

    def _pot(self, numerator: Tensor, divisor: Tensor, *bias: Tensor | None) -> Pot:
        """Divide by a sum of which the bias is a part: one for all units, or one for z > 0 and one for others."""
        parts = [b for b in bias if b is not None]
        return Pot(numerator, divisor, self.eps, torch.stack(parts).expand(2, -1).contiguous() if parts else None)


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_j = sum over k of a_j w_jk R_k / (z_k + eps sign z_k) (Bach et al. 2015, Eq. 58)."""

    eps: float = 1e-6

    @override
    def share(self, at: Local) -> Share:
        return Share(at.layer, [self._pot(at.valued, at.own, at.bias)], [Term([1], at.layer.weight)])


class ZPlus(Rule):
    """Positive contributions only (Montavon et al. 2017, Eq. 17, and for inputs of both signs)."""

    @override
    def share(self, at: Local) -> Share:
        positive = at.signed(True) if at.layer.is_nonnegative else at.exact(*at.halves())
        return Share(at.layer, [self._pot(at.valued, positive, at.clamped(True))], _terms(at, [1], [0]))


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """Positive contributions share alpha times the relevance, negative ones -beta times (Bach et al. 2015, Eq. 60)."""

    alpha: float = 2.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        if not math.isclose(self.alpha - self.beta, 1) or self.beta < 0:
            raise bad_argument("alpha", "beta + 1, with beta not negative", f"alpha={self.alpha}, beta={self.beta}")

    @override
    def share(self, at: Local) -> Share:
        negative = at.signed(False)
        positive = at.exact(at.own - negative, negative)
        p = self._pot(self.alpha * at.valued, positive, at.clamped(True))
        n = self._pot(-self.beta * at.valued, negative, at.clamped(False))
        return Share(at.layer, [p, n], _terms(at, [1, 0], [0, 1]))


@dataclass(frozen=True)
class Gamma(Rule):
    """Contributions of the sign of z_k count (1 + gamma) times (Montavon et al. 2019, and for both signs)."""

    gamma: float = 0.25

    @override
    def share(self, at: Local) -> Share:
        layer, gamma = at.layer, self.gamma
        above, below = (None if at.bias is None else at.bias + gamma * _part(at.bias, side) for side in (True, False))
        if layer.is_nonnegative and at.is_rectified:
            weight = layer.weight + gamma * _part(layer.weight, True)
            pot = self._pot(at.valued, layer.apply(at.a, weight, above), above)
            return Share(layer, [pot], [Term([1], weight)])
        own = at.own
        positive = at.signed(True) if layer.is_nonnegative else at.halves()[0]
        # N = own - P is right where z < 0.
        pot = self._pot(at.valued, own + gamma * torch.where(at.z > 0, positive, own - positive), above, below)
        if not layer.is_nonnegative:
            # Both shares are about as large, so that half their sum and half their difference, two products, will do.
            sign = torch.sign(at.z)
            terms = [Term([1 + gamma / 2 * sign.abs()], layer.weight)]
            return Share(layer, [pot], [*terms, Term([gamma / 2 * sign], layer.weight.abs(), torch.sign(at.a))])
        return Share(layer, [pot], _terms(at, *([1 + gamma * side.to(own.dtype)] for side in (at.z > 0, at.z < 0))))


@dataclass(frozen=True)
class ZBox(Rule):
    """Inputs between two bounds (Montavon et al. 2017, Eq. 18)."""

    @override
    def share(self, at: Local) -> Share:
        dims = tuple(range(1, at.a.ndim))
        low, high = at.bounds() if at.bounds else (at.a.amin(dims, keepdim=True), at.a.amax(dims, keepdim=True))
        weights = at.parts[::-1]
        floor = [self._product(at, end, weight) for end, weight in zip((low, high), weights, strict=True)]
        one = [1]
        terms = [Term(one, weight, at.a - end) for weight, end in zip(weights, (low, high), strict=True)]
        return Share(at.layer, [self._pot(at.valued, at.without_bias - floor[0] - floor[1])], terms, is_relevance=True)

    @staticmethod
    def _product(at: Local, end: Tensor, weight: Tensor) -> Tensor:
        if end.shape[1:] == at.a.shape[1:]:
            return at.layer.apply(end, weight)
        return end * at.layer.apply(end.new_ones(()).expand(at.a[:1].shape), weight)  # a number per item


class WSquare(Rule):
    """R_j = sum over k of w_jk^2 R_k / sum over j of w_jk^2 (Montavon et al. 2017, Eq. 12), whatever the inputs are."""

    @override
    def share(self, at: Local) -> Share:
        return self._without_inputs(at, at.layer.weight.square(), None if at.bias is None else at.bias.square())

    def _without_inputs(self, at: Local, weight: Tensor, bias: Tensor | None) -> Share:
        shares = at.layer.apply(at.a.new_ones(()).expand(at.a[:1].shape), weight, bias).expand(at.z.shape)
        return Share(at.layer, [self._pot(at.valued, shares, bias)], [Term([1], weight)], is_relevance=True)


class Flat(WSquare):
    """Every input of a unit gets the same (Lapuschkin et al. 2019)."""

    @override
    def share(self, at: Local) -> Share:
        return self._without_inputs(at, torch.ones_like(at.layer.weight), None)


def _terms(at: Local, p: Sequence[Tensor | float], n: Sequence[Tensor | float]) -> list[Term]:
    """Give the inputs (w a)+ p + (w a)- n, each a number per pot."""
    sides = ((p, True), (n, False))
    if at.layer.is_nonnegative:
        terms = [Term(units, at.parts[positive]) for units, positive in sides]
    else:
        # p and n may be of very different sizes: a difference of products with them would be rounding.
        signs = [(sign.to(at.a.dtype), above) for sign, above in ((at.a > 0, True), (at.a < 0, False))]
        terms = [Term(units, at.parts[positive == above], sign) for units, positive in sides for sign, above in signs]
    return [term for term in terms if any(isinstance(unit, Tensor) or unit for unit in term.units)]

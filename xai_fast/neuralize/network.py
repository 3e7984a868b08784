"""What a neuralised estimator is: linear layers, units, and scores that are minima of differences."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xai_fast.errors import bad_argument

__all__ = ["Constants", "Front", "Neuralized", "Scoring", "buffer"]


def buffer(value: Any) -> Tensor:
    """Copy numbers to a float64 tensor."""
    return torch.as_tensor(value, dtype=torch.float64).clone()


class Constants(nn.Module):
    """A module that keeps constants as buffers."""

    def keep(self, **tensors: Tensor | None) -> None:
        """Register buffers by name."""
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Tensor: ...


class Front(Constants):
    """Scalers and projections z = A x + b in one linear layer; A is (k, D), or (D,) where there are scales only."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        one = torch.ones(features, dtype=torch.float64)
        self.keep(weight=one, bias=0 * one, inverse=one)  # the inverse is (D, k) or (D,), with A inverse = 1

    def append(self, weight: Tensor, shift: Tensor, inverse: Tensor) -> None:
        """Append scales (k,), or a projection (m, k) whose inverse (k, m) gives the smallest changes of its input."""
        bias = (weight * self.bias if weight.ndim == 1 else weight @ self.bias) + shift
        self.keep(weight=_product(weight, self.weight), bias=bias, inverse=_product(self.inverse, inverse))

    def forward(self, x: Tensor) -> Tensor:
        """Give z (B, k) from x (B, ...) with D entries."""
        if math.prod(x.shape[1:]) != self.features:
            raise bad_argument("inputs", f"rows of {self.features} features", f"shape {tuple(x.shape)}")
        x = x.flatten(1).to(self.weight.dtype)
        return (x * self.weight if self.weight.ndim == 1 else x @ self.weight.T) + self.bias

    def left(self, change: Tensor) -> Tensor:
        """Carry changes of z (..., k) to the smallest of x (..., D) that make them; scales cancel with `right`."""
        return change if self.inverse.ndim == 1 else change @ self.inverse.T

    def right(self, gradient: Tensor) -> Tensor:
        """Carry gradients with respect to z (..., k) to x (..., D); scales cancel with `left`."""
        return gradient if self.weight.ndim == 1 else gradient @ self.weight


def _product(first: Tensor, second: Tensor) -> Tensor:
    """Multiply matrices; vectors stand for diagonal ones."""
    if first.ndim == 2 == second.ndim:
        return first @ second
    return first * second if first.ndim >= second.ndim else first[:, None] * second


class Scoring(Constants):
    """The last layers: scores that are the smallest differences of values.

    Args:
        pairs: for each of the S scores its R rivals, two columns of the values, (plus, minus).
        own: what the estimator's own value is, times ``factor`` plus ``shift``: "probability" of the scores, "value",
            "root" of the values, "kernel" exp(-value), or "kernels", each second one less the one before it.
        pooling: "min"; "softmin", -log sum over the rivals of exp(-h), which passes on p h, with p the softmax of -h;
            or a number beta: the minimum f, which passes on p f, with p the softmax of -beta h (NEON).
    """

    def __init__(
        self,
        pairs: Sequence[Sequence[tuple[int, int]]],
        own: str,
        factor: float = 1.0,
        shift: float | Tensor = 0.0,
        pooling: str | float | None = None,
    ) -> None:
        super().__init__()
        self.keep(pairs=torch.tensor(pairs), shift=buffer(shift))
        self.kind, self.factor, self.pooling = own, factor, pooling or "min"

    def forward(self, values: Tensor) -> Tensor:
        """Give the scores, (B, S), or (B,) where S is 1, from values (B, P + 1)."""
        rivals = values[:, self.pairs[..., 0]] - values[:, self.pairs[..., 1]]
        found = -(-rivals).logsumexp(2) if self.pooling == "softmin" else rivals.amin(2)
        return found.squeeze(1)

    def own(self, values: Tensor) -> Tensor:
        """Give the estimator's own value."""
        found: Tensor = self(values).sigmoid() if self.kind == "probability" else values[:, :-1]
        if self.kind.startswith("kernel"):
            found = (-found).exp()
        if self.kind == "kernels":
            found = found[:, 1::2] - found[:, ::2]
        found = (found.sqrt() if self.kind == "root" else found) * self.factor + self.shift
        return found[:, 0] if found.shape[1] == 1 and self.kind != "root" else found

    def shares(self, values: Tensor, targets: Tensor | None) -> Tensor:
        """Give (B, P + 1), what of each value is passed on for scores (B,)."""
        pairs = self.pairs[torch.zeros_like(values[:, 0], dtype=torch.int64) if targets is None else targets]
        plus, minus = pairs.unbind(2)
        rivals = values.gather(1, plus) - values.gather(1, minus)
        least, index = rivals.min(1, keepdim=True)
        share = torch.zeros_like(rivals).scatter(1, index, 1.0)
        if self.pooling == "softmin":
            share = (-rivals).softmax(1)
        elif not isinstance(self.pooling, str):  # h / f may be anything where f <= 0: there the smallest has all
            share = torch.where(least > 0, (-self.pooling * rivals).softmax(1) * least / rivals, share)
        return torch.zeros_like(values).scatter_add(1, plus, share).scatter_add(1, minus, -share)


class Neuralized(Constants, abc.ABC):
    """An estimator as a network: linear layers in front, units, and values (B, P), of which scores are made.

    Called, it gives the estimator's own value. Explained are its scores: an outlierness (B,), or for each class or
    cluster a log-ratio (B, S), which is largest for the one that the estimator predicts.
    """

    front: Front
    scoring: Scoring
    entries: int  # numbers per row that a run holds

    @abc.abstractmethod
    def activate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Give z (B, k), the units (B, N), and the values (B, P + 1), the last of which are 0, at x (B, ...)."""

    @abc.abstractmethod
    def spread(self, seen: tuple[Tensor, Tensor, Tensor], shares: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Give relevance (B, D) by shares (B, P + 1), eps being the rounding of x; and if the row's unit keeps it."""

    def forward(self, x: Tensor) -> Tensor:
        """Give the estimator's own value at x (B, ...)."""
        return self.scoring.own(self.activate(x)[2])

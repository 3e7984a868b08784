"""Networks of products: linear and polynomial kernels, and linear classifiers."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.neuralize.network import Front, Neuralized, Scoring

__all__ = ["ProductNetwork"]


class ProductNetwork(Neuralized):
    """Values g = (gamma z U^T + offset)^degree alpha^T + b; U is (N, k), alpha (P, N) or None for one unit each.

    Relevance goes back in proportion to contributions: for a value, R_i = (z - m)_i sum over j of alpha_j gamma u_ji
    (...)_j^(degree - 1), where the origins m (P, k) may be midpoints. What the offset and b contribute no feature has.
    """

    def __init__(
        self,
        front: Front,
        units: Tensor,
        bias: Tensor,
        scoring: Scoring,
        *,
        alpha: Tensor | None = None,
        kernel: tuple[float, float, int] = (1.0, 0.0, 1),
        origins: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.front, self.scoring = front, scoring
        self.gamma, self.offset, self.degree = kernel
        self.entries = max(len(units), front.features, scoring.pairs[..., 0].numel())
        held = None if origins is None else front.right(units) * front.left(origins)
        self.keep(units=units, alpha=alpha, bias=bias, held=held)

    @override
    def activate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.front(x)
        products = self.gamma * (z @ self.units.T) + self.offset
        values = products**self.degree
        values = (values if self.alpha is None else values @ self.alpha.T) + self.bias
        return z, products, torch.cat([values, torch.zeros_like(z[:, :1])], 1)

    @override
    def spread(self, seen: tuple[Tensor, Tensor, Tensor], shares: Tensor) -> Tensor:
        z, products, _ = seen
        alpha = shares[:, :-1] if self.alpha is None else shares[:, :-1] @ self.alpha
        gradient = (alpha * self.gamma * products ** (self.degree - 1)) @ self.units
        found = self.front.left(z) * self.front.right(gradient)
        return found if self.held is None else found - shares[:, :-1] @ self.held

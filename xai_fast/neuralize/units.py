"""Networks of distances, with soft minima over sets of them, and networks of products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.neuralize.network import Constants, Front, Neuralized, Scoring, buffer

__all__ = ["Centres", "DistanceNetwork", "Ellipsoids", "ProductNetwork"]


class Centres(Constants):
    """h_j = gamma |z - u_j|^power for units u (N, k), whose mean becomes the origin of z, so that nothing cancels."""

    def __init__(self, front: Front, units: Tensor, gamma: float, power: int = 2) -> None:
        super().__init__()
        front.keep(bias=front.bias - units.mean(0))
        units = units - units.mean(0)
        self.front, self.gamma, self.power, self.entries = front, gamma, power, max(len(units), front.features)
        self.keep(units=units, left=front.left(units), right=front.right(units))

    def forward(self, z: Tensor) -> Tensor:
        """Give h (B, N) from z (B, k)."""
        # By products of matrices a small distance, and more so its root, would be rounding.
        return self.gamma * torch.cdist(z, self.units, compute_mode="donot_use_mm_for_euclid_dist") ** self.power

    def spread(self, z: Tensor, h: Tensor, relevance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Share the units' relevance (B, N) by squared differences, see `Neuralized.spread`."""
        square = (h / self.gamma) ** (2 // self.power)
        rounding = 64 * eps * (z.norm(dim=1, keepdim=True) + self.front.bias.norm())
        same = square <= rounding**2
        ratio = torch.where(same, 0, relevance / square)
        kept = (relevance * same).abs().sum(1) > relevance.abs().sum(1) / 2
        # The unit with the largest ratio by differences: for a row next to it, the products below cancel.
        index = ratio.abs().argmax(1, keepdim=True)
        near = z - self.units[index[:, 0]]
        first = ratio.gather(1, index) * self.front.left(near) * self.front.right(near)
        ratio = ratio.scatter(1, index, 0)
        left, right = self.front.left(z), self.front.right(z)
        total = ratio.sum(1, keepdim=True) * left * right + ratio @ (self.left * self.right)
        return first + total - left * (ratio @ self.right) - right * (ratio @ self.left), kept


class Ellipsoids(Constants):
    """h_k = (z - mu_k)^T P_k (z - mu_k) / 2 for means mu (K, k) and P (K, k, k), or diagonals of it (K, k)."""

    def __init__(self, front: Front, means: Tensor, precisions: Tensor) -> None:
        super().__init__()
        self.front, self.entries = front, len(means) * max(front.features, means.shape[1])
        self.keep(units=means, precisions=precisions)

    def _sides(self, z: Tensor) -> tuple[Tensor, Tensor]:
        change = z[:, None] - self.units
        diagonal = self.precisions.ndim == 2
        return change, change * self.precisions if diagonal else torch.einsum("bkd,kde->bke", change, self.precisions)

    def forward(self, z: Tensor) -> Tensor:
        """Give h (B, K) from z (B, k)."""
        change, gradient = self._sides(z)
        return (change * gradient).sum(2) / 2

    def spread(self, z: Tensor, h: Tensor, relevance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Share the units' relevance (B, K) by the parts of (z - mu)^T P (z - mu), see `Neuralized.spread`."""
        change, gradient = self._sides(z)
        ratio = torch.where(h > 0, relevance / (2 * h), 0)
        found = (ratio[..., None] * self.front.left(change) * self.front.right(gradient)).sum(1)
        return found, torch.zeros_like(found[:, 0], dtype=torch.bool)


class DistanceNetwork(Neuralized):
    """Units, and pools of them as values: o = -log (constant + sum over its members j of exp(log_j - h_j)).

    A pool is its members and logs (M,), and its constant. The soft winner takes R_j = exp(o + log_j - h_j) (o - o_0),
    where o_0 is o at distance 0, which no feature has; and R_i = sum over j of R_j (z_i - u_ij)^2 / |z - u_j|^2.
    """

    def __init__(
        self, units: Centres | Ellipsoids, pools: Sequence[tuple[Tensor, Tensor, float]], scoring: Scoring
    ) -> None:
        super().__init__()
        members, logs, constants = zip(*pools, strict=True)
        self.sizes = [len(part) for part in members]
        self.front, self.units, self.scoring = units.front, units, scoring
        self.entries = max(units.entries, *self.sizes, scoring.pairs[..., 0].numel())
        self.keep(members=torch.cat(members), logs=torch.cat(logs), constants=buffer(constants).log())
        self.keep(origins=self._pooled(self.logs.new_zeros(1, len(units.units))))

    def _pooled(self, h: Tensor) -> Tensor:
        sums = [exponents.logsumexp(1) for _, exponents in self._parts(h)]
        return torch.cat([-torch.logaddexp(torch.stack(sums, 1), self.constants), torch.zeros_like(h[:, :1])], 1)

    def _parts(self, h: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Give the members (M,) of each pool, which are in their order if they are all, and log_j - h_j (B, M)."""
        pools = zip(torch.split(self.members, self.sizes), torch.split(self.logs, self.sizes), strict=True)
        return [(own, logs - (h if len(own) == h.shape[1] else h[:, own])) for own, logs in pools]

    @override
    def activate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z = self.front(x)
        h = self.units(z)
        return z, h, self._pooled(h)

    @override
    def spread(self, seen: tuple[Tensor, Tensor, Tensor], shares: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        z, h, pools = seen
        amounts = shares * (pools - self.origins)
        found = torch.zeros_like(h)
        for index, (members, exponents) in enumerate(self._parts(h)):
            one = slice(index, index + 1)
            found.index_add_(1, members, (pools[:, one] + exponents).exp() * amounts[:, one])
        return self.units.spread(z, h, found, eps)


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
    def spread(self, seen: tuple[Tensor, Tensor, Tensor], shares: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        z, products, _ = seen
        alpha = shares[:, :-1] if self.alpha is None else shares[:, :-1] @ self.alpha
        gradient = (alpha * self.gamma * products ** (self.degree - 1)) @ self.units
        found = self.front.left(z) * self.front.right(gradient)
        found = found if self.held is None else found - shares[:, :-1] @ self.held
        return found, torch.zeros_like(found[:, 0], dtype=torch.bool)

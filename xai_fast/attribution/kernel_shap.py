"""Kernel SHAP: Shapley values as the solution of a weighted least squares problem.

Lundberg and Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017, theorem 2. Pairs of
complementary coalitions: Covert and Lee, "Improving KernelSHAP: Practical Shapley Value Estimation via Linear
Regression", AISTATS 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.masks import Game
from xai_fast.attribution.surrogate import SurrogateMethod, solve
from xai_fast.engine.draws import random_orders, random_words

__all__ = ["KernelSHAP"]


class KernelSHAP(SurrogateMethod):
    """Shapley values of the features, from scores of coalitions by weighted least squares.

    Where the 2^K coalitions of K features are at most ``samples``, all are scored, and the values are the exact Shapley
    values. Else coalitions are drawn with the Shapley kernel, each with its complement. All values together are
    f(x) - f(baseline) exactly, in both. Fewer coalitions than features leave the values undetermined; they are those of
    least norm. Attributions are like the inputs (B, ...), in units of the score: each entry has the value of its
    feature.

    Other options as for `FeatureMethod`.

    Cost: at most ``min(2 + samples, 2**K)`` evaluations per item of K features.
    Limits: mixes of item and baseline are unlike any data where features are correlated; no standard error.

    Args:
        samples: coalitions per item, at most; 2048 are all of 11 features.
        seed: of the coalitions, 0 to 2**32 - 1.
    """

    name = "kernel_shap"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        samples: int = 2048,
        features: int | Sequence[int] | str | Tensor | None = None,
        baseline: float | Sequence[float] | str | Tensor = 0.0,
        score: str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(model, samples=samples, features=features, baseline=baseline, score=score, seed=seed)

    @override
    def _coalitions(self, item_ids: Tensor, features: int) -> tuple[Tensor, Tensor]:
        device, pairs = item_ids.device, self.samples // 2
        size = torch.arange(1, features, dtype=torch.float64, device=device)
        kernel = (features - 1) / (size * (features - size))  # of all coalitions of a size together
        if 2**features <= self.samples:
            number = torch.arange(1, 2**features - 1, device=device)
            present = (number[:, None] >> torch.arange(features, device=device)) % 2 == 1
            sets = torch.tensor(
                [math.comb(features, s) for s in range(1, features)], dtype=torch.float64, device=device
            )
            weights = (kernel / sets)[present.sum(1) - 1]
            return present.expand(len(item_ids), *present.shape), weights[None]
        number = torch.arange(pairs, device=device).repeat(len(item_ids))
        words = random_words(item_ids.repeat_interleave(pairs), number, 1 + features, self.seed)
        share = kernel.cumsum(0) / kernel.sum()
        drawn = 1 + torch.searchsorted(share, (words[:, 0].double() + 0.5) / 2**32)
        present = random_orders(words[:, 1:]) < drawn.clamp(max=features - 1)[:, None]
        present = torch.stack([present, ~present], 1).view(len(item_ids), 2 * pairs, features)
        return present, torch.ones(1, 2 * pairs, dtype=torch.float64, device=device)

    @override
    def _fit(self, game: Game, item: Tensor, z: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        empty = game.empty[item, None].double()
        whole = game.scores[item, None].double() - empty
        mean = z.mean(2)  # what equal values, whole / K each, give
        # Values are whole / K and parts whose sum is zero: those of z less its mean.
        parts = solve(z - mean[..., None], y - empty - mean * whole, weights)
        values = whole / z.shape[2] + parts
        return values, empty + (z @ values[..., None])[..., 0]

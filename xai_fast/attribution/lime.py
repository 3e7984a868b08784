"""LIME: a ridge regression on the features of an item, weighted by how near a coalition is to the item.

Ribeiro, Singh and Guestrin, "Why Should I Trust You? Explaining the Predictions of Any Classifier", KDD 2016.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.arguments import check_choice, check_positive
from xai_fast.attribution.masks import Game
from xai_fast.attribution.surrogate import SurrogateMethod, centred, solve
from xai_fast.engine.draws import random_words
from xai_fast.errors import bad_argument

__all__ = ["DISTANCES", "LIME"]

DISTANCES = ("cosine", "euclidean")


class LIME(SurrogateMethod):
    """The coefficients of a linear model that is fitted to the scores of random coalitions of an item's features.

    A coalition has each feature with probability 1/2; the first of the ``samples`` has all. Its weight is
    ``exp(-D^2 / 2 kernel_width^2)``, D its distance from all features. The fit is a ridge regression with an intercept
    that is not penalised, of all features (none are selected before), solved in float64. Attributions are like the
    inputs (B, ...), in units of the score: each entry has the coefficient of its feature.

    Other options as for `FeatureMethod`.

    Cost: ``1 + samples`` evaluations per item.
    Limits: what is linear in the features, see ``r_squared``; values change with ``kernel_width`` and the seed.

    Args:
        samples: coalitions per item.
        distance: "cosine" (the authors' for pictures and text: ``1 - sqrt(s / K)`` of s of K features) or "euclidean"
            (``sqrt(K - s)``).
        kernel_width: in units of the distance.
        ridge: the penalty, 0 for least squares.
        seed: of the coalitions, 0 to 2**32 - 1.
    """

    name = "lime"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        samples: int = 1000,
        features: int | Sequence[int] | str | Tensor | None = None,
        baseline: float | Sequence[float] | str | Tensor = 0.0,
        distance: str = "cosine",
        kernel_width: float = 0.25,
        ridge: float = 1.0,
        score: str = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__(model, samples=samples, features=features, baseline=baseline, score=score, seed=seed)
        self.distance = check_choice("distance", distance, DISTANCES)
        self.kernel_width = check_positive("kernel_width", kernel_width)
        if isinstance(ridge, bool) or not isinstance(ridge, int | float) or not 0 <= ridge < math.inf:
            raise bad_argument("ridge", "a finite number, not negative", repr(ridge))
        self.ridge = float(ridge)

    @override
    def _coalitions(self, item_ids: Tensor, features: int) -> tuple[Tensor, Tensor]:
        number = torch.arange(self.samples, device=item_ids.device)
        ids = item_ids.repeat_interleave(self.samples)
        words = random_words(ids, number.repeat(len(item_ids)), features, self.seed)
        present = (words >= 2**31).view(len(item_ids), self.samples, features) | (number == 0)[:, None]
        size = present.sum(2).double()
        distance = 1 - (size / features).sqrt() if self.distance == "cosine" else (features - size).sqrt()
        return present, torch.exp(-distance.square() / (2 * self.kernel_width**2))

    @override
    def _fit(self, game: Game, item: Tensor, z: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        (z, _), (y, mean) = centred(z, weights), centred(y, weights)
        coefficients = solve(z, y, weights, self.ridge)
        return coefficients, (z @ coefficients[..., None])[..., 0] + mean

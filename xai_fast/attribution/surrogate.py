"""What LIME and Kernel SHAP share: a linear model of an item's features, fitted to the scores of coalitions."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.attribution.masks import FeatureMethod, Game
from xai_fast.engine.draws import MAX_SEED
from xai_fast.errors import bad_argument
from xai_fast.explanation import Explanation

__all__ = ["SurrogateExplanation", "SurrogateMethod", "centred", "solve"]

_MOST_FEATURES = 2048
_ENTRIES_AT_A_TIME = 1 << 20
_RELATIVE_RANK = 1e-12
"""An eigenvalue below this share of the largest is zero: sums of 2^16 products leave more than torch's default."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SurrogateExplanation(Explanation):
    """The coefficients of a linear model of the features, with how well it fits.

    Attributes:
        r_squared: (B,) the share of the weighted variance of the scores that the linear model explains; 1 where the
            scores are constant.
    """

    r_squared: Tensor


class SurrogateMethod(FeatureMethod[SurrogateExplanation]):
    """A `FeatureMethod` whose values are the coefficients of a weighted least squares fit, solved in float64.

    Args:
        samples: coalitions per item.
        seed: of the coalitions, 0 to 2**32 - 1.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        samples: int,
        features: int | Sequence[int] | str | Tensor | None,
        baseline: float | Sequence[float] | str | Tensor,
        score: str,
        seed: int,
    ) -> None:
        super().__init__(model, features=features, baseline=baseline, score=score)
        self.samples = check_integer("samples", samples, 2)
        self.seed = check_integer("seed", seed, 0, MAX_SEED)

    def _result(self, game: Game) -> SurrogateExplanation:
        if game.features.count > _MOST_FEATURES:
            expected = f"at most {_MOST_FEATURES} for a linear model, such as those of a grid (features=8)"
            raise bad_argument("features", expected, f"{game.features.count}")
        batch, device = game.call.batch, game.call.device
        values = torch.zeros(batch, game.features.count, dtype=torch.float64, device=device)
        r_squared = values.new_ones(batch)
        for features, items in game.features.by_count(list(range(batch))).items():
            at_a_time = max(1, _ENTRIES_AT_A_TIME // features // self.samples)
            for item in torch.split(torch.tensor(items, device=device), at_a_time):
                present, weights = self._coalitions(game.call.item_ids[item], features)
                shape = present.shape[:2]
                scores = game.play(present.flatten(0, 1).__getitem__, item.repeat_interleave(shape[1])).view(shape)
                z, y = present.double(), scores.double()
                values[item, :features], fitted = self._fit(game, item, z, y, weights)
                r_squared[item] = _share_explained(weights, y, fitted)
        return SurrogateExplanation(**self._fields(game, values), r_squared=r_squared.to(game.scores.dtype))

    @abc.abstractmethod
    def _coalitions(self, item_ids: Tensor, features: int) -> tuple[Tensor, Tensor]:
        """Choose M coalitions for items (I,) with K features each: (I, M, K) bool, and weights (I or 1, M) float64."""

    @abc.abstractmethod
    def _fit(self, game: Game, item: Tensor, z: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Fit the values y (I, M) of the coalitions z (I, M, K): coefficients (I, K), and what they give (I, M)."""


def solve(z: Tensor, y: Tensor, weights: Tensor, ridge: float = 0.0) -> Tensor:
    """Return the coefficients (I, K) of least norm that minimise sum w (y - z c)^2 + ridge |c|^2.

    z is (I, M, K), y (I, M), and the weights are (I or 1, M), float64.
    """
    weighted = (z * weights[..., None]).transpose(1, 2)
    squares = weighted @ z + ridge * torch.eye(z.shape[2], dtype=z.dtype, device=z.device)
    inverse: Tensor = torch.linalg.pinv(squares, rtol=_RELATIVE_RANK, hermitian=True)
    return (inverse @ (weighted @ y[..., None]))[..., 0]


def centred(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the weighted mean over the coalitions, from (I, M) or (I, M, K); returns the rest and the mean."""
    weights = (weights / weights.sum(1, keepdim=True)).view(*weights.shape, *[1] * (values.ndim - 2))
    mean = (weights * values).sum(1, keepdim=True)
    return values - mean, mean


def _share_explained(weights: Tensor, y: Tensor, fitted: Tensor) -> Tensor:
    total = (weights * centred(y, weights)[0].square()).sum(1)
    constant = total <= 1e-24 * (weights * y.square()).sum(1)
    return torch.where(constant, 1.0, 1.0 - (weights * (y - fitted).square()).sum(1) / total)

"""Quantitative input influence: Shapley values where features are replaced by those of random rows of a data set.

Datta, Sen and Zick, "Algorithmic Transparency via Quantitative Input Influence: Theory and Experiments with Learning
Systems", IEEE S&P 2016, section III (set and Shapley QII).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.attribution.masks import Game
from xai_fast.attribution.shapley_sampling import ShapleySampling
from xai_fast.engine.draws import random_words
from xai_fast.engine.masked import baseline_inputs
from xai_fast.errors import bad_argument

__all__ = ["QuantitativeInputInfluence"]


class QuantitativeInputInfluence(ShapleySampling):
    """Shapley values by random orders, where features are replaced by those of random rows of a data set.

    Each order, or pair of orders, draws a row, with replacement; the features that a coalition lacks are those of that
    row. All features together add f(x) less the mean score of the rows that were drawn. Attributions are like the
    inputs (B, ...), in units of the score.

    Other options as for `ShapleySampling`. The paper's quantity of interest for an item is its ``score`` "probability".

    Cost: at most ``1 + permutations * K`` evaluations per item of K features.

    Args:
        baseline: (n, ...) rows of the data set, as a tensor or nested lists; each broadcasts to an item.
    """

    name = "quantitative_input_influence"

    def __init__(self, model: Callable[..., object], *, baseline: Sequence[Any] | Tensor, **options: Any) -> None:
        super().__init__(model, baseline=baseline, **options)

    @override
    def _baselines(self, inputs: Tensor) -> Tensor:
        expected = f"rows of a data set (n, ...) with {inputs.ndim} dimensions, like the inputs"
        try:
            rows = torch.as_tensor(self.baseline)
        except (TypeError, ValueError, RuntimeError) as error:
            raise bad_argument("baseline", expected, type(self.baseline).__name__) from error
        if rows.ndim != inputs.ndim or len(rows) == 0:
            raise bad_argument("baseline", expected, f"shape {tuple(rows.shape)}")
        rows = rows if isinstance(self.baseline, Tensor) else rows.to(inputs.device)
        return baseline_inputs("baseline", rows, inputs[:1].expand(len(rows), *inputs.shape[1:]))

    @override
    def _empty(self, game: Game) -> Tensor | None:
        return None

    @override
    def _source(self, game: Game, item_ids: Tensor, sample: Tensor) -> Tensor | None:
        return random_words(item_ids, sample, 1, self.seed)[:, 0] % len(game.baseline)

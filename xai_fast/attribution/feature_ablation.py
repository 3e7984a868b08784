"""Feature ablation: the score that is lost where a feature is replaced.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, section 4.2, for groups of entries
of any form.
"""

from __future__ import annotations

import torch

from xai_fast.attribution.masks import FeatureMethod, Game
from xai_fast.explanation import Explanation

__all__ = ["FeatureAblation"]


class FeatureAblation(FeatureMethod[Explanation]):
    """The score of an item, less that with a feature replaced, of each feature: f(x) - f(x without i).

    Attributions are like the inputs (B, ...), in units of the score: each entry has the value of its feature. Options
    as for `FeatureMethod`.

    Cost: ``1 + K`` evaluations per item of K features.
    Limits: features that stand in for one another get little; ``baseline`` decides what absent means.
    """

    def _result(self, game: Game) -> Explanation:
        counts = torch.tensor(game.features.counts, device=game.call.device)
        feature = torch.arange(game.features.count, device=game.call.device)
        item, left_out = (feature < counts[:, None]).nonzero(as_tuple=True)
        scores = game.play(lambda row: feature != left_out[row, None], item)
        values = torch.zeros(len(counts), len(feature), dtype=torch.float64, device=game.call.device)
        values[item, left_out] = (game.scores[item] - scores).double()
        return Explanation(**self._fields(game, values))

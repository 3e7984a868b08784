"""GLIDER with gradients: squared mixed derivatives at many rows, and how often each set is among a row's strongest.

Source: Tsang et al., "Feature interaction interpretability: a case for explaining ad-recommendation systems via neural
interaction detection", ICLR 2020. There, an explainer network is fitted around each row, interactions are detected in
it by GradientNID, strength(I) = (d^|I| F / dx_I)^2, and a set's global strength is the number of rows in which it is
among the detected ones. Here the derivatives are those of the model itself, so that nothing is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.objective import SCORES, Target
from xai_fast.interaction.detector import Detector, Groups, all_pairs
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table, like_model
from xai_fast.taylor import hessian

__all__ = ["GLIDER"]


class GLIDER(Detector):
    """Pairs that are among the strongest of many rows.

    Cost: a Hessian per row.
    Limits: pairs only. Logits of a ReLU network have no curvature, which is an error.

    Args:
        model: in evaluation mode, (rows, features) to (rows, classes), (rows, 1) or (rows,).
        top_k: pairs that count at each row.
        aggregate: "count" for the share of rows in which a pair is among the ``top_k`` (the published rule; as many
            rows are equal, the mean of the squared derivatives decides among pairs of the same count), or "mean" for
            that mean itself.
        score: F: "logit", "probability" or "log_probability" of the target.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self, model: Callable[..., Any], *, top_k: int = 10, aggregate: str = "count", score: str = "logit"
    ) -> None:
        super().__init__(model)
        self.top_k = check_integer("top_k", top_k, 1)
        self.aggregate = check_choice("aggregate", aggregate, ("count", "mean"))
        self.score = check_choice("score", score, SCORES)

    def _rank(self, table: Table, target: Target, groups: Groups) -> InteractionRanking:
        x = like_model(self.model, table.values)
        second = hessian(self.model, x, target=target, score=self.score)
        pairs = all_pairs(x.shape[1])
        squares = second[:, pairs[:, 0], pairs[:, 1]].double().square()
        effects = squares.mean(0)
        if self.aggregate == "count":
            chosen = squares.topk(min(self.top_k, len(pairs)), dim=1).indices.flatten()
            counts = effects.new_zeros(len(pairs)).index_add_(0, chosen, effects.new_ones(len(chosen)))
            # Counts differ by 1 or more, what decides among equal ones is below 1/2.
            effects = (counts + 0.5 * effects / (effects.max() + effects.mean()).clamp_min(1e-300)) / len(x)
        effect = dict(zip(map(tuple, pairs.tolist()), effects.tolist(), strict=True))
        return InteractionRanking.from_effects(table.names, effect)

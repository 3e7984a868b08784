"""GLIDER with gradients: squared mixed derivatives at many rows, and how often each set is among a row's strongest.

Source: Tsang et al., "Feature interaction interpretability: a case for explaining ad-recommendation systems via neural
interaction detection", ICLR 2020. There, an explainer network is fitted around each row, interactions are detected in
it by GradientNID, strength(I) = (d^|I| F / dx_I)^2, and a set's global strength is the number of rows in which it is
among the detected ones. Here the derivatives are those of the model itself, so that nothing is fitted.
"""

from __future__ import annotations

from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.checks import check_eval_mode
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.objective import SCORES, Target
from xai_fast.interaction.strengths import Strengths, all_pairs, ranked
from xai_fast.interaction.table import like_model, read_table
from xai_fast.taylor import hessian

__all__ = ["GLIDER"]


class GLIDER:
    """Pairs that are among the strongest of many rows.

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

    def __init__(self, model: nn.Module, *, top_k: int = 10, aggregate: str = "count", score: str = "logit") -> None:
        check_choice("aggregate", aggregate, ("count", "mean"))
        check_choice("score", score, SCORES)
        self.model = model
        self.top_k = check_integer("top_k", top_k, 1)
        self.aggregate = aggregate
        self.score = score

    def pairs(self, rows: Tensor, target: Target = None) -> Strengths:
        """Compute the strength of every pair.

        Args:
            rows: (rows, features); they are brought to the model's dtype and device.
            target: see `xai_fast.engine.objective.Objective`.

        Returns:
            All pairs, the strongest first.

        Raises:
            InputError: the rows do not fit.
        """
        x = like_model(self.model, read_table("rows", rows).values)
        check_eval_mode(self.model)
        with frozen_parameters(self.model):
            second = hessian(self.model, x, target=target, score=self.score)
        pairs = all_pairs(x.shape[1])
        squares = second[:, pairs[:, 0], pairs[:, 1]].double().square()
        strengths = squares.mean(0)
        if self.aggregate == "count":
            chosen = squares.topk(min(self.top_k, len(pairs)), dim=1).indices
            counts = strengths.new_zeros(len(pairs)).index_add_(0, chosen.flatten(), strengths.new_ones(chosen.numel()))
            # Counts differ by 1 or more, what decides among equal ones is below 1/2.
            strengths = (counts + 0.5 * strengths / (strengths.max() + strengths.mean()).clamp_min(1e-300)) / len(x)
        return ranked([((i, j), s) for (i, j), s in zip(pairs.tolist(), strengths.tolist(), strict=True)])

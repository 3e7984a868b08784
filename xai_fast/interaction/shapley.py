"""Shapley interactions, exactly, by the library shapiq (extra ``compare``).

The game of a row: a coalition's value is the mean of F over background rows in which the coalition's features are those
of the row (features are taken as independent). All 2^features coalitions are evaluated, so this is for tables of few
features. Index: "SII" (Grabisch and Roubens, 1999), "k-SII" (Bordt and von Luxburg, 2023), "STII" (Sundararajan et al.,
2020) or "FSII" (Tsai et al., 2023).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.checks import check_eval_mode
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.errors import bad_argument
from xai_fast.interaction.strengths import Strengths, needs, ranked
from xai_fast.interaction.table import read_table

__all__ = ["INDICES", "MAX_FEATURES", "shapley_interactions"]

INDICES = ("SII", "k-SII", "STII", "FSII")
MAX_FEATURES = 16
_ROWS_AT_ONCE = 1 << 16


def shapley_interactions(
    model: nn.Module,
    rows: Tensor,
    background: Tensor,
    *,
    order: int = 2,
    index: str = "SII",
    score: str = "logit",
    target: Target = None,
) -> Strengths:
    """Compute the mean absolute Shapley interaction of every set over some rows.

    Args:
        model: in evaluation mode, (rows, features) to (rows, classes), (rows, 1) or (rows,).
        rows: (rows, features), at most 16 features.
        background: (background rows, features), whose values stand in for features that are absent; the cost is
            rows x background rows x 2^features evaluations of the model.
        order: features a set, at most.
        index: one of `INDICES`.
        score: F: "logit", "probability" or "log_probability" of the target.
        target: see `xai_fast.engine.objective.Objective`; needed where there are several classes and rows differ.

    Returns:
        All sets of two features or more up to the order, the strongest first.

    Raises:
        InputError: an argument does not fit, or shapiq is not installed.
    """
    shapiq = needs("shapiq", "shapiq", "the Shapley interactions")
    check_choice("index", index, INDICES)
    check_choice("score", score, SCORES)
    x, others = read_table("rows", rows).values, read_table("background", background).values
    features = x.shape[1]
    if features > MAX_FEATURES:
        raise bad_argument("rows", f"at most {MAX_FEATURES} features, for all coalitions are tried", str(features))
    if others.shape[1] != features:
        raise bad_argument("background", f"{features} features, like the rows", str(others.shape[1]))
    check_integer("order", order, 2, features)
    check_eval_mode(model)
    objective = Objective(target, score)
    total: dict[tuple[int, ...], float] = {}
    for row in x:
        game = _Game(model, objective, row, others.to(x))
        values = shapiq.ExactComputer(game, n_players=features)(index, order=order)
        for features_of, value in values.dict_values.items():
            if len(features_of) >= 2:
                total[features_of] = total.get(features_of, 0.0) + abs(float(value)) / len(x)
    return ranked(total)


class _Game:
    """Value of each coalition at one row."""

    def __init__(self, model: nn.Module, objective: Objective, row: Tensor, background: Tensor) -> None:
        self.model, self.objective, self.row, self.background = model, objective, row, background
        with torch.no_grad():  # the class is the row's, whoever is absent
            self.target = objective.targets(model(row[None]), start=0, batch=1)

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        present = torch.from_numpy(np.atleast_2d(coalitions).astype(bool)).to(self.row.device)
        return np.concatenate([self._values(part) for part in torch.split(present, self._at_once)])

    @property
    def _at_once(self) -> int:
        return max(1, _ROWS_AT_ONCE // len(self.background))

    def _values(self, present: Tensor) -> np.ndarray:
        mixed = torch.where(present[:, None, :], self.row, self.background).flatten(0, 1)
        with torch.no_grad():
            outputs = self.model(mixed)
            scores = self.objective(outputs, None if self.target is None else self.target.expand(len(mixed)))
        values: np.ndarray = scores.double().view(len(present), -1).mean(1).cpu().numpy()
        return values

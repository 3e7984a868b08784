"""Shapley interactions, exactly, by the library shapiq (extra ``compare``).

The game of a row: a coalition's value is the mean of F over background rows in which the coalition's features are those
of the row (features are taken as independent). All 2^features coalitions are evaluated, so this is for tables of few
features. Index: "SII" (Grabisch and Roubens, 1999), "k-SII" (Bordt and von Luxburg, 2023), "STII" (Sundararajan et al.,
2020) or "FSII" (Tsai et al., 2023).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.errors import bad_argument, needs
from xai_fast.interaction.detector import Detector, Groups
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table, like_model, read_rows_like

__all__ = ["INDICES", "MAX_FEATURES", "ShapleyInteractions"]

INDICES = ("SII", "k-SII", "STII", "FSII")
MAX_FEATURES = 16
_ROWS_AT_ONCE = 1 << 16


class ShapleyInteractions(Detector):
    """The mean absolute Shapley interaction over the rows, of all sets of two features or more up to an order.

    The spread is over the rows. With ``target=None`` the class that is explained is the one that is predicted at the
    row, whichever features are absent.

    Cost: ``rows * (1 + background * 2**features)`` evaluations.
    Limits: mixes of rows are unlike any data where features are correlated; at most 16 features.

    Args:
        model: in evaluation mode, (rows, features) to (rows, classes), (rows, 1) or (rows,); at most 16 features.
        background: (background rows, features), whose values stand in for features that are absent; None for the rows
            that are explained.
        order: features per set, at most.
        index: one of `INDICES`.
        score: F: "logit", "probability" or "log_probability" of the target.

    Raises:
        InputError: an option is out of range; in `detect`, shapiq is not installed.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        background: object = None,
        order: int = 2,
        index: str = "SII",
        score: str = "logit",
    ) -> None:
        super().__init__(model)
        self.background = background
        self.order = check_integer("order", order, 2, MAX_FEATURES)
        self.index = check_choice("index", index, INDICES)
        self.score = check_choice("score", score, SCORES)

    def _rank(self, table: Table, target: Target, groups: Groups) -> InteractionRanking:
        shapiq = needs("shapiq", "the Shapley interactions", "'xai-fast[compare]'")
        features = len(table.names)
        if features > MAX_FEATURES:
            raise bad_argument("rows", f"at most {MAX_FEATURES} features, for all coalitions are tried", str(features))
        check_integer("order", self.order, 2, features)
        others = table if self.background is None else read_rows_like("background", self.background, table)
        x, background = (like_model(self.model, t.values) for t in (table, others))
        objective = Objective(target, self.score)
        sets = [s for size in range(2, self.order + 1) for s in itertools.combinations(range(features), size)]
        sizes = []
        with torch.no_grad():
            classes = objective.targets(self.outputs(x), start=0, batch=len(x))
            for i, row in enumerate(x):
                game = _game(self.outputs, objective, None if classes is None else classes[i], row, background.to(row))
                values = shapiq.ExactComputer(game, n_players=features)(self.index, order=self.order).dict_values
                sizes.append([abs(float(values.get(members, 0.0))) for members in sets])
        effects, spread = (dict(zip(sets, of.tolist(), strict=True)) for of in (np.mean(sizes, 0), np.std(sizes, 0)))
        return InteractionRanking.from_effects(table.names, effects, spread)


def _game(
    outputs: Callable[[Tensor], object], objective: Objective, target: Tensor | None, row: Tensor, background: Tensor
) -> Callable[[np.ndarray], np.ndarray]:
    """Make the function from coalitions at a row to their values."""

    def values(present: Tensor) -> Tensor:
        mixed = torch.where(present[:, None, :], row, background).flatten(0, 1)
        scores = objective(outputs(mixed), None if target is None else target.expand(len(mixed)))
        return scores.double().view(len(present), -1).mean(1).cpu()

    def game(coalitions: np.ndarray) -> np.ndarray:
        present = torch.from_numpy(np.atleast_2d(coalitions).astype(bool)).to(row.device)
        at_once = max(1, _ROWS_AT_ONCE // len(background))
        return torch.cat([values(part) for part in torch.split(present, at_once)]).numpy()

    return game

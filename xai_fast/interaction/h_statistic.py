"""Friedman's H statistic: the share of what two features do together that is not the sum of what each does.

Source: Friedman and Popescu, "Predictive learning via rule ensembles", Annals of Applied Statistics 2008, Eq. 44:

    H_jk^2 = sum over rows of (PD_jk - PD_j - PD_k)^2 / sum over rows of PD_jk^2

with the partial dependences PD centred, of any model. `xai_fast.interaction.rulefit` has the model of that paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.objective import SCORES, Objective, Target
from xai_fast.errors import ModelError, bad_argument
from xai_fast.interaction.detector import Detector, Effects, Groups, all_pairs
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table, like_model

__all__ = ["HStatistic", "Predict", "h_statistics", "some_rows"]

_ROWS_AT_ONCE = 1 << 17
_FLOOR = 1e-12
"""Where both features do less than this share of the model's variance together, H counts as zero."""

Predict = Callable[[np.ndarray], np.ndarray]


class HStatistic(Detector):
    """H of every pair of features.

    As partial dependences mix the values of rows, the target is one for all rows: an int or a callable where the model
    has several outputs.

    Cost: ``sample + sample**2 * features * (features + 1) / 2`` evaluations, of at most ``sample`` rows.
    Limits: pairs only, without sign; mixes of rows are unlike any data where features are correlated.

    Args:
        model: in evaluation mode, (rows, features) to (rows, classes), (rows, 1) or (rows,), tensors or arrays.
        sample: random rows, at most, over which partial dependences are averaged and compared.
        normalized: divide as above, and take the root; else give the root mean square of the numerator, in the units of
            the score, which does not blow up pairs of features that do next to nothing.
        score: "logit", "probability" or "log_probability" of the target.
        seed: of the random rows.

    Raises:
        InputError: an option is out of range.
    """

    name = "h_statistic"

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        sample: int = 100,
        normalized: bool = True,
        score: str = "logit",
        seed: int = 0,
    ) -> None:
        super().__init__(model)
        self.sample = check_integer("sample", sample, 2)
        self.normalized = normalized
        self.score = check_choice("score", score, SCORES)
        self.seed = check_integer("seed", seed, 0)

    def _rank(self, table: Table, target: Target, groups: Groups) -> InteractionRanking:
        if target is not None and not callable(target) and np.ndim(target):
            raise bad_argument("target", "one class for all rows, or a callable", "a class for each row")
        objective = Objective(target, self.score)

        def predict(rows: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                outputs = self.outputs(like_model(self.model, torch.from_numpy(rows).to(table.values)))
                classes = objective.targets(outputs, start=0, batch=len(rows))
                if target is None and classes is not None:
                    raise bad_argument("target", "a class or a callable, since there are several outputs", "None")
                scores: np.ndarray = objective(outputs, classes).double().cpu().numpy()
            return scores

        rows = some_rows(table.values.double().cpu().numpy(), self.sample, self.seed)
        return InteractionRanking.from_effects(table.names, h_statistics(predict, rows, self.normalized))


def some_rows(rows: np.ndarray, sample: int, seed: int) -> np.ndarray:
    """Draw at most so many rows."""
    return rows[np.random.default_rng(seed).permutation(len(rows))[:sample]]


def h_statistics(predict: Predict, rows: np.ndarray, normalized: bool) -> Effects:
    """Compute H of every pair, with a function from (rows, features) float64 to (rows,)."""
    if len(rows) < 2:
        raise bad_argument("rows", "two rows or more", len(rows))
    alone = [_partial_dependence(predict, rows, [j]) for j in range(rows.shape[1])]
    variance = float(np.var(_predictions(predict, rows)))
    effects: Effects = {}
    for j, k in all_pairs(rows.shape[1]).tolist():
        both = _partial_dependence(predict, rows, [j, k])
        rest, whole = float(np.mean((both - alone[j] - alone[k]) ** 2)), float(np.mean(both**2))
        if normalized:
            effects[j, k] = (rest / whole) ** 0.5 if whole > _FLOOR * variance else 0.0
        else:
            effects[j, k] = rest**0.5
    return effects


def _predictions(predict: Predict, rows: np.ndarray) -> np.ndarray:
    values = np.asarray(predict(rows), dtype=np.float64)
    if values.shape != (len(rows),) or not np.isfinite(values).all():
        raise ModelError(f"model: expected finite scores ({len(rows)},), got {values.shape}, or NaN or infinity")
    return values


def _partial_dependence(predict: Predict, rows: np.ndarray, features: list[int]) -> np.ndarray:
    """Average the prediction over all rows, with these features as in each row in turn; centred, (rows,)."""
    count, width = rows.shape
    at_once = max(1, _ROWS_AT_ONCE // count)
    parts = []
    for start in range(0, count, at_once):
        fixed = rows[start : start + at_once, None, features]
        mixed = np.broadcast_to(rows, (len(fixed), count, width)).copy()
        mixed[:, :, features] = fixed
        parts.append(_predictions(predict, mixed.reshape(-1, width)).reshape(len(fixed), count).mean(1))
    dependence: np.ndarray = np.concatenate(parts)
    dependence -= dependence.mean()
    return dependence

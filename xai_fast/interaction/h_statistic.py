"""Friedman's H statistic: the share of what two features do together that is not the sum of what each does.

Source: Friedman and Popescu, "Predictive learning via rule ensembles", Annals of Applied Statistics 2008, Eq. 44:

    H_jk^2 = sum over rows of (PD_jk - PD_j - PD_k)^2 / sum over rows of PD_jk^2

with the partial dependences PD centred, of any model. `xai_fast.interaction.rulefit` has the model of that paper.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xai_fast.errors import bad_argument
from xai_fast.interaction.strengths import Strengths, all_pairs, ranked

__all__ = ["h_statistic"]

_ROWS_AT_ONCE = 1 << 17
_FLOOR = 1e-12
"""Where both features do less than this share of the model's variance together, H counts as zero."""

Predict = Callable[[np.ndarray], np.ndarray]


def h_statistic(predict: Predict, x: object, *, normalized: bool = True) -> Strengths:
    """Compute H of every pair.

    Args:
        predict: (rows, features) to (rows,).
        x: (rows, features), over which partial dependences are averaged and compared; the cost is features^2 / 2 times
            rows^2 predictions, so a hundred rows will do.
        normalized: divide as above, and take the root; else give the root mean square of the numerator, in the units of
            the prediction, which does not blow up pairs of features that do next to nothing.

    Returns:
        All pairs, the strongest first.

    Raises:
        InputError: an argument does not fit, or a prediction is not finite.
    """
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2 or len(rows) < 2 or not np.isfinite(rows).all():
        raise bad_argument("x", "finite (rows, features), two or more of each", str(rows.shape))
    alone = [_partial_dependence(predict, rows, [j]) for j in range(rows.shape[1])]
    variance = float(np.var(_predictions(predict, rows)))
    strengths = {}
    for j, k in all_pairs(rows.shape[1]).tolist():
        both = _partial_dependence(predict, rows, [j, k])
        rest, whole = float(np.mean((both - alone[j] - alone[k]) ** 2)), float(np.mean(both**2))
        if normalized:
            strengths[j, k] = (rest / whole) ** 0.5 if whole > _FLOOR * variance else 0.0
        else:
            strengths[j, k] = rest**0.5
    return ranked(strengths)


def _predictions(predict: Predict, rows: np.ndarray) -> np.ndarray:
    values = np.asarray(predict(rows), dtype=np.float64)
    if values.shape != (len(rows),) or not np.isfinite(values).all():
        raise bad_argument("predict", f"finite values ({len(rows)},)", f"{values.shape}, or NaN or infinity")
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

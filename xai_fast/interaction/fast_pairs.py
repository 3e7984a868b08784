"""FAST: how much a pair of features, cut into four quadrants, explains of what an additive model leaves.

Source: Lou, Caruana, Gehrke and Hooker, "Accurate intelligible models with pairwise interactions" (GA2M), KDD 2013,
section 4. It is the successor, by the same group, of the additive groves of Sorokina et al. (2008), which have no
maintained implementation; both ask what an additive model cannot fit. The additive model and FAST are those of
interpret-core (explainable boosting machines, extra ``compare``).
"""

from __future__ import annotations

from xai_fast.arguments import check_integer
from xai_fast.interaction.strengths import Strengths, needs, ranked, read_regression

__all__ = ["fast_pairs"]


def fast_pairs(x: object, y: object, *, rounds: int = 2000, seed: int = 0) -> Strengths:
    """Fit an additive model, and measure every pair on its residuals.

    Args:
        x: (rows, features), an array or a tensor.
        y: (rows,).
        rounds: of boosting at most, for the additive model.
        seed: of the additive model.

    Returns:
        All pairs, the strongest first.

    Raises:
        InputError: the table does not fit, or interpret-core is not installed.
    """
    glass = needs("interpret.glassbox", "interpret-core", "FAST")
    utils = needs("interpret.utils", "interpret-core", "FAST")
    table, target = read_regression(x, y)
    additive = glass.ExplainableBoostingRegressor(
        interactions=0,
        outer_bags=1,
        validation_size=0.15,
        max_rounds=check_integer("rounds", rounds, 1),
        n_jobs=1,
        random_state=seed,
    )
    additive.fit(table, target)
    measured = utils.measure_interactions(table, target, init_score=additive.predict(table), objective="rmse")
    return ranked([(tuple(sorted(int(i) for i in pair)), float(strength)) for pair, strength in measured])

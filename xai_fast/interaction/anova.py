"""Analysis of variance: an F test for the product of every two features in one linear model.

Source: the baseline of Tsang, Cheng and Liu (ICLR 2018), after Wonnacott and Wonnacott, "Introductory statistics",
1972: y is regressed on all features and all products of two, and a product's F statistic says how much worse the model
is without it. Fitted by statsmodels (extra ``compare``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xai_fast.errors import bad_argument
from xai_fast.interaction.strengths import Strengths, all_pairs, needs, ranked, read_regression

__all__ = ["PairTests", "anova_pairs"]


@dataclass(frozen=True)
class PairTests:
    """Tests of all pairs.

    Attributes:
        statistic: F of each pair, the largest first; one and ``freedom`` degrees of freedom.
        p_value: of each pair, in the same order.
        freedom: degrees of freedom of the residuals.
    """

    statistic: Strengths
    p_value: dict[tuple[int, ...], float]
    freedom: int


def anova_pairs(x: object, y: object) -> PairTests:
    """Test the product of every two features.

    Args:
        x: (rows, features), an array or a tensor; scaled here to mean 0 and standard deviation 1, so that a product is
            not a stand-in for its factors.
        y: (rows,).

    Returns:
        The tests.

    Raises:
        InputError: there are too few rows, a feature is constant, products depend on one another (as those of copied
            features do), or statsmodels is not installed.
    """
    api = needs("statsmodels.api", "statsmodels", "the analysis of variance")
    table, target = read_regression(x, y)
    rows, features = table.shape
    terms = 1 + features + features * (features - 1) // 2
    if rows <= terms:
        raise bad_argument("x", f"more rows than the {terms} terms of the model", f"{rows} rows")
    spread = table.std(0)
    if not (spread > 0).all():
        raise bad_argument("x", "features that vary", f"feature {int(np.argmin(spread))}, constant")
    table = (table - table.mean(0)) / spread
    pairs = all_pairs(features).numpy()
    design = np.column_stack([np.ones(rows), table, table[:, pairs[:, 0]] * table[:, pairs[:, 1]]])
    if np.linalg.matrix_rank(design) < terms:
        raise bad_argument("x", "features whose products are linearly independent", "copies or sums of one another")
    fit = api.OLS(target, design).fit()
    # The F of leaving out one term is the square of its t.
    products = slice(1 + features, None)
    names: list[tuple[int, ...]] = [(int(i), int(j)) for i, j in pairs]
    statistic = ranked(list(zip(names, (fit.tvalues[products] ** 2).tolist(), strict=True)))
    p_values = dict(zip(names, fit.pvalues[products].tolist(), strict=True))
    return PairTests(statistic, {pair: p_values[pair] for pair in statistic}, int(fit.df_resid))

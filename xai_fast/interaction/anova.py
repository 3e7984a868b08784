"""Analysis of variance: an F test for the product of every two features in one linear model.

Source: the baseline of Tsang, Cheng and Liu (ICLR 2018), after Wonnacott and Wonnacott, "Introductory statistics",
1972: y is regressed on all features and all products of two, and a product's F statistic says how much worse the model
is without it. Fitted by statsmodels (extra ``compare``).
"""

from __future__ import annotations

import numpy as np

from xai_fast.errors import bad_argument, needs
from xai_fast.interaction.detector import Detector, Groups, all_pairs, read_regression
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table

__all__ = ["ANOVA"]


class ANOVA(Detector):
    """F statistics of the products of two features.

    ``detect(rows, target)`` takes the column y as its target. Features are scaled to mean 0 and standard deviation 1,
    so that a product is not a stand-in for its factors. The ranking's fact "degrees_of_freedom" is that of the
    residuals: the p value of an effect is ``scipy.stats.f.sf(effect, 1, degrees_of_freedom)``.

    Cost: a least squares fit of ``1 + features * (features + 1) / 2`` terms.
    Limits: misses what is no product, such as ``|x - y|``; pairs only, and more rows than terms.

    Raises:
        InputError: in `detect`: there are too few rows, a feature is constant, products depend on one another (as those
            of copied features do), or statsmodels is not installed.
    """

    def __init__(self) -> None:
        super().__init__()

    def _rank(self, table: Table, target: object, groups: Groups) -> InteractionRanking:
        api = needs("statsmodels.api", "the analysis of variance", "'xai-fast[compare]'")
        x, y = read_regression(table, target, varying=True)
        count, features = x.shape
        terms = 1 + features + features * (features - 1) // 2
        if count <= terms:
            raise bad_argument("rows", f"more rows than the {terms} terms of the model", f"{count} rows")
        x = (x - x.mean(0)) / x.std(0)
        pairs = all_pairs(features).numpy()
        design = np.column_stack([np.ones(count), x, x[:, pairs[:, 0]] * x[:, pairs[:, 1]]])
        if np.linalg.matrix_rank(design) < terms:
            raise bad_argument("rows", "features whose products are linearly independent", "copies or sums")
        fit = api.OLS(y, design).fit()
        # The F of leaving out one term is the square of its t.
        effects = dict(zip(map(tuple, pairs.tolist()), (fit.tvalues[1 + features :] ** 2).tolist(), strict=True))
        facts = {"degrees_of_freedom": int(fit.df_resid)}
        return InteractionRanking.from_effects(table.names, effects, facts=facts)

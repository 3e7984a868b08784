"""RuleFit: a sparse linear model of the rules of boosted trees, and the H statistics of its pairs.

Source: Friedman and Popescu, "Predictive learning via rule ensembles", Annals of Applied Statistics 2008. Every node of
every tree but the roots is a rule, 0 or 1; each feature is there as it is, too; a lasso chooses among them. Trees and
lasso are scikit-learn's (extra ``compare``). The library imodels has RuleFit as well; it takes a hundred times as long.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from xai_fast.arguments import check_integer
from xai_fast.errors import needs
from xai_fast.interaction.detector import Detector, Groups, read_regression
from xai_fast.interaction.h_statistic import Predict, h_statistics, some_rows
from xai_fast.interaction.interaction_ranking import InteractionRanking
from xai_fast.interaction.table import Table

__all__ = ["RuleFit"]

_LINEAR_SCALE = 0.4
"""Standard deviation that features are given, about that of a rule that half of the rows follow (section 5)."""


class RuleFit(Detector):
    """H statistic of every pair of features in a RuleFit model.

    ``detect(rows, target)`` takes the column y as its target. The ranking's fact "r2" says how well the model fits the
    rows it was fitted to.

    Cost: a fit of ``trees`` trees and a lasso, then that of `HStatistic`.
    Limits: explains the trees that it fits, see "r2"; pairs only.

    Args:
        trees: how many.
        leaves: per tree, at most; the paper's trees have 4 on average.
        sample: random rows for the partial dependences.
        normalized: see `xai_fast.interaction.HStatistic`.
        seed: of the trees, each of which sees half of the rows, and of the random rows.

    Raises:
        InputError: an option is out of range; in `detect`, a feature is constant, or scikit-learn is not installed.
    """

    name = "rulefit"

    def __init__(
        self, *, trees: int = 100, leaves: int = 4, sample: int = 60, normalized: bool = False, seed: int = 0
    ) -> None:
        super().__init__()
        self.trees = check_integer("trees", trees, 1)
        self.leaves = check_integer("leaves", leaves, 2)
        self.sample = check_integer("sample", sample, 2)
        self.normalized = normalized
        self.seed = check_integer("seed", seed, 0)

    def _rank(self, table: Table, target: object, groups: Groups) -> InteractionRanking:
        x, y = read_regression(table, target, varying=True)
        predict = self._fitted(x, y)
        effects = h_statistics(predict, some_rows(x, self.sample, self.seed), self.normalized)
        facts = {"r2": 1 - float(np.var(y - predict(x)) / np.var(y))}
        return InteractionRanking.from_effects(table.names, effects, facts=facts)

    def _fitted(self, x: np.ndarray, y: np.ndarray) -> Predict:
        ensemble = needs("sklearn.ensemble", "RuleFit", "'xai-fast[compare]'")
        lasso = needs("sklearn.linear_model", "RuleFit", "'xai-fast[compare]'").LassoCV(cv=3, alphas=20, tol=1e-3)
        trees = ensemble.GradientBoostingRegressor(
            n_estimators=self.trees,
            max_leaf_nodes=self.leaves,
            max_depth=None,
            subsample=0.5,
            random_state=self.seed,
        )
        center, scale = x.mean(0), _LINEAR_SCALE / x.std(0)
        trees.fit(x, y)

        def terms(rows: np.ndarray) -> np.ndarray:
            rules: list[Any] = [tree.decision_path(rows)[:, 1:].toarray() for tree in trees.estimators_[:, 0]]
            return np.concatenate([(rows - center) * scale, *rules], axis=1)

        with warnings.catch_warnings():  # the weakest penalties need not converge to be compared
            warnings.filterwarnings("ignore", category=UserWarning)
            lasso.fit(terms(x), y)
        return lambda rows: lasso.predict(terms(rows))

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
from xai_fast.errors import bad_argument
from xai_fast.interaction.h_statistic import h_statistic
from xai_fast.interaction.strengths import Strengths, needs, read_regression

__all__ = ["RuleFit", "rulefit_pairs"]

_LINEAR_SCALE = 0.4
"""Standard deviation that features are given, about that of a rule that half of the rows follow (section 5)."""


class RuleFit:
    """The model.

    Args:
        trees: how many.
        leaves: of a tree, at most; the paper's trees have 4 on average.
        seed: of the trees, each of which sees half of the rows, and of the lasso's folds.

    Raises:
        InputError: an option is out of range, or scikit-learn is not installed.
    """

    def __init__(self, *, trees: int = 100, leaves: int = 4, seed: int = 0) -> None:
        ensemble = needs("sklearn.ensemble", "scikit-learn", "RuleFit")
        self._lasso = needs("sklearn.linear_model", "scikit-learn", "RuleFit").LassoCV(cv=3, alphas=20, tol=1e-3)
        self._trees = ensemble.GradientBoostingRegressor(
            n_estimators=check_integer("trees", trees, 1),
            max_leaf_nodes=check_integer("leaves", leaves, 2),
            max_depth=None,
            subsample=0.5,
            random_state=seed,
        )

    def fit(self, x: object, y: object) -> RuleFit:
        """Fit trees, then the lasso over their rules.

        Args:
            x: (rows, features), an array or a tensor.
            y: (rows,).

        Returns:
            This object.

        Raises:
            InputError: the table does not fit, or a feature is constant.
        """
        table, target = read_regression(x, y)
        self._center, spread = table.mean(0), table.std(0)
        if not (spread > 0).all():
            raise bad_argument("x", "features that vary", f"feature {int(np.argmin(spread))}, constant")
        self._scale = _LINEAR_SCALE / spread
        self._trees.fit(table, target)
        with warnings.catch_warnings():  # the weakest penalties need not converge to be compared
            warnings.filterwarnings("ignore", category=UserWarning)
            self._lasso.fit(self._terms(table), target)
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predict, (rows, features) to (rows,)."""
        prediction: np.ndarray = self._lasso.predict(self._terms(np.asarray(x, dtype=np.float64)))
        return prediction

    def _terms(self, table: np.ndarray) -> np.ndarray:
        rules: list[Any] = [tree.decision_path(table)[:, 1:].toarray() for tree in self._trees.estimators_[:, 0]]
        return np.concatenate([(table - self._center) * self._scale, *rules], axis=1)


def rulefit_pairs(
    x: object, y: object, *, trees: int = 100, rows: int = 60, normalized: bool = False, seed: int = 0
) -> Strengths:
    """Fit RuleFit, and compute the H statistic of every pair in it.

    Args:
        x: (rows, features), an array or a tensor.
        y: (rows,).
        trees: of the ensemble.
        rows: random rows for the partial dependences.
        normalized: see `xai_fast.interaction.h_statistic.h_statistic`.
        seed: of the fit and the rows.

    Returns:
        All pairs, the strongest first.
    """
    model = RuleFit(trees=trees, seed=seed).fit(x, y)
    table, _ = read_regression(x, y)
    chosen = np.random.default_rng(seed).permutation(len(table))[: check_integer("rows", rows, 2)]
    return h_statistic(model.predict, table[chosen], normalized=normalized)

"""Methods that fit a model of their own to a table: the analysis of variance, hierarchical lasso, RuleFit, FAST."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from xai_fast.errors import InputError
from xai_fast.interaction.anova import anova_pairs
from xai_fast.interaction.fast_pairs import fast_pairs
from xai_fast.interaction.h_statistic import h_statistic
from xai_fast.interaction.hierarchical_lasso import _one_row, hierarchical_lasso
from xai_fast.interaction.rulefit import RuleFit, rulefit_pairs


def table(rows: int = 400, features: int = 4, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Features of different units, and y = x0 x1 + main effects + noise in these units' terms."""
    generator = np.random.default_rng(rows)
    normal = generator.normal(size=(rows, features))
    y = 2 * normal[:, 0] * normal[:, 1] + normal[:, 2] + 0.5 * normal[:, 0] + noise * generator.normal(size=rows)
    return normal * np.arange(1, features + 1) + 7, y


def test_anova_is_the_f_test_of_leaving_a_product_out() -> None:
    pytest.importorskip("statsmodels")
    stats = pytest.importorskip("scipy.stats")
    x, y = table()
    got = anova_pairs(x, y)
    normal = (x - x.mean(0)) / x.std(0)
    pairs = list(itertools.combinations(range(4), 2))

    def residual(products: list[tuple[int, int]]) -> float:
        design = np.column_stack([np.ones(len(x)), normal, *(normal[:, i] * normal[:, j] for i, j in products)])
        return float(np.linalg.lstsq(design, y, rcond=None)[1][0])

    freedom = len(x) - 1 - 4 - len(pairs)
    assert got.freedom == freedom
    for pair in pairs:
        without = residual([p for p in pairs if p != pair])
        statistic = (without - residual(pairs)) / (residual(pairs) / freedom)
        assert got.statistic[pair] == pytest.approx(statistic, rel=1e-6)
        assert got.p_value[pair] == pytest.approx(stats.f.sf(statistic, 1, freedom), rel=1e-6, abs=1e-300)
    assert next(iter(got.statistic)) == next(iter(got.p_value)) == (0, 1)


def objective(
    theta: np.ndarray, plus: float, minus: float, at: tuple[np.ndarray, float, float], penalty: float
) -> float:
    distance = ((theta - at[0]) ** 2).sum() + (plus - at[1]) ** 2 + (minus - at[2]) ** 2
    return 0.5 * distance + penalty * (plus + minus) + penalty / 2 * np.abs(theta).sum()


@pytest.mark.parametrize("seed", range(8))
def test_the_proximal_map_is_the_least_of_its_objective(seed: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(3, 3, dtype=torch.float64, generator=generator)
    plus, minus = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    penalty = 0.1 * (seed % 4)
    got = _one_row(plus, minus, theta, penalty)
    assert float(got.theta.diagonal().abs().max()) == 0
    for j in range(3):
        others = [k for k in range(3) if k != j]
        at = (theta[j, others].numpy(), float(plus[j]), float(minus[j]))
        found = got.theta[j, others].numpy()
        assert np.abs(found).sum() <= float(got.plus[j] + got.minus[j]) + 1e-12
        value = objective(found, float(got.plus[j]), float(got.minus[j]), at, penalty)
        # Theta as the difference of two positive parts makes it a smooth problem with linear constraints.
        best = optimize.minimize(
            lambda v, at=at: objective(v[:2] - v[2:4], v[4], v[5], at, penalty),
            np.full(6, 0.1),
            bounds=[(0, None)] * 6,
            constraints={"type": "ineq", "fun": lambda v: v[4] + v[5] - v[:4].sum()},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert value == pytest.approx(best.fun, abs=1e-6)


def test_the_hierarchical_lasso_finds_the_product_and_keeps_the_hierarchy() -> None:
    x, y = table()
    got = hierarchical_lasso(x, y, penalties=8, iterations=100)
    pairs = got.pairs()
    assert next(iter(pairs)) == (0, 1)
    assert pairs[0, 1] > 20 * sorted(pairs.values())[-2]
    scale = y[:320].std()
    assert got.interaction[0, 1].item() == pytest.approx(2 / scale, rel=0.1)
    assert got.main[2].item() == pytest.approx(1 / scale, rel=0.1)
    assert got.validation_error[0] > 5 * min(got.validation_error)
    same = hierarchical_lasso(torch.from_numpy(x), torch.from_numpy(y), penalties=8, iterations=100)
    assert torch.equal(same.interaction, got.interaction)


def test_the_hierarchical_lasso_with_the_largest_penalty_has_nothing() -> None:
    x, y = table()
    got = hierarchical_lasso(x, np.random.default_rng(0).normal(size=len(y)), penalties=8, iterations=100)
    assert float(got.interaction.abs().max()) < 0.1  # noise


def test_h_is_one_for_a_product_and_zero_for_a_sum() -> None:
    x, _ = table(60)
    x = np.concatenate([x, 14 - x])  # symmetric, yet a product of factors that are not centred has main effects

    def predict(rows: np.ndarray) -> np.ndarray:
        return (rows[:, 0] - x[:, 0].mean()) * (rows[:, 1] - x[:, 1].mean()) + np.sin(rows[:, 2]) + rows[:, 3]

    got = h_statistic(predict, x)
    # Partial dependences of centred factors vanish, so all of PD_01 but its mean is interaction.
    assert got[0, 1] == pytest.approx(1, abs=1e-9)
    assert max(value for pair, value in got.items() if pair != (0, 1)) < 1e-7
    raw = h_statistic(predict, x, normalized=False)
    product = (x[:, 0] - x[:, 0].mean()) * (x[:, 1] - x[:, 1].mean())
    assert raw[0, 1] == pytest.approx(product.std(), rel=1e-9)


def test_h_is_the_definition_on_a_function_with_everything() -> None:
    x, _ = table(12, 3)

    def predict(rows: np.ndarray) -> np.ndarray:
        return rows[:, 0] * rows[:, 1] + np.exp(rows[:, 1] / 8) * rows[:, 2]

    def dependence(features: tuple[int, ...]) -> np.ndarray:
        values = []
        for row in x:
            mixed = x.copy()
            mixed[:, list(features)] = row[list(features)]
            values.append(predict(mixed).mean())
        return np.array(values) - np.mean(values)

    for (j, k), value in h_statistic(predict, x).items():
        both = dependence((j, k))
        rest = both - dependence((j,)) - dependence((k,))
        assert value == pytest.approx(np.sqrt((rest**2).sum() / (both**2).sum()), rel=1e-9, abs=1e-7)


def test_rulefit_fits_and_finds_the_product() -> None:
    pytest.importorskip("sklearn")
    x, y = table(1500)
    model = RuleFit().fit(x[:1000], y[:1000])
    assert 1 - np.var(y[1000:] - model.predict(x[1000:])) / np.var(y[1000:]) > 0.8
    got = rulefit_pairs(x, y, trees=50, rows=40)
    assert next(iter(got)) == (0, 1)
    assert len(got) == 6
    assert got == rulefit_pairs(torch.from_numpy(x), torch.from_numpy(y), trees=50, rows=40)


def test_fast_finds_the_product() -> None:
    pytest.importorskip("interpret")
    x, y = table(1500)
    got = fast_pairs(x, y)
    assert next(iter(got)) == (0, 1)
    assert sorted(got) == list(itertools.combinations(range(4), 2))
    assert got[0, 1] > 5 * sorted(got.values())[-2]


X, Y = table(50)
COPIED = X[:, [0, 1, 2, 2]]
CONSTANT = np.concatenate([X, np.ones((50, 1))], 1)


@pytest.mark.parametrize(
    ("call", "message", "library"),
    [
        (lambda: anova_pairs(X[:10], Y[:10]), "more rows than the 11 terms", "statsmodels"),
        (lambda: anova_pairs(COPIED, Y), "linearly independent", "statsmodels"),
        (lambda: anova_pairs(CONSTANT, Y), "feature 4, constant", "statsmodels"),
        (lambda: hierarchical_lasso(X, Y, penalties=1), "penalties: expected an integer", "torch"),
        (lambda: hierarchical_lasso(X, Y, validation=1.0), "validation: expected a share", "torch"),
        (lambda: hierarchical_lasso(CONSTANT, Y), "that vary", "torch"),
        (lambda: hierarchical_lasso(X, np.ones(50)), "that vary", "torch"),
        (lambda: h_statistic(lambda rows: rows, X), "predict: expected finite values", "torch"),
        (lambda: h_statistic(lambda rows: rows[:, 0], X[:1]), "two or more of each", "torch"),
        (lambda: rulefit_pairs(CONSTANT, Y), "feature 4, constant", "sklearn"),
        (lambda: rulefit_pairs(X, Y, rows=1), "rows: expected an integer", "sklearn"),
        (lambda: fast_pairs(X, Y, rounds=0), "rounds: expected an integer", "interpret"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], message: str, library: str) -> None:
    pytest.importorskip(library)
    with pytest.raises(InputError, match=message):
        call()

"""Methods that fit a model of their own to a table, and the H statistic against its definition."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from rankings import effects_of

from xai_fast import InputError, ModelError
from xai_fast.interaction import ANOVA, FAST, HierarchicalLasso, HStatistic, RuleFit
from xai_fast.interaction.hierarchical_lasso import _one_row


def table(rows: int = 400, features: int = 4, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Features of different units, and y = x0 x1 + main effects + noise in these units' terms."""
    generator = np.random.default_rng(rows)
    normal = generator.normal(size=(rows, features))
    y = 2 * normal[:, 0] * normal[:, 1] + normal[:, 2] + 0.5 * normal[:, 0] + noise * generator.normal(size=rows)
    return normal * np.arange(1, features + 1) + 7, y


def test_anova_is_the_f_test_of_leaving_a_product_out() -> None:
    pytest.importorskip("statsmodels")
    x, y = table()
    got = ANOVA().detect(x, y)
    normal = (x - x.mean(0)) / x.std(0)
    pairs = list(itertools.combinations(range(4), 2))

    def residual(products: list[tuple[int, int]]) -> float:
        design = np.column_stack([np.ones(len(x)), normal, *(normal[:, i] * normal[:, j] for i, j in products)])
        return float(np.linalg.lstsq(design, y, rcond=None)[1][0])

    freedom = len(x) - 1 - 4 - len(pairs)
    assert got.facts["degrees_of_freedom"] == freedom
    for pair in pairs:
        without = residual([p for p in pairs if p != pair])
        statistic = (without - residual(pairs)) / (residual(pairs) / freedom)
        assert got[pair].effect == pytest.approx(statistic, rel=1e-6)
    assert got.top(1)[0].indices == (0, 1)


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
    got = _one_row(torch.cat([plus[None], minus[None], theta]), penalty)
    assert float(got[2:].diagonal().abs().max()) == 0
    for j in range(3):
        others = [k for k in range(3) if k != j]
        at = (theta[j, others].numpy(), float(plus[j]), float(minus[j]))
        found = got[2 + j, others].numpy()
        assert np.abs(found).sum() <= float(got[0, j] + got[1, j]) + 1e-12
        value = objective(found, float(got[0, j]), float(got[1, j]), at, penalty)
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
    method = HierarchicalLasso(penalties=8, iterations=100)
    got = method.detect(x, y)
    pairs = got.order(2)
    assert pairs[0].indices == (0, 1)
    assert pairs[0].effect > 20 * abs(pairs[1].effect)
    scale = y[:320].std()
    assert pairs[0].effect == pytest.approx(2 / scale, rel=0.1)
    assert got[2].effect == pytest.approx(1 / scale, rel=0.1)
    errors = got.facts["validation_error"]
    assert errors[0] > 5 * min(errors)
    assert effects_of(method.detect(torch.from_numpy(x), torch.from_numpy(y))) == effects_of(got)


def test_the_hierarchical_lasso_of_noise_has_next_to_nothing() -> None:
    x, y = table()
    noise = np.random.default_rng(0).normal(size=len(y))
    got = HierarchicalLasso(penalties=8, iterations=100).detect(x, noise)
    assert got.order(2).strength.max() < 0.1


def test_h_is_one_for_a_product_and_zero_for_a_sum() -> None:
    x, _ = table(60)
    x = np.concatenate([x, 14 - x])  # symmetric, yet a product of factors that are not centred has main effects

    def predict(rows: torch.Tensor) -> torch.Tensor:
        return (rows[:, 0] - x[:, 0].mean()) * (rows[:, 1] - x[:, 1].mean()) + rows[:, 2].sin() + rows[:, 3]

    got = effects_of(HStatistic(predict, sample=120).detect(x))
    # Partial dependences of centred factors vanish, so all of PD_01 but its mean is interaction.
    assert got[0, 1] == pytest.approx(1, abs=1e-9)
    assert max(value for pair, value in got.items() if pair != (0, 1)) < 1e-7
    raw = effects_of(HStatistic(predict, sample=120, normalized=False).detect(x))
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

    # An array in the place of a tensor, as estimators of scikit-learn return them.
    method = HStatistic(lambda rows: predict(rows.numpy()))
    for (j, k), value in effects_of(method.detect(x)).items():
        both = dependence((j, k))
        rest = both - dependence((j,)) - dependence((k,))
        assert value == pytest.approx(np.sqrt((rest**2).sum() / (both**2).sum()), rel=1e-9, abs=1e-7)


def test_h_draws_rows_by_its_seed() -> None:
    x, _ = table(60)
    first, again, other = (
        effects_of(HStatistic(lambda rows: rows.prod(1), sample=10, seed=seed).detect(x)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_rulefit_fits_and_finds_the_product() -> None:
    pytest.importorskip("sklearn")
    x, y = table(1500)
    got = RuleFit(trees=50, sample=40).detect(x, y)
    assert 0.8 < got.facts["r2"] < 1
    assert got.top(1)[0].indices == (0, 1)
    assert len(got) == 6
    assert effects_of(got) == effects_of(RuleFit(trees=50, sample=40).detect(torch.from_numpy(x), torch.from_numpy(y)))


def test_fast_finds_the_product() -> None:
    pytest.importorskip("interpret")
    x, y = table(1500)
    got = FAST().detect(x, y)
    assert sorted(effects_of(got)) == list(itertools.combinations(range(4), 2))
    assert got.order(2)[0].indices == (0, 1)
    assert got.order(2)[0].effect > 5 * got.order(2)[1].effect


X, Y = table(50)
COPIED = X[:, [0, 1, 2, 2]]
CONSTANT = np.concatenate([X, np.ones((50, 1))], 1)


@pytest.mark.parametrize(
    ("call", "message", "library"),
    [
        (lambda: ANOVA().detect(X[:10], Y[:10]), "more rows than the 11 terms", "statsmodels"),
        (lambda: ANOVA().detect(COPIED, Y), "linearly independent", "statsmodels"),
        (lambda: ANOVA().detect(CONSTANT, Y), "'x4', constant", "statsmodels"),
        (lambda: HierarchicalLasso(penalties=1), "penalties: expected an integer", "torch"),
        (lambda: HierarchicalLasso(validation=1.0), "validation: expected a share", "torch"),
        (lambda: HierarchicalLasso().detect(CONSTANT, Y), "that vary", "torch"),
        (lambda: HierarchicalLasso().detect(X, np.ones(50)), "that vary", "torch"),
        (lambda: HStatistic(lambda rows: rows).detect(X), "target: expected a class", "torch"),
        (lambda: HStatistic(lambda rows: rows).detect(X, [0] * 50), "target: expected one class for all", "torch"),
        (lambda: HStatistic(lambda rows: rows[:, 0]).detect(X[:1]), "two rows or more", "torch"),
        (lambda: RuleFit().detect(CONSTANT, Y), "'x4', constant", "sklearn"),
        (lambda: RuleFit(sample=1), "sample: expected an integer", "sklearn"),
        (lambda: FAST(rounds=0), "rounds: expected an integer", "interpret"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], message: str, library: str) -> None:
    pytest.importorskip(library)
    with pytest.raises(InputError, match=message):
        call()


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ModelError, match="model: expected finite scores"):
        HStatistic(lambda rows: rows[:, 0] / 0).detect(X)

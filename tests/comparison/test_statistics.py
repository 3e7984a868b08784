"""The statistics of a comparison: literal references, hand-computed cases, and how often intervals cover the truth."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from literal_bootstrap import literal_interval
from torch import Tensor

from xai_fast.comparison.statistics import (
    agreement,
    bootstrap_means,
    holm,
    mean_and_error,
    paired_differences,
    pareto_front,
)

NAN = math.nan


def numbers(*values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def same(found: Tensor, expected: object, tolerance: float = 1e-9) -> bool:
    wanted = torch.as_tensor(expected, dtype=torch.float64)
    return torch.allclose(found.double(), wanted, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize(
    ("values", "mean", "error", "count"),
    [
        ((1.0, 2.0, 3.0), 2.0, 1 / math.sqrt(3), 3),
        ((1.0, NAN, 3.0), 2.0, 1.0, 2),
        ((NAN, 5.0, NAN), 5.0, NAN, 1),
        ((NAN, NAN), NAN, NAN, 0),
        ((1e9 + 1, 1e9 - 1), 1e9, 1.0, 2),
    ],
)
def test_means_leave_nan_out(values: tuple[float, ...], mean: float, error: float, count: int) -> None:
    assert same(torch.stack([one.double() for one in mean_and_error(numbers(*values))]), [mean, error, count])


@pytest.mark.parametrize("seed", [0, 3])
def test_intervals_are_those_of_the_literal_bootstrap(seed: int) -> None:
    samples = torch.stack([uniform(13, seed=1) - 0.4, uniform(13, seed=2) ** 3 - 0.4])
    found = bootstrap_means(samples, draws=399, seed=seed)
    expected = [literal_interval(sample.tolist(), 399, seed) for sample in samples]
    assert same(torch.stack([found.low, found.high, found.p]).T, expected)


def test_many_items_give_the_t_test() -> None:
    scipy = pytest.importorskip("scipy.stats")
    values = numbers(*(uniform(400) + 0.02).sub(0.55).tolist())
    found, test = bootstrap_means(values[None]), scipy.ttest_1samp(values.numpy(), 0)
    limits = test.confidence_interval()
    assert same(torch.stack([found.low, found.high, found.p])[:, 0], [*limits, test.pvalue], 0.007)


CONSTANT = {
    "no difference": ((0.0,) * 9, (0.0, 0.0, 0.0, 1.0)),
    "the same difference": ((1.0,) * 5, (1.0, 1.0, 1.0, 0.0625)),  # five signs alike: 2 / 2**5
    "one item": ((1.0,), (1.0, NAN, NAN, NAN)),
    "no item": ((NAN, NAN), (NAN, NAN, NAN, NAN)),
}


@pytest.mark.parametrize("case", CONSTANT)
def test_samples_without_a_variance(case: str) -> None:
    values, expected = CONSTANT[case]
    found = bootstrap_means(numbers(*values)[None])
    assert same(torch.stack(found[:4])[:, 0], expected)


def test_few_items_and_few_that_differ_have_the_interval_of_students_t() -> None:
    scipy = pytest.importorskip("scipy.stats")
    for values in ((0.3, 0.1, 0.6), (0.0,) * 19 + (1.0,)):
        found, test = bootstrap_means(numbers(*values)[None]), scipy.ttest_1samp(values, 0)
        assert same(torch.stack(found[1:4])[:, 0], [*test.confidence_interval(), test.pvalue], 0.03)


def exponential(*shape: int, seed: int) -> Tensor:
    return -uniform(*shape, seed=seed).log() - 1


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


DIFFERENCES: dict[str, Callable[..., Tensor]] = {
    "normal": normal,
    "skewed": exponential,
    "skewed, and mostly zero": lambda *shape, seed: (
        torch.where(uniform(*shape, seed=seed + 50) < 0.5, 0.0, exponential(*shape, seed=seed) + 1) - 0.5
    ),
}


@pytest.mark.parametrize("count", [20, 50, 200])
@pytest.mark.parametrize("kind", DIFFERENCES)
def test_95_percent_intervals_cover_the_truth_in_93_to_97_percent(kind: str, count: int) -> None:
    covered = []
    for seed in range(30):
        found = bootstrap_means(DIFFERENCES[kind](60, count, seed=seed), draws=799, seed=seed)
        covered.append((found.low <= 0) & (found.high >= 0))
    assert 0.93 <= torch.cat(covered).double().mean() <= 0.97


def test_pairs_are_compared_on_the_items_that_have_both() -> None:
    scores = torch.cat([uniform(4, 30), uniform(1, 30) + 1])
    scores[1, :10], scores[2, 5:] = NAN, NAN
    found, corrected = paired_differences(scores)
    for k, (a, b) in enumerate(itertools.combinations(scores, 2)):
        both = (a - b)[~(a - b).isnan()]
        assert same(torch.stack([found.mean[k], found.counts[k].double()]), [both.mean(), len(both)])
    assert same(corrected.p, holm(found.p)[0])
    agree = (corrected.p <= 0.05) == ((corrected.low > 0) | (corrected.high < 0))
    assert bool(agree[~found.p.isnan()].all())
    assert bool((corrected.p <= 0.05).any())
    wider = (corrected.high - corrected.low) / (found.high - found.low)
    assert float(wider.nan_to_num(1.0).min()) >= 1.0


def test_one_method_has_no_pairs() -> None:
    assert [len(one) for one in paired_differences(uniform(1, 5))[1]] == [0] * 5


HOLM = {
    "by hand": ((0.01, 0.04, 0.03, 0.005), (0.03, 0.06, 0.06, 0.02), (0.05 / 3, 0.025, 0.025, 0.0125)),
    "NaN is no test": ((0.02, NAN, 0.03), (0.04, NAN, 0.04), (0.025, 0.05, 0.05)),
    "at most one": ((0.9, 0.8), (1.0, 1.0), (0.025, 0.025)),
    "one": ((0.04,), (0.04,), (0.05,)),
}


@pytest.mark.parametrize("case", HOLM)
def test_holm(case: str) -> None:
    p, corrected, levels = HOLM[case]
    found = holm(numbers(*p))
    assert same(found[0], corrected)
    known = ~numbers(*p).isnan()
    assert same(found[1][known], numbers(*levels)[known])


def test_holm_is_that_of_statsmodels() -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = uniform(31) ** 4
    assert same(holm(p)[0], multitest.multipletests(p.numpy(), method="holm")[1])


FRONTS = {
    "better costs more": ((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), (True, True, True)),
    "beaten in both": ((1.0, 2.0), (2.0, 1.0), (False, True)),
    "as good at a higher cost": ((1.0, 1.0), (1.0, 2.0), (True, False)),
    "better at the same cost": ((1.0, 2.0), (1.0, 1.0), (False, True)),
    "alike": ((1.0, 1.0), (1.0, 1.0), (True, True)),
    "unknown": ((1.0, NAN, 0.5), (1.0, 0.0, NAN), (True, False, False)),
}


@pytest.mark.parametrize("case", FRONTS)
def test_pareto_front(case: str) -> None:
    quality, cost, expected = FRONTS[case]
    assert pareto_front(numbers(*quality), numbers(*cost)).tolist() == list(expected)


def test_agreement_is_the_mean_spearman_correlation_without_constant_maps() -> None:
    scipy = pytest.importorskip("scipy.stats")
    maps = (uniform(3, 4, 5, 7) * 6).round().float()  # with ties
    maps[1, 2] = 4.0
    found = agreement(maps)
    for a, b in itertools.product(range(3), repeat=2):
        items = [n for n in range(4) if not (n == 2 and 1 in (a, b))]
        each = [scipy.spearmanr(maps[a, n].flatten(), maps[b, n].flatten()).statistic for n in items]
        assert same(found[a, b], sum(each) / len(each))

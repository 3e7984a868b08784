"""What scores of methods on the same items say: means, paired differences, trade-offs and agreement, with their errors.

Items are the sample: errors and intervals are about other items drawn as these were. NaN is left out everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xai_fast.metrics.similarity import ranks

__all__ = [
    "Means",
    "agreement",
    "bootstrap_means",
    "holm",
    "mean_and_error",
    "paired_differences",
    "pareto_front",
]

_DRAWS = 9_999
"""Bootstrap samples; more for many pairs, so that p-values can be small enough for Holm's correction."""

_PER_PAIR = 100
_LEVEL = 0.95
_CHUNK = 4_000_000
_CONSTANT = 1e-12
"""Share of the variance of the differences below which a bootstrap sample of them counts as constant."""


class Means(NamedTuple):
    """Means of P samples, each with a confidence interval.

    Attributes:
        mean: (P,) float64.
        low: (P,) float64, lower end of the interval.
        high: (P,) float64, upper end.
        p: (P,) float64, two-sided, of the mean being zero; at most 5 % where zero is outside the interval.
        counts: (P,) int64, numbers in the sample.
    """

    mean: Tensor
    low: Tensor
    high: Tensor
    p: Tensor
    counts: Tensor


def mean_and_error(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, its standard error, NaN below two numbers, and count over the last dimension of (..., N) float64."""
    known = ~values.isnan()
    count = known.sum(-1)
    mean = values.nanmean(-1)
    squares = torch.where(known, values - mean[..., None], 0).square().sum(-1)
    variance = squares / (count - 1).clamp(min=0)  # 0 / 0 is NaN
    return mean, (variance / count).sqrt(), count


def bootstrap_means(values: Tensor, *, draws: int = _DRAWS, seed: int = 0) -> Means:
    """Give means with intervals of the studentised bootstrap, equal tails, which allows for skewed numbers.

    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5. Where more than 1 % of the bootstrap
    samples are constant, as with very few numbers or few that differ, it is Student's t instead; where all numbers are
    equal, the p-value is that of the sign test. With 20 numbers a 95 % interval covers the mean of normal and
    exponential numbers in 94 to 96 % of all samples, of heavier tails less (92 % of log-normal ones, sigma 1).

    Args:
        values: (P, N) float64.
        draws: bootstrap samples.
        seed: of the samples, which are the same for all P.

    Returns:
        P of each; NaN where there are fewer than two numbers, but the mean of one.
    """
    drawn, found = _bootstrap(values, draws, seed)
    return _with_interval(drawn, found, torch.full_like(found.mean, 1 - _LEVEL))


def paired_differences(scores: Tensor, *, seed: int = 0) -> tuple[Means, Means]:
    """Return the mean differences of each pair of methods on the items that have both scores, see `bootstrap_means`.

    Pairs are ``itertools.combinations(range(M), 2)`` of scores (M, N) float64, differences first minus second: each
    pair for itself, and with intervals and p-values after Holm's correction for all pairs.
    """
    first, second = torch.triu_indices(len(scores), len(scores), 1)
    differences = scores[first].double() - scores[second].double()
    drawn, found = _bootstrap(differences, max(_DRAWS, _PER_PAIR * len(first)), seed)
    p, shares = holm(found.p, 1 - _LEVEL)
    alone = _with_interval(drawn, found, torch.full_like(found.mean, 1 - _LEVEL))
    return alone, _with_interval(drawn, found, shares)._replace(p=p)


def _bootstrap(values: Tensor, draws: int, seed: int) -> tuple[Tensor, Means]:
    """Give the t statistics of bootstrap samples in ascending order (draws, P), and means whose ends are the errors."""
    mean, error, count = mean_and_error(values)
    drawn = _studentized(values - mean[:, None], draws, seed)
    degenerate = (drawn.isnan().sum(0) > 0.01 * draws) & (count > 1)
    random = np.random.default_rng(seed)
    for row in degenerate.nonzero().flatten().tolist():
        drawn[:, row] = torch.from_numpy(random.standard_t(int(count[row]) - 1, draws))
    drawn = drawn.nan_to_num(0.0).sort(0).values  # at most 1 %, which the middle takes
    observed = mean / error
    beyond = torch.minimum((drawn >= observed).sum(0), (drawn <= observed).sum(0)) + 1
    p = (2 * beyond.double() / (draws + 1)).clamp(max=1.0)
    p = torch.where(error > 0, p, torch.where(mean == 0, 1.0, 0.5 ** (count - 1.0)))
    return drawn, Means(mean, -error, error, torch.where(count > 1, p, torch.nan), count)


def _with_interval(drawn: Tensor, found: Means, outside: Tensor) -> Means:
    """Put in intervals outside of which there are shares (P,) of the samples; see `_bootstrap`."""
    draws = len(drawn)
    tail = (outside / 2 * (draws + 1) + 1e-9).long().clamp(1, draws)[None]
    ends = (drawn.gather(0, draws - tail)[0], drawn.gather(0, tail - 1)[0])
    return found._replace(low=found.mean - ends[0] * found.high, high=found.mean - ends[1] * found.high)


def _studentized(centred: Tensor, draws: int, seed: int) -> Tensor:
    """Give the t statistic of bootstrap samples (draws, P) of centred differences (P, N); NaN for constant samples."""
    items = centred.shape[1]
    known = ~centred.isnan()
    values = torch.where(known, centred, 0)
    least = _CONSTANT * values.square().sum(1) / known.sum(1)
    parts = torch.stack([known.double(), values, values.square()]).mT
    random = torch.Generator().manual_seed(seed)
    found = []
    for begin in range(0, draws, step := max(_CHUNK // items, 1)):
        chosen = torch.randint(items, (min(step, draws - begin), items), generator=random)
        times = torch.zeros(chosen.shape, dtype=torch.float64)
        times.scatter_add_(1, chosen, torch.ones_like(times))  # how often each item is in the sample
        count, total, squares = times @ parts
        variance = (squares - total.square() / count) / (count - 1)
        found.append(torch.where(variance > least, total / count / (variance / count).sqrt(), torch.nan))
    return torch.cat(found)


def holm(p: Tensor, alpha: float = 0.05) -> tuple[Tensor, Tensor]:
    """Return p-values (P,) corrected for their number, and the level (P,) of each test; NaN are no tests.

    Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979; alpha is the level of all tests together. That
    of a test is the one of its step, or of the last step for tests after it. Intervals at these levels exclude zero
    where the corrected p-value is at most alpha.
    """
    order = p.argsort()  # NaN comes last
    left = ((~p.isnan()).sum() - torch.arange(len(p))).clamp(min=1)
    stepped = (p[order] * left).cummax(0).values.clamp(max=1.0)
    found = int((stepped <= alpha).sum())
    level = alpha / left.double()
    level[found:] = level[found : found + 1]
    corrected, levels = torch.empty_like(p), torch.empty_like(p)
    corrected[order], levels[order] = stepped, level
    return torch.where(p.isnan(), p, corrected), levels


def pareto_front(quality: Tensor, cost: Tensor) -> Tensor:
    """Say of each method (M,) whether no other has its quality at no more cost, and is better in one; not of NaN."""
    at_least = (quality[:, None] >= quality) & (cost[:, None] <= cost)
    beaten = (at_least & ~at_least.T).any(0)
    return ~beaten & ~quality.isnan() & ~cost.isnan()


def agreement(maps: Tensor) -> Tensor:
    """Average over items the rank correlation (M, M) of maps (M, N, ...), without items where one is constant."""
    total = torch.zeros(len(maps), len(maps), dtype=torch.float64)
    count = torch.zeros_like(total)
    for item in range(maps.shape[1]):  # as the ranks of all items are as large as the maps, twice
        places = ranks(maps[:, item].flatten(1))
        places -= places.mean(1, keepdim=True)
        products = places @ places.T
        scale = products.diagonal().sqrt().outer(products.diagonal().sqrt())
        total += torch.where(scale > 0, products / scale, 0)
        count += scale > 0
    return total / count

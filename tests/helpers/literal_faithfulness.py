"""Metrics of faithfulness as slowly as their definitions read: one item, one subset, one pixel at a time.

This shares no code with the package. ``score`` takes one item and gives a number; ``groups``, like the item, has the
feature of each entry; ``baseline`` is like the item.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

Score: TypeAlias = Callable[[Tensor], float]


def without(x: Tensor, baseline: Tensor, groups: Tensor, gone: Collection[int]) -> Tensor:
    """Replace features."""
    found = x.clone()
    for feature in gone:
        found[groups == feature] = baseline[groups == feature]
    return found


def by_feature(attribution: Tensor, groups: Tensor) -> list[float]:
    """Add up the entries of each feature."""
    return [float(attribution[groups == feature].sum()) for feature in range(int(groups.max()) + 1)]


def pearson(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlate two lists."""
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    covariance = sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True))
    return covariance / math.sqrt(sum((p - mean_a) ** 2 for p in a) * sum((q - mean_b) ** 2 for q in b))


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Correlate the ranks of two lists, where equal values share the mean of theirs."""

    def ranked(values: Sequence[float]) -> list[float]:
        places = [[i for i, other in enumerate(sorted(values)) if other == value] for value in values]
        return [sum(place) / len(place) for place in places]

    return pearson(ranked(a), ranked(b))


def subset_correlation(
    score: Score,
    x: Tensor,
    attribution: Tensor,
    groups: Tensor,
    baseline: Tensor,
    size: int,
    draws: Sequence[Sequence[float]],
) -> float:
    """Correlate sums of attributions with lost scores over subsets of one size: the features with the least draws."""
    relevance, sums, lost = by_feature(attribution, groups), [], []
    for drawn in draws:
        subset = sorted(range(len(relevance)), key=lambda i: drawn[i])[:size]
        sums.append(sum(relevance[i] for i in subset))
        lost.append(score(x) - score(without(x, baseline, groups, subset)))
    return pearson(sums, lost)


def sizes_of(features: int, sizes: int) -> list[int]:
    """List numbers of features from 1 to 80 % of them on a logarithmic scale."""
    largest = max(1, math.floor(0.8 * features))
    return [round(math.exp(math.log(largest) * s / max(1, sizes - 1))) for s in range(sizes)]


def estimate(score: Score, x: Tensor, attribution: Tensor, groups: Tensor, baseline: Tensor) -> float:
    """Correlate attributions with the scores lost without each feature."""
    relevance = by_feature(attribution, groups)
    lost = [score(x) - score(without(x, baseline, groups, [i])) for i in range(len(relevance))]
    return pearson(relevance, lost)


def monotone_share(score: Score, x: Tensor, attribution: Tensor, groups: Tensor, baseline: Tensor) -> float:
    """Put in features, the least important first, and count the steps that are not down."""
    relevance = by_feature(attribution, groups)
    order = sorted(range(len(relevance)), key=lambda i: abs(relevance[i]))
    scores = [score(without(x, baseline, groups, order[n:])) for n in range(len(order) + 1)]
    return sum(after >= before for before, after in itertools.pairwise(scores)) / len(order)


def infidelity(score: Score, x: Tensor, slope: Tensor, perturbations: Sequence[Tensor], normalize: bool) -> float:
    """Average the squared difference of what attributions and scores say, over perturbations I, ``x - I``."""
    said = [float((i * slope).sum()) for i in perturbations]
    lost = [score(x) - score(x - i) for i in perturbations]
    scale = sum(s * d for s, d in zip(said, lost, strict=True)) / sum(s * s for s in said) if normalize else 1.0
    return sum((scale * s - d) ** 2 for s, d in zip(said, lost, strict=True)) / len(said)


def region_order(values: Tensor, groups: Tensor, average: bool, largest_first: bool) -> list[int]:
    """Order regions by the sum or mean of their pixels' values; both (H, W)."""
    relevance = []
    for region in range(int(groups.max()) + 1):
        inside = values[groups == region].tolist()
        relevance.append(sum(inside) / (len(inside) if average else 1))
    return sorted(range(len(relevance)), key=lambda i: -relevance[i] if largest_first else relevance[i])


def curve(score: Score, x: Tensor, baseline: Tensor, groups: Tensor, order: Sequence[int], steps: int) -> list[float]:
    """Score an item (C, H, W) while its regions, of pixels (H, W), are replaced one after another."""
    every = groups.expand(x.shape)
    return [score(without(x, baseline, every, order[:n])) for n in range(steps + 1)]


def imputed(x: Tensor, missing: Tensor) -> Tensor:
    """Solve ``sum_n w_n (value - value_n) = 0``, n the neighbours, for the missing pixels (H, W) of (C, H, W)."""
    height, width = missing.shape
    pixels = [(i, j) for i in range(height) for j in range(width) if missing[i, j]]
    matrix = torch.zeros(len(pixels), len(pixels), dtype=torch.float64)
    right = torch.zeros(len(pixels), x.shape[0], dtype=torch.float64)
    for row, (i, j) in enumerate(pixels):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                other = (i + down, j + across)
                if other == (i, j) or not (0 <= other[0] < height and 0 <= other[1] < width):
                    continue
                weight = 1 / 12 if down and across else 1 / 6
                matrix[row, row] += weight
                if missing[other]:
                    matrix[row, pixels.index(other)] -= weight
                else:
                    right[row] += weight * x[:, other[0], other[1]]
    found = x.clone()
    for (i, j), values in zip(pixels, torch.linalg.solve(matrix, right), strict=True):
        found[:, i, j] = values
    return found


def union_order(maps: Tensor, pixels: int, largest_first: bool) -> set[int]:
    """List the pixels that are among the first of any channel of (C, P), each channel in its own order."""
    found: set[int] = set()
    for channel in maps.tolist():
        order = sorted(range(len(channel)), key=lambda i: -channel[i] if largest_first else channel[i])
        found |= set(order[:pixels])
    return found


def sufficiency(maps: Sequence[Tensor], predicted: Sequence[int], threshold: float) -> list[float]:
    """Tell, for each item, the share of those with a like explanation that have its prediction."""
    flat = torch.stack([m.flatten() for m in maps])
    deviation = ((flat - flat.mean(0)) ** 2).sum(0).div(len(flat) - 1).sqrt()
    distance = [[float((((a - b) / deviation) ** 2).sum().sqrt()) for b in flat] for a in flat]
    largest = max(map(max, distance))
    shares = []
    for i, row in enumerate(distance):
        like = [j for j, d in enumerate(row) if j != i and d <= threshold * largest]
        shares.append(sum(predicted[j] == predicted[i] for j in like) / len(like) if like else math.nan)
    return shares

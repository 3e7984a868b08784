"""Methods that replace parts of an input as slowly as their definitions read: one item, one mask, one entry at a time.

This shares no code with the package. ``score`` takes one item and gives a number; ``baseline`` is like the item.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

Score: TypeAlias = Callable[[Tensor], float]
Value: TypeAlias = Callable[[frozenset[int]], float]

MASK = 0xFFFFFFFF


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Compute Philox4x32-10 (Salmon et al., SC 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second >> 32 ^ c[1] ^ k[0], second & MASK, first >> 32 ^ c[3] ^ k[1], first & MASK]
        k = [(k[0] + 0x9E3779B9) & MASK, (k[1] + 0xBB67AE85) & MASK]
    return c


def words(item_id: int, number: int, count: int, seed: int) -> list[int]:
    blocks = (philox((b, number, 0, item_id >> 32), (seed, item_id & MASK)) for b in range(-(-count // 4)))
    return list(itertools.chain(*blocks))[:count]


def order(item_id: int, number: int, features: int, seed: int) -> list[int]:
    """List features as they join: by the size of their random words, the first word left out."""
    drawn = words(item_id, number, features + 1, seed)[1:]
    return sorted(range(features), key=lambda i: drawn[i])


def occlusion(score: Score, x: Tensor, window: Sequence[int], stride: Sequence[int], baseline: Tensor) -> Tensor:
    """Average over the windows that cover an entry; ``window`` and ``stride`` have a number for each dimension of x."""
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    steps = [math.ceil((n - w) / s) + 1 for n, w, s in zip(x.shape, window, stride, strict=True)]
    for place in itertools.product(*map(range, steps)):
        cut = tuple(slice(p * s, p * s + w) for p, s, w in zip(place, stride, window, strict=True))
        occluded = x.clone()
        occluded[cut] = baseline[cut]
        total[cut] += score(x) - score(occluded)
        count[cut] += 1
    return total / count


def value_of(score: Score, x: Tensor, groups: Tensor, baseline: Tensor) -> Value:
    """Make the game of an item: ``groups`` (like x) has the feature of each entry."""

    def value(present: frozenset[int]) -> float:
        mixed = baseline.clone()
        for entry in itertools.product(*map(range, x.shape)):
            if int(groups[entry]) in present:
                mixed[entry] = x[entry]
        return score(mixed)

    return value


def per_entry(values: Sequence[float], groups: Tensor) -> Tensor:
    return torch.tensor([values[int(group)] for group in groups.flatten()], dtype=torch.float64).view(groups.shape)


def ablation(value: Value, features: int) -> list[float]:
    everything = frozenset(range(features))
    return [value(everything) - value(everything - {i}) for i in range(features)]


def shapley(value: Value, features: int) -> list[float]:
    """Compute Shapley values by their definition, over all coalitions."""
    found = [0.0] * features
    for i in range(features):
        others = [j for j in range(features) if j != i]
        for size in range(features):
            weight = math.factorial(size) * math.factorial(features - size - 1) / math.factorial(features)
            for subset in map(frozenset, itertools.combinations(others, size)):
                found[i] += weight * (value(subset | {i}) - value(subset))
    return found


def added(value: Value, joining: Sequence[int]) -> list[float]:
    """Compute what each feature adds in one order."""
    found = [0.0] * len(joining)
    present: frozenset[int] = frozenset()
    for i in joining:
        found[i] = value(present | {i}) - value(present)
        present = present | {i}
    return found


def ridge(z: np.ndarray, y: np.ndarray, weights: np.ndarray, penalty: float) -> np.ndarray:
    """Fit an intercept, which is not penalised, and coefficients; returns the coefficients."""
    design = np.concatenate([np.ones((len(z), 1)), z], 1)
    penalties = penalty * np.diag([0.0] + [1.0] * z.shape[1])
    squares = design.T @ np.diag(weights) @ design + penalties
    return np.linalg.solve(squares, design.T @ (weights * y))[1:]


def constrained(z: np.ndarray, y: np.ndarray, weights: np.ndarray, total: float) -> np.ndarray:
    """Fit coefficients without intercept whose sum is ``total``, by the conditions of Karush, Kuhn and Tucker."""
    features = z.shape[1]
    system = np.zeros((features + 1, features + 1))
    system[:features, :features] = z.T @ np.diag(weights) @ z
    system[features, :features] = system[:features, features] = 1
    return np.linalg.solve(system, np.append(z.T @ (weights * y), total))[:features]


def rise_mask(item_id: int, number: int, sizes: Sequence[int], grid: Sequence[int], keep: float, seed: int) -> Tensor:
    """Make one mask of RISE, section 3.2, pixel by pixel."""
    drawn = words(item_id, number, len(sizes) + math.prod(grid), seed)
    cells = [1.0 if word / 2**32 < keep else 0.0 for word in drawn[len(sizes) :]]
    coarse = torch.tensor(cells, dtype=torch.float64).view(*grid)
    sides = [math.ceil(size / count) for size, count in zip(sizes, grid, strict=True)]
    mask = torch.zeros(*sizes, dtype=torch.float64)
    for pixel in itertools.product(*map(range, sizes)):
        # In each dimension a pixel of the enlarged grid lies between two cells, or at the border on one.
        between = []
        for dim, place in enumerate(pixel):
            at = (place + drawn[dim] % sides[dim] + 0.5) * grid[dim] / ((grid[dim] + 1) * sides[dim]) - 0.5
            at = min(max(at, 0.0), grid[dim] - 1.0)
            low = min(math.floor(at), max(grid[dim] - 2, 0))
            between.append([(low, 1 - (at - low)), (min(low + 1, grid[dim] - 1), at - low)])
        for corner in itertools.product(*between):
            mask[pixel] += math.prod(weight for _, weight in corner) * coarse[tuple(cell for cell, _ in corner)]
    return mask

"""The studentised bootstrap as it is defined, sample by sample: slower, and less complicated."""

from __future__ import annotations

import math
import statistics

import torch


def literal_interval(values: list[float], draws: int, seed: int, level: float = 0.95) -> tuple[float, float, float]:
    """Give low, high and p of the mean (Efron and Tibshirani, 1993, section 12.5, with the ends of equal tails)."""
    n = len(values)
    mean, error = statistics.mean(values), statistics.stdev(values) / math.sqrt(n)
    chosen = torch.randint(n, (draws, n), generator=torch.Generator().manual_seed(seed)).tolist()
    drawn = []
    for sample in chosen:
        again = [values[i] for i in sample]
        drawn.append((statistics.mean(again) - mean) / (statistics.stdev(again) / math.sqrt(n)))
    drawn.sort()
    tail = round((1 - level) / 2 * (draws + 1))
    low, high = mean - drawn[-tail] * error, mean - drawn[tail - 1] * error
    observed = mean / error
    beyond = min(sum(t >= observed for t in drawn), sum(t <= observed for t in drawn)) + 1
    return low, high, min(1.0, 2 * beyond / (draws + 1))

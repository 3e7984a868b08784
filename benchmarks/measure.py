"""How times are compared: in turn, in one run, and as ratios, because a machine's speed drifts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

__all__ = ["in_turn", "ratio"]


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, list[float]]:
    """Time several functions in turn: A B C, A B C, ...

    Args:
        runs: name to function.
        rounds: how often each is timed.
        warm_up: rounds before, that do not count.

    Returns:
        Name to seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(seconds: Mapping[str, list[float]], numerator: str, denominator: str) -> float:
    """Return the median over the rounds of one time divided by the other."""
    return median(a / b for a, b in zip(seconds[numerator], seconds[denominator], strict=True))

"""How things are compared: times in turn, in one run, as ratios, because a machine drifts; and products, counted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, register_flop_formula

__all__ = ["in_turn", "products", "ratio", "wall_clock"]


def wall_clock(run: Callable[[], object]) -> float:
    """Return the seconds that something takes, as the host sees it."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    warm_up: int = 1,
    clock: Callable[[Callable[[], object]], float] = wall_clock,
) -> dict[str, list[float]]:
    """Time several functions in turn: A B C, A B C, ...

    Args:
        runs: name to function.
        rounds: how often each is timed.
        warm_up: rounds before, that do not count.
        clock: from a function to the seconds that it takes.

    Returns:
        Name to seconds of each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + rounds):
        for name, run in runs.items():
            taken = clock(run)
            if turn >= warm_up:
                seconds[name].append(taken)
    return seconds


def ratio(seconds: Mapping[str, list[float]], numerator: str, denominator: str) -> float:
    """Return the median over the rounds of one time divided by the other."""
    return median(a / b for a, b in zip(seconds[numerator], seconds[denominator], strict=True))


@register_flop_formula(torch.ops.aten._slow_conv2d_backward)
def _back_without_onednn(rows: Sequence[int], _: Sequence[int], weight: Sequence[int], *__: Any, **___: Any) -> int:
    return 2 * math.prod(rows) * math.prod(weight[1:])


class _Counter(TorchDispatchMode):
    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=out)
        return out


def products(run: Callable[[], object]) -> int:
    """Count the floating-point operations of the products of matrices and the convolutions that something runs."""
    with _Counter() as counter:
        run()
    return counter.total

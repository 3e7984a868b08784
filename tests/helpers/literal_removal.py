"""Removal interactions as they are defined: the whole model runs once per set of cells that a hook replaces.

I_T = sum over subsets U of T of (-1)^|U| F(x without U), with F the log-odds in first order at the item, z_c - sum over
k != c of w_k z_k, where w is the softmax of the other outputs at x.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["interactions", "log_odds", "without"]

Cells = Sequence[tuple[object, ...]]
"""Of each cell, where it is in the layer's output for a batch of one."""


def without(
    model: nn.Module,
    layer: nn.Module,
    arguments: Sequence[object],
    cells: Cells,
    removed: Sequence[int],
    baseline: Tensor | float,
) -> Tensor:
    """Run the model on one item, with some cells of the layer's output replaced: its outputs (C,)."""

    def hook(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        changed = output.clone()
        value = baseline if isinstance(baseline, Tensor) else torch.tensor(baseline, dtype=output.dtype)
        for cell in removed:
            changed[cells[cell]] = value.expand(output.shape)[cells[cell]]
        return changed

    handle = layer.register_forward_hook(hook)
    try:
        with torch.no_grad():
            outputs: Tensor = model(*arguments)
    finally:
        handle.remove()
    return outputs[0]


def log_odds(at: Tensor, target: int) -> Callable[[Tensor], float]:
    """Give F for an item with outputs ``at``."""
    others = [k for k in range(len(at)) if k != target]
    weights = at[others].softmax(0)
    return lambda z: float(z[target] - (weights * z[others]).sum())


def interactions(
    model: nn.Module,
    layer: nn.Module,
    arguments: Sequence[object],
    cells: Cells,
    score: Callable[[Tensor], float],
    *,
    order: int,
    shortlist: int | None,
    baseline: Tensor | float = 0.0,
) -> Tensor:
    """Compute I of one item at each set of cells on the shortlist, (n, ..., n), cells rising."""

    def f(removed: Sequence[int]) -> float:
        return score(without(model, layer, arguments, cells, removed, baseline))

    n = len(cells)
    single = [abs(f([]) - f([i])) for i in range(n)]
    best = sorted(sorted(range(n), key=lambda i: -single[i])[:shortlist])
    found = torch.zeros([n] * order, dtype=torch.float64)
    for chosen in itertools.combinations(best, order):
        subsets = [u for size in range(order + 1) for u in itertools.combinations(chosen, size)]
        found[chosen] = sum((-1) ** len(u) * f(u) for u in subsets)
    return found

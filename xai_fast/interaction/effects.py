"""From mixed derivatives at a few points to one effect a set: what is done at each point, and over the points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["AGGREGATES", "EFFECTS", "aggregated", "effect_of", "half_sample_mode"]

EFFECTS = ("square", "absolute", "signed")
"""What is made of F_T at a point."""


def effect_of(values: Tensor, rule: str, combinations: Tensor | None = None) -> Tensor:
    """Compute the effect of each set at each point.

    Args:
        values: (B, C) mixed derivatives.
        rule: "square" (F_T^2), "absolute" (|F_T|) or "signed" (F_T).
        combinations: (T,) how many consecutive columns belong to each set, where sets hold groups of columns: the
            effect is then that of the Euclidean norm over them. None for one each.

    Returns:
        (B, T) float64.
    """
    values = values.double()
    if combinations is None:
        return values.square() if rule == "square" else values.abs() if rule == "absolute" else values
    of_set = torch.repeat_interleave(combinations)
    if rule == "signed":  # only where each set has one column
        return values
    squares = values.new_zeros(values.shape[0], combinations.numel()).index_add_(1, of_set, values.square())
    return squares if rule == "square" else squares.sqrt()


def aggregated(effects: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """Put the points together.

    Args:
        effects: (B, T) float64, at least one point.
        rule: one of `AGGREGATES`; "mode" is the half-sample mode.

    Returns:
        (T,) the effect, and (T,) its spread: the standard deviation over the points (of the population).
    """
    # Point after point, so that what a set gets does not depend on how many others are computed with it.
    center = _total(effects) / len(effects)
    spread = (_total((effects - center).square()) / len(effects)).sqrt()
    return AGGREGATES[rule](effects), spread


def _total(values: Tensor) -> Tensor:
    total = torch.zeros_like(values[0])
    for row in values:
        total += row
    return total


def _mean(values: Tensor) -> Tensor:
    return _total(values) / len(values)


def _median(values: Tensor) -> Tensor:
    ordered = values.sort(0).values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _min(values: Tensor) -> Tensor:
    return values.amin(0)


def _max(values: Tensor) -> Tensor:
    return values.amax(0)


def half_sample_mode(values: Tensor) -> Tensor:
    """Find where values are densest: the half of them that lies closest together, and again half of that, to the end.

    Robertson and Cryer 1974, as Bickel and Fruehwirth 2006 write it. Needs no width of bins, and no value twice.

    Args:
        values: (B, T) with at least one row.

    Returns:
        (T,) the mode of each column.
    """
    ordered = values.sort(0).values
    while len(ordered) > 3:
        half = (len(ordered) + 1) // 2
        start = (ordered[half - 1 :] - ordered[: len(ordered) - half + 1]).argmin(0)
        rows = start[None] + torch.arange(half, device=values.device)[:, None]
        ordered = ordered.gather(0, rows)
    if len(ordered) == 3:
        low, middle, high = ordered
        left, right = middle - low, high - middle
        pair = torch.where(left < right, (low + middle) / 2, (middle + high) / 2)
        return torch.where(left == right, middle, pair)
    return ordered.mean(0)


AGGREGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": _mean,
    "median": _median,
    "min": _min,
    "max": _max,
    "mode": half_sample_mode,
}
"""Name to the rule over the points."""

"""From mixed derivatives at a few points to one effect a set: what is done at each point, and over the points."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["AGGREGATES", "EFFECTS", "aggregated", "effect_of", "half_sample_mode", "median"]

EFFECTS = ("square", "absolute", "signed")
"""What is made of F_T at a point: F_T^2, |F_T| or F_T."""


def effect_of(values: Tensor, rule: str, combinations: Tensor | None = None) -> Tensor:
    """Compute the effect (B, T) float64 of each set at each point, from mixed derivatives (B, C)."""
    values = values.double()
    if combinations is None:
        return values.square() if rule == "square" else values.abs() if rule == "absolute" else values
    # So many consecutive columns belong to each set, where sets hold groups: the norm over them counts.
    of_set = torch.repeat_interleave(combinations)
    if rule == "signed":  # only where each set has one column
        return values
    squares = values.new_zeros(values.shape[0], combinations.numel()).index_add_(1, of_set, values.square())
    return squares if rule == "square" else squares.sqrt()


def aggregated(effects: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """Put the points (B, T) together: the effect (T,), and its standard deviation over the points (T,)."""
    return AGGREGATES[rule](effects), _mean((effects - _mean(effects)).square()).sqrt()


def _mean(values: Tensor) -> Tensor:
    # Point after point, so that what a set gets does not depend on how many others are computed with it.
    total = torch.zeros_like(values[0])
    for row in values:
        total += row
    return total / len(values)


def median(values: Tensor) -> Tensor:
    """Compute the median of each column of (B, T)."""
    ordered = values.sort(0).values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def half_sample_mode(values: Tensor) -> Tensor:
    """Find where values (B, T) are densest: the half that lies closest together, and again half of that, to the end."""
    # Robertson and Cryer 1974, as Bickel and Fruehwirth 2006 write it. Needs no width of bins, and no value twice.
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
    "median": median,
    "min": lambda values: values.amin(0),
    "max": lambda values: values.amax(0),
    "mode": half_sample_mode,
}
"""Name to the rule over the points."""

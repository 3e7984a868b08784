"""The metrics as slowly as their definitions read: one item, one pixel, one step at a time.

This shares no code with the package.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def importance(attribution: Tensor, ranking: str) -> list[float]:
    """Reduce one item's attribution (C, H, W) to a list of H * W numbers."""
    channels, height, width = attribution.shape
    values = []
    for row in range(height):
        for column in range(width):
            entries = [float(attribution[channel, row, column]) for channel in range(channels)]
            values.append(
                {
                    "signed_sum": sum(entries),
                    "abs_sum": abs(sum(entries)),
                    "sum_of_abs": sum(abs(entry) for entry in entries),
                }[ranking]
            )
    return values


def blur(image: Tensor, sigma: float) -> Tensor:
    """Blur one item (C, H, W): each pixel is the weighted mean of the pixels around, mirrored at the border pixels."""

    def mirrored(i: int, size: int) -> int:
        while not 0 <= i < size:
            i = 0 if size == 1 else (-i if i < 0 else 2 * (size - 1) - i)
        return i

    reach = int(4 * sigma + 0.5)
    weights = {k: math.exp(-(k**2) / (2 * sigma**2)) for k in range(-reach, reach + 1)}
    total = sum(weights.values())
    _, height, width = image.shape
    rows = torch.zeros_like(image)
    for row in range(height):
        for k, weight in weights.items():
            rows[:, row] += weight / total * image[:, mirrored(row + k, height)]
    blurred = torch.zeros_like(image)
    for column in range(width):
        for k, weight in weights.items():
            blurred[:, :, column] += weight / total * rows[:, :, mirrored(column + k, width)]
    return blurred


def curve(
    score: Callable[[Tensor], float], start: Tensor, end: Tensor, values: list[float], steps: int, largest_first: bool
) -> list[float]:
    """Score one item (C, H, W) while its pixels go from ``start`` to ``end``, ``floor(k P / steps)`` after step k."""
    width = start.shape[2]
    order = sorted(range(len(values)), key=lambda pixel: -values[pixel] if largest_first else values[pixel])
    scores = []
    for k in range(steps + 1):
        image = start.clone()
        for pixel in order[: math.floor(k * len(values) / steps)]:
            image[:, pixel // width, pixel % width] = end[:, pixel // width, pixel % width]
        scores.append(score(image))
    return scores


def area(scores: list[float], pixels: int) -> float:
    """Add up the trapezoids under a curve, over the share of pixels."""
    steps = len(scores) - 1
    share = [math.floor(k * pixels / steps) / pixels for k in range(steps + 1)]
    return sum((share[k + 1] - share[k]) * (scores[k] + scores[k + 1]) / 2 for k in range(steps))

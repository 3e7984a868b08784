"""Metrics of explanations as slowly as their definitions read: one item, one change, one entry at a time.

This shares no code with the package. ``explain`` maps an item to its attributions, all without a batch dimension.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

Explain = Callable[[Tensor], Tensor]
SMALL = 1e-6


def norm(values: Tensor) -> float:
    return math.sqrt(sum(float(v) ** 2 for v in values.detach().flatten()))


def relative(there: Tensor, here: Tensor) -> Tensor:
    pairs = zip(there.flatten().tolist(), here.flatten().tolist(), strict=True)
    return torch.tensor([(t - h) / (h if h != 0 else SMALL) for t, h in pairs], dtype=torch.float64)


def sensitivity(explain: Explain, x: Tensor, changes: Sequence[Tensor]) -> tuple[float, float, float]:
    """Yeh et al.: the largest and the mean relative change; Alvarez-Melis and Jaakkola: the largest slope."""
    clean = explain(x)
    moved = [norm(explain(x + change) - clean) for change in changes]
    slopes = [m / norm(change) for m, change in zip(moved, changes, strict=True)]
    return max(moved) / norm(clean), sum(moved) / len(moved) / norm(clean), max(slopes)


def relative_stability(
    explain: Explain, model: Explain, layer: Explain, x: Tensor, changes: Sequence[Tensor]
) -> tuple[list[float], int]:
    """Agarwal et al., Eq. 2, 5 and 3, over the changes that keep the predicted class; and how many these are."""
    found: list[list[float]] = [[], [], []]
    for change in changes:
        y = x + change
        if int(model(y).argmax()) != int(model(x).argmax()):
            continue
        above = norm(relative(explain(y), explain(x)))
        found[0].append(above / max(norm(relative(y, x)), SMALL))
        found[1].append(above / max(norm(model(y) - model(x)), SMALL))
        found[2].append(above / max(norm(relative(layer(y), layer(x))), SMALL))
    return [max(values, default=math.nan) for values in found], len(found[0])


def cascade(model: nn.Module, names: Sequence[str], seed: int) -> list[nn.Module]:
    """Adebayo et al.: the model without the weights of the first of the layers, of the first two, and so on."""
    generator_state = torch.get_rng_state()
    models = []
    for step, name in enumerate(names):
        torch.manual_seed(seed + step)
        model = copy.deepcopy(model)
        dict(model.named_modules())[name].reset_parameters()
        models.append(model)
    torch.set_rng_state(generator_state)
    return models


def histogram_entropy(values: Tensor, bins: int) -> float:
    counts = np.histogram(values.flatten().numpy(), bins)[0]
    shares = [count / counts.sum() for count in counts if count]
    return -sum(share * math.log(share) for share in shares)


def gini(values: Tensor) -> float:
    """The mean absolute difference of all pairs over twice the mean."""
    sizes = [abs(float(v)) for v in values.flatten()]
    n = len(sizes)
    return sum(abs(a - b) for a in sizes for b in sizes) / (2 * n * sum(sizes))


def entropy(values: Tensor) -> float:
    sizes = [abs(float(v)) for v in values.flatten()]
    return -sum(s / sum(sizes) * math.log(s / sum(sizes)) for s in sizes if s)


def localization(pixels: Tensor, boxes: Sequence[Sequence[float]], k: int) -> tuple[float, float, float, float]:
    """Mass, rank and top-k of one map (H, W) of importance, and the boxes' share of the pixels."""
    inside, everything = {}, {}
    for row in range(pixels.shape[0]):
        for column in range(pixels.shape[1]):
            everything[row, column] = float(pixels[row, column])
            inside[row, column] = any(x0 <= column <= x1 and row >= y0 and row <= y1 for x0, y0, x1, y1 in boxes)
    order = sorted(everything, key=lambda place: -everything[place])
    size = sum(inside.values())
    return (
        sum(everything[p] for p in order if inside[p]) / sum(everything.values()),
        sum(inside[p] for p in order[:size]) / size,
        sum(inside[p] for p in order[:k]) / len(order[:k]),
        size / len(order),
    )


def non_sensitivity(
    model: Callable[[Tensor], float], x: Tensor, pixels: Sequence[float], changes: Sequence[Sequence[Tensor]]
) -> tuple[int, int]:
    """Of an item (C, P): pixels that matter and are not shown, and that are shown and do not matter."""
    moves = []
    for p, of_pixel in enumerate(changes):
        largest = 0.0
        for change in of_pixel:
            other = x.clone()
            other[:, p] += change
            largest = max(largest, abs(model(other) - model(x)))
        moves.append(largest)
    shown = [value > 1e-5 * max(pixels) for value in pixels]
    depends = [move > 1e-5 * max(moves) for move in moves]
    missed = sum(d and not s for d, s in zip(depends, shown, strict=True))
    return missed, sum(s and not d for d, s in zip(depends, shown, strict=True))

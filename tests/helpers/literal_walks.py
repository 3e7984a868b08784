"""Guided IG, BlurIG and AGI as their papers print them, one item, one path and one step at a time, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Score = Callable[[Tensor], Tensor]
"""From one input (1, ...) to its score, a tensor of one number."""


def gradient_of(score: Score, at: Tensor) -> Tensor:
    """Give the gradient of a score at one input."""
    at = at.detach().clone().requires_grad_()
    return torch.autograd.grad(score(at).sum(), at)[0]


def guided_ig(score: Score, x: Tensor, baseline: Tensor, *, steps: int, fraction: float, max_dist: float) -> Tensor:
    """Kapishnikov et al., CVPR 2021, Algorithm 1, with the bound on the distance from the straight path.

    Args:
        score: of the target.
        x: (1, ...) the item.
        baseline: like x.
        steps: gradients.
        fraction: share of the entries that are chosen together.
        max_dist: largest distance from the straight path, as a share of the way.

    Returns:
        The attribution, like x.
    """
    shape, (x, start) = x.shape, (value.flatten().double() for value in (x, baseline))
    now, attribution, whole = start.clone(), torch.zeros_like(x), float((x - start).abs().sum())
    for step in range(steps):
        gradient = gradient_of(score, now.view(shape)).flatten()
        along = (step + 1) / steps
        low = start + max(along - max_dist, 0.0) * (x - start)
        high = start + min(along + max_dist, 1.0) * (x - start)
        before = now.clone()
        for i in range(len(x)):
            if abs(float(now[i] - start[i])) < abs(float(low[i] - start[i])):
                now[i] = low[i]
        arrived = [bool((now[i] - high[i]).abs() <= 1e-12) for i in range(len(x))]
        while float((x - now).abs().sum()) - whole * (1 - along) > 1e-12 * whole:
            left = [math.inf if arrived[i] else abs(float(gradient[i])) for i in range(len(x))]
            threshold = np.quantile(left, fraction, method="lower")
            chosen = [i for i in range(len(x)) if left[i] <= threshold and not arrived[i]]
            room = sum(abs(float(high[i] - now[i])) for i in chosen)
            share = (float((x - now).abs().sum()) - whole * (1 - along)) / room
            for i in chosen:
                now[i] = now[i] + min(share, 1.0) * (high[i] - now[i])
                arrived[i] = True
            if share <= 1.0:
                break
        attribution += gradient * (now - before)
    assert torch.allclose(now, x)  # the path ends at the item
    return attribution.view(shape)


def blur_ig(score: Score, x: Tensor, *, steps: int, sigma: float) -> tuple[Tensor, Tensor]:
    """Xu et al., CVPR 2020: the gradient in the middle of each part of the path, times what the blur changes over it.

    Args:
        score: of the target.
        x: (1, C, ...) the item.
        steps: parts.
        sigma: of the first blur.

    Returns:
        The attribution, like x, and the first blurred picture.
    """

    from scipy import ndimage  # not in the smallest installation

    def blurred(at: float) -> Tensor:
        each = (0, 0, *[at] * (x.ndim - 2))
        return torch.from_numpy(ndimage.gaussian_filter(x.double().numpy(), each, mode="mirror", truncate=4.0))

    attribution = torch.zeros_like(x.double())
    for k in range(steps):
        middle, less, more = ((k + half) * sigma / steps for half in (0.5, 0.0, 1.0))
        attribution += gradient_of(score, blurred(middle)) * (blurred(less) - blurred(more))
    return attribution, blurred(sigma)


def agi_path(
    model: Callable[[Tensor], Tensor],
    score: Callable[[Tensor, int], Tensor],
    x: Tensor,
    label: int,
    other: int,
    *,
    step: float,
    max_steps: int,
    low: float = -math.inf,
    high: float = math.inf,
) -> tuple[Tensor, int, bool]:
    """Pan et al., IJCAI 2021, Algorithm 1, for one other class.

    Args:
        model: from inputs to logits.
        score: from logits (1, C) and a class to its score.
        x: (1, ...) the item.
        label: the target.
        other: the class that the path leads to.
        step: of each entry.
        max_steps: at most.
        low: least value of the data.
        high: largest value.

    Returns:
        The path's contribution, how many points' gradients were taken, and whether one was of the other class.
    """
    contribution, now = torch.zeros_like(x), x.clone()
    for taken in range(max_steps):
        if int(model(now).argmax(1)) == other:
            return contribution, taken + 1, True
        towards = gradient_of(lambda at: score(model(at), other), now).sign()
        of_label = gradient_of(lambda at: score(model(at), label), now)
        after = (now + step * towards).clamp(low, high)
        contribution -= of_label * (after - now)
        now = after
    return contribution, max_steps, False


def spread_classes(label: int, outputs: int, classes: int) -> Sequence[int]:
    """List the classes of AGI: spread evenly over all but the label."""
    others = [k for k in range(outputs) if k != label]
    count = min(classes, len(others))
    return [others[k * len(others) // count] for k in range(count)]

"""How alike two maps are, item by item: rank correlation and structural similarity."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice
from xai_fast.metrics.ranking import rank_pixels

__all__ = ["SIMILARITIES", "map_similarity", "ranks"]

SIMILARITIES = ("spearman", "spearman_of_abs", "ssim")
"""Rank correlation of all entries, or of their magnitudes, or structural similarity of the maps."""

_WINDOW = 7
_K1, _K2 = 0.01, 0.03


def map_similarity(a: Tensor, kind: str) -> Callable[[Tensor], Tensor]:
    """Compare maps with others, item by item.

    Structural similarity (Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    TIP 2004) is that of scikit-image with its defaults: windows of 7 (or the largest odd number below, where a side is
    shorter), equal weights, unbiased variances, no borders; of the channels' sum, within the range of both maps.

    Args:
        a: (B, C, ...) or (B, N).
        kind: one of `SIMILARITIES`.

    Returns:
        From maps (B, ...), or (K * B, ...), of that shape to similarities (B,), or (K * B,), 1 for equal maps. A rank
        correlation with a constant map is 0.

    Raises:
        InputError: the kind is unknown.
    """
    check_choice("similarity", kind, SIMILARITIES)
    if kind == "ssim":
        return lambda b: _ssim(a.repeat(len(b) // len(a), *[1] * (a.ndim - 1)), b)

    def normed(maps: Tensor) -> Tensor:
        found = ranks((maps.abs() if kind == "spearman_of_abs" else maps).flatten(1))
        return nn.functional.normalize(found - (found.shape[1] + 1) / 2)

    first = normed(a)
    return lambda b: (first * normed(b).view(-1, *first.shape)).sum(2).flatten()


def ranks(values: Tensor) -> Tensor:
    """Rank each row (R, N) from 1 on, equal values by the mean of their places: (R, N) float64."""
    if values.device.type == "cpu":  # numpy sorts several times as fast
        order = torch.from_numpy(np.argsort(values.numpy(), axis=1))
    else:
        order = values.argsort(dim=1)
    ordered = values.gather(1, order)
    place = torch.arange(1, values.shape[1] + 1, dtype=torch.float64, device=values.device).repeat(len(values))
    same = ordered[:, 1:] == ordered[:, :-1]
    again = nn.functional.pad(same, (1, 0)).flatten()
    tied = (again | nn.functional.pad(same, (0, 1)).flatten()).nonzero().flatten()
    if len(tied):
        run = (~again[tied]).cumsum(0) - 1
        place[tied] = (torch.bincount(run, place[tied]) / torch.bincount(run))[run]
    found = torch.empty(order.shape, dtype=torch.float64, device=values.device)
    return found.scatter_(1, order, place.view_as(order))


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    both = []
    for maps in (a, b):
        pixels = rank_pixels(maps, ranking="signed_sum").double()
        both.append(pixels.view(len(maps), 1, *(maps.shape[2:] or maps.shape[1:])))
    spatial = both[0].shape[2:]
    window = [min(_WINDOW, side - 1 + side % 2) for side in spatial]

    def pool(values: Tensor) -> Tensor:
        """Average over the window, side by side."""
        for dim, side in enumerate(window, 2):
            values = values.unfold(dim, side, 1).mean(-1)
        return values

    x, y = both
    limits = torch.cat(both, 1).flatten(1)
    scale = (limits.amax(1) - limits.amin(1)).view(-1, *[1] * (x.ndim - 1))
    count = math.prod(window)
    unbiased = count / max(count - 1, 1)
    mean_x, mean_y = pool(x), pool(y)
    var_x = unbiased * (pool(x * x) - mean_x**2)
    var_y = unbiased * (pool(y * y) - mean_y**2)
    covariance = unbiased * (pool(x * y) - mean_x * mean_y)
    c1, c2 = (_K1 * scale) ** 2, (_K2 * scale) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    found = likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return found.flatten(1).mean(1)

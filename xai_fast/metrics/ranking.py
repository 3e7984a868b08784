"""From an attribution map to one importance per pixel, and to the order in which pixels are taken."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor, check_choice
from xai_fast.metrics.checks import check_attributions

__all__ = ["RANKINGS", "pixel_positions", "rank_pixels"]

RANKINGS = ("signed_sum", "abs_sum", "sum_of_abs")
"""How the channels of a pixel become one importance: ``sum_c a_c``, ``|sum_c a_c|`` or ``sum_c |a_c|``."""


def rank_pixels(attributions: Tensor | NDArray[Any], *, ranking: str = "sum_of_abs") -> Tensor:
    """Reduce attributions to one importance per pixel, the larger the earlier.

    Args:
        attributions: (B, C, ...) floating point, with any number of spatial dimensions; or (B, N), where each feature
            is a pixel of its own.
        ranking: ``"signed_sum"``, ``"abs_sum"`` or ``"sum_of_abs"``, see `RANKINGS`.

    Returns:
        (B, P) importance of the P pixels in reading order, float32 or wider, in the units of the attributions.

    Raises:
        InputError: the ranking is unknown, or the attributions are not finite or of another shape; items are named.
    """
    check_choice("ranking", ranking, RANKINGS)
    maps: Tensor = as_tensor(attributions)
    check_attributions(maps)
    # One memory layout, so that the sum over channels is rounded alike for channels_last and sliced maps: pixels that
    # differ by a rounding error would otherwise change places.
    values = maps.detach().contiguous()
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    values = values.flatten(2) if values.ndim > 2 else values[:, None]
    if ranking == "sum_of_abs":
        return values.abs().sum(1)
    return values.sum(1).abs() if ranking == "abs_sum" else values.sum(1)


def pixel_positions(importance: Tensor, *, descending: bool = True) -> Tensor:
    """Give each pixel its place in the order of importance (B, P), int32; equal pixels keep their reading order."""
    order = importance.sort(dim=1, descending=descending, stable=True).indices
    place = torch.arange(importance.shape[1], dtype=torch.int32, device=importance.device).expand_as(order)
    return torch.empty_like(place, memory_format=torch.contiguous_format).scatter_(1, order, place)

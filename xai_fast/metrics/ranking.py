"""From an attribution map to one importance per pixel, and to the order in which pixels are taken."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor, check_choice
from xai_fast.metrics.checks import check_attributions

__all__ = ["RANKINGS", "channel_importance", "pixel_places", "pixel_positions", "places", "rank_pixels"]

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
    values = _by_channel(attributions)
    if ranking == "sum_of_abs":
        return values.abs().sum(1)
    return values.sum(1).abs() if ranking == "abs_sum" else values.sum(1)


def channel_importance(attributions: Tensor | NDArray[Any], ranking: str) -> Tensor:
    """Give what pixels are ordered by, for metrics that replace them in this order.

    With one of `RANKINGS` that is `rank_pixels`. With ``"per_channel"`` each channel orders the pixels by its signed
    values, and all channels of a pixel are replaced as soon as one of them says so: up to as many times more pixels
    than the axis says as there are channels, and a random map no longer scores as by chance. So orders the evaluator
    that was published with AGI (Pan et al., IJCAI 2021).

    Returns:
        (B, C, P) per channel, else (B, 1, P).
    """
    check_choice("ranking", ranking, (*RANKINGS, "per_channel"))
    return (
        _by_channel(attributions) if ranking == "per_channel" else rank_pixels(attributions, ranking=ranking)[:, None]
    )


def places(importance: Tensor, *, descending: bool = True) -> Tensor:
    """Give each of P pixels its place (B, P), int32, from importance (B, C, P): the first that a channel gives it."""
    return pixel_positions(importance.flatten(0, 1), descending=descending).view(importance.shape).amin(1)


def pixel_places(attributions: Tensor | NDArray[Any], ranking: str, *, descending: bool = True) -> Tensor:
    """Give each pixel its place (B, P), int32, see `channel_importance`; the pixels below n are replaced after n."""
    return places(channel_importance(attributions, ranking), descending=descending)


def _by_channel(attributions: Tensor | NDArray[Any]) -> Tensor:
    """Check attributions, and give them as (B, C, P), float32 or wider."""
    maps: Tensor = as_tensor(attributions)
    check_attributions(maps)
    # One memory layout, so that the sum over channels is rounded alike for channels_last and sliced maps: pixels that
    # differ by a rounding error would otherwise change places.
    values = maps.detach().contiguous()
    values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
    return values.flatten(2) if values.ndim > 2 else values[:, None]


def pixel_positions(importance: Tensor, *, descending: bool = True) -> Tensor:
    """Give each pixel its place in the order of importance (B, P), int32; equal pixels keep their reading order."""
    order = importance.sort(dim=1, descending=descending, stable=True).indices
    place = torch.arange(importance.shape[1], dtype=torch.int32, device=importance.device).expand_as(order)
    return torch.empty_like(place, memory_format=torch.contiguous_format).scatter_(1, order, place)

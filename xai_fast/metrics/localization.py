"""How much of an explanation lies on the object: relevance mass and rank accuracy, top-k intersection.

Arras, Osman and Samek, "CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation of Neural Network Explanations",
Information Fusion 2022, section 3.3; Theiner, Müller-Budack and Ewerth, "Interpretable Semantic Photo Geolocation",
WACV 2022, section 4.3 (top-k intersection).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.metrics.pointing_game import maps_and_boxes
from xai_fast.metrics.ranking import pixel_positions
from xai_fast.terminal import ShortRepr

__all__ = ["Localization", "localization"]


@dataclass(frozen=True, repr=False)
class Localization(ShortRepr):
    """Localization of the map of each item; larger is better in all three.

    Attributes:
        mass: (B,) the share of the importance that lies in the boxes; NaN for a map of zeros.
        rank: (B,) of as many most important pixels as the boxes have, the share in the boxes.
        top_k: (B,) of the k most important pixels, the share in the boxes.
        area: (B,) the share of the pixels that the boxes have: what a random map has of all three on average.
    """

    mass: Tensor
    rank: Tensor
    top_k: Tensor
    area: Tensor


def localization(
    attributions: Tensor | NDArray[Any],
    boxes: Sequence[Tensor | Sequence[Sequence[float]]] | Tensor,
    *,
    ranking: str = "sum_of_abs",
    k: int = 100,
) -> Localization:
    """Measure which share of a map lies in boxes.

    Args:
        attributions: see `xai_fast.metrics.pointing_game`. Of equal pixels the first in reading order is first.
        boxes: see there.
        ranking: see there; with ``"signed_sum"`` negative pixels count as zero for the mass.
        k: pixels of ``top_k``; all, where there are fewer.

    Returns:
        The shares of each item.

    Raises:
        InputError: an argument does not fit, an item has no box, or attributions are not finite; items are named.
    """
    k = check_integer("k", k, 1)
    importance, (height, width), table, owner = maps_and_boxes(attributions, boxes, ranking)
    row = torch.arange(height, device=table.device)[:, None]
    column = torch.arange(width, device=table.device)
    x0, y0, x1, y1 = table.T[..., None, None]
    covered = ((column >= x0) & (column <= x1) & (row >= y0) & (row <= y1)).flatten(1).to(importance.dtype)
    inside = torch.zeros_like(importance).index_add_(0, owner, covered).clamp(max=1)
    place, pixels = pixel_positions(importance), inside.sum(1)
    shares = importance.clamp(min=0)
    top = (place < k).to(importance.dtype)
    return Localization(
        mass=(shares * inside).sum(1) / shares.sum(1),
        rank=(inside * (place < pixels[:, None])).sum(1) / pixels,
        top_k=(inside * top).sum(1) / top.sum(1),
        area=inside.mean(1),
    )

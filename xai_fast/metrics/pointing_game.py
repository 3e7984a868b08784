"""The pointing game: does the maximum of an attribution lie on the object?

Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016, section 4.1.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor
from xai_fast.errors import bad_argument
from xai_fast.metrics.ranking import rank_pixels
from xai_fast.terminal import ShortRepr

__all__ = ["PointingGame", "maps_and_boxes", "pointing_game"]


@dataclass(frozen=True, repr=False)
class PointingGame(ShortRepr):
    """Hits and misses.

    Attributes:
        hits: (B,) bool, the maximum lies in a box of the item, or within the tolerance of one.
        accuracy: () the share of hits, over the items (the paper averages it over categories); NaN without items.
        points: (B, 2) int64, the maximum as (x, y) = (column, row).
        distances: (B,) float32, pixels from the maximum to the nearest box of the item, 0 inside of it.
    """

    hits: Tensor
    accuracy: Tensor
    points: Tensor
    distances: Tensor


def pointing_game(
    attributions: Tensor | NDArray[Any],
    boxes: Sequence[Tensor | Sequence[Sequence[float]]] | Tensor,
    *,
    ranking: str = "sum_of_abs",
    tolerance: float = 15.0,
) -> PointingGame:
    """Play the pointing game (Zhang et al., ECCV 2016).

    Args:
        attributions: (B, C, H, W) or (B, H, W). Of equal maxima the first in reading order is the point.
        boxes: for each item its boxes (K, 4), a tensor, array or list, K at least 1, or its only one (4,): (x0, y0, x1,
            y1) in pixels, x along W, y along H, both corners part of the box.
        ranking: how channels become the importance of a pixel, see `xai_fast.metrics.rank_pixels`.
        tolerance: Euclidean distance in pixels from a box at which the maximum still counts as a hit.

    Returns:
        Hits, their share, the points, and how far they are from their boxes.

    Raises:
        InputError: an argument does not fit, an item has no box, or attributions are not finite; items are named.
    """
    _check_tolerance(tolerance)
    importance, (_, width), table, owner = maps_and_boxes(attributions, boxes, ranking)
    pixel = importance.argmax(1)
    points = torch.stack([pixel % width, pixel // width], 1)
    point = points[owner].to(table.dtype)
    gap = torch.maximum(table[:, :2] - point, point - table[:, 2:]).clamp(min=0.0)
    distances = torch.full((len(importance),), torch.inf, device=table.device)
    distances = distances.scatter_reduce(0, owner, torch.linalg.vector_norm(gap, dim=1), "amin")
    hits = distances <= tolerance
    return PointingGame(hits=hits, accuracy=hits.float().mean(), points=points, distances=distances)


def maps_and_boxes(
    attributions: Tensor | NDArray[Any], boxes: Sequence[Tensor | Sequence[Sequence[float]]] | Tensor, ranking: str
) -> tuple[Tensor, tuple[int, int], Tensor, Tensor]:
    """Check maps and their boxes, see `pointing_game`.

    Returns:
        The importance (B, H * W), (H, W), all boxes (K, 4) float32, and the item of each (K,) int64.
    """
    attributions = as_tensor(attributions)
    if isinstance(attributions, Tensor) and attributions.ndim == 3:
        attributions = attributions.unsqueeze(1)
    importance = rank_pixels(attributions, ranking=ranking)
    if attributions.ndim != 4:
        raise bad_argument("attributions", "shape (B, C, H, W)", str(tuple(attributions.shape)))
    if len(boxes) != attributions.shape[0]:
        raise bad_argument("boxes", f"the boxes of {attributions.shape[0]} items", f"those of {len(boxes)}")
    tables = [_table(item, item_boxes) for item, item_boxes in enumerate(boxes)]
    owners = [item for item, table in enumerate(tables) for _ in range(table.shape[0])]
    owner = torch.tensor(owners, dtype=torch.int64).to(attributions.device)
    table = torch.cat([torch.empty(0, 4), *tables]).to(attributions.device)
    return importance, (attributions.shape[2], attributions.shape[3]), table, owner


def _check_tolerance(tolerance: object) -> None:
    number = math.nan if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) else float(tolerance)
    if not 0.0 <= number < math.inf:
        raise bad_argument("tolerance", "a finite number of at least 0", repr(tolerance))


def _table(item: int, boxes: Tensor | Sequence[Sequence[float]]) -> Tensor:
    name = f"boxes[{item}]"
    try:
        table = torch.as_tensor(boxes, dtype=torch.float32).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise bad_argument(name, "a table of numbers (K, 4)", f"{boxes!r}") from error
    if table.numel() == 0:
        raise bad_argument(name, f"at least one box (x0, y0, x1, y1) for item {item}", "none")
    table = table[None] if table.ndim == 1 else table
    if table.ndim != 2 or table.shape[1] != 4:
        raise bad_argument(name, "shape (K, 4)", str(tuple(table.shape)))
    wrong = ~(table.isfinite().all(1) & (table[:, :2] <= table[:, 2:]).all(1))
    if wrong.any():
        raise bad_argument(name, "finite boxes with x0 <= x1 and y0 <= y1", str(table[wrong][0].tolist()))
    return table

"""Region perturbation: the score while regions are replaced, most or least relevant first (MoRF, LeRF, AOPC, ABPC).

Samek et al., "Evaluating the Visualization of What a Deep Neural Network Has Learned", IEEE TNNLS 2017; the area
between both curves: Schulz et al., "Restricting the Flow: Information Bottlenecks for Attribution", ICLR 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_choice, check_integer
from xai_fast.attribution.masks import Game
from xai_fast.engine.masked import Baseline, baseline_inputs
from xai_fast.errors import bad_argument
from xai_fast.metrics.checks import check_not_nan
from xai_fast.metrics.ranking import channel_importance, places
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["ORDERS", "region_perturbation", "region_places", "replaced_scores"]

ORDERS = {"both": (True, False), "morf": (True,), "lerf": (False,)}
"""Whether the most relevant go first, for one or two curves."""


def region_perturbation(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    order: str = "both",
    region: int = 9,
    steps: int | None = 100,
    ranking: str = "signed_sum",
    baseline: Baseline = 0.0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Replace regions in the order of their relevance, and follow the score (Samek et al. 2017).

    AOPC is the mean over the steps, from 0, of the score that is lost (Eq. 12); larger is better for "morf", smaller
    for "lerf". ABPC is the first less the second: larger is better, and a random map scores 0 on average. If the score
    is a sum over regions, no map has more than the regions' contributions. An item costs an evaluation per step and
    order, and one.

    Args:
        model: see `xai_fast.metrics.faithfulness_correlation`, like ``inputs`` and ``call``.
        inputs: see there.
        attributions: (B, C', ...) like ``inputs``, any number of channels, or without; or (B, N).
        order: "morf", the most relevant regions first, "lerf", the least relevant ones, or "both" for ABPC.
        region: the sides of a region in pixels (columns, of rows (B, N)); those at the end may be smaller.
        steps: regions that are replaced, one after another; at most and with None all of them.
        ranking: how channels become the relevance of a pixel, see `xai_fast.metrics.ranking.channel_importance`; that
            of a region is the sum over its pixels. Equally relevant regions go in reading order.
        baseline: what takes their place: a number, one per channel or column, "blur" or "mean" of the item, or a tensor
            that broadcasts to the inputs, such as noise (Samek et al. average over uniform noise).
        **call: see there.

    Returns:
        AOPC or ABPC of each item, and as curves the scores (B, orders, steps + 1).
    """
    check_choice("order", order, tuple(ORDERS))
    check_integer("region", region, 1)
    items = make_call(model, inputs, **call)
    number = torch.zeros((), dtype=torch.int64, device=items.device)
    for side in items.values[0].shape[2:] or items.values[0].shape[1:]:
        number = number[..., None] * side + torch.arange(side, device=items.device).div(region, rounding_mode="floor")
    game = Game(items, number, lambda x: baseline_inputs("baseline", baseline, x))
    regions = game.features.count
    count = regions if steps is None else min(check_integer("steps", steps, 1), regions)
    orders = [region_places(game, attributions, ranking, descending=descending) for descending in ORDERS[order]]
    curves = torch.stack([replaced_scores(game, place, torch.full_like(items.item_ids, count)) for place in orders], 1)
    lost = (game.scores[:, None, None] - curves).mean(2)
    return MetricResult(
        lost[:, 0] - lost[:, 1] if order == "both" else lost[:, 0], game.evaluations, game.targets, curves
    )


def region_places(
    game: Game, attributions: Array, ranking: str, *, descending: bool = True, average: bool = False
) -> Tensor:
    """Order the features of a game, which are regions of pixels, by the sum or the average of their pixels' relevance.

    Returns:
        (B, K) int32, the place of each region; those that an item does not have come last.

    Raises:
        InputError: the regions of channels differ.
    """
    index, inputs = game.features.index, game.masked.inputs
    if inputs.ndim > 2 and index.shape[1] > 1:
        raise bad_argument("features", "regions of pixels, the same in all channels", "others")
    values = channel_importance(game.masked.fitted(attributions), ranking)
    sides = (1, *inputs.shape[2:]) if inputs.ndim > 2 else inputs.shape[1:]
    index = index.expand(-1, *sides).flatten(1)[:, None].expand(values.shape)
    sums, sizes = values.new_zeros(2, *values.shape[:2], game.features.count)
    sums.scatter_add_(2, index, values)
    sizes.scatter_add_(2, index, torch.ones_like(values))
    relevance = sums / sizes.clamp(min=1) if average else sums
    return places(relevance.masked_fill(sizes == 0, -torch.inf if descending else torch.inf), descending=descending)


def replaced_scores(game: Game, place: Tensor, steps: Tensor) -> Tensor:
    """Score items while their features are replaced, those whose place (B, K) is below n after step n.

    Returns:
        (B, S + 1), S the most of an item's steps (B,); after an item's last step its score stays.
    """
    number = torch.arange(int(steps.max()) + 1, device=place.device)
    item, before = (number[:-1] < steps[:, None]).nonzero(as_tuple=True)
    curves = game.scores[:, None].repeat(1, len(number))
    curves[item, before + 1] = game.play(lambda row: place[item[row]] > before[row, None], item)
    check_not_nan(curves)
    return curves.gather(1, torch.minimum(number, steps[:, None]))

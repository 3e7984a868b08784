"""IROF: how fast the score goes with the superpixels that an attribution calls relevant.

Rieger and Hansen, "IROF: a low resource evaluation metric for explanation methods", ICLR workshop 2020.
"""

from __future__ import annotations

import torch
from typing_extensions import Unpack

from xai_fast.attribution.masks import Game
from xai_fast.engine.features import Grouping
from xai_fast.engine.masked import Baseline, baseline_inputs
from xai_fast.metrics.checks import check_not_nan
from xai_fast.metrics.region_perturbation import region_places, replaced_scores
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["irof"]


def irof(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    features: Grouping = "superpixels:300",
    ranking: str = "signed_sum",
    baseline: Baseline = "mean",
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Measure IROF (Rieger and Hansen 2020): the area over the curve of ``f / f(x)``, superpixel by superpixel.

    The area is that of trapezoids and, unlike the paper's, divided by the number of regions, which differs by item.
    Larger is better; if the score is a sum over regions, a random map scores ``(1 - f(baseline) / f(x)) / 2`` on
    average, and no map has more than the regions' contributions. Scores have to be positive, as probabilities are. An
    item costs an evaluation per region, and one.

    ``features`` are the regions: superpixels (scikit-image), a number of cells per dimension, or integers that
    broadcast to the inputs, one channel. The relevance of a region is the mean over its pixels. Other arguments as for
    `xai_fast.metrics.region_perturbation`.

    Returns:
        The area of each item, and as curves the scores (B, K + 1); an item's last score stays if it has fewer regions.

    Raises:
        ModelError: an item's score is 0 or not a number; it is named.
    """
    game = Game(make_call(model, inputs, **call), features, lambda x: baseline_inputs("baseline", baseline, x))
    regions = torch.tensor(game.features.counts, device=game.call.device)
    curves = replaced_scores(game, region_places(game, attributions, ranking, average=True), regions)
    relative = curves / curves[:, :1].masked_fill(curves[:, :1] == 0, torch.nan)
    check_not_nan(relative)
    # After an item's last region the curve has no width.
    share = (torch.arange(curves.shape[1], device=curves.device).to(curves.dtype) / regions[:, None]).clamp(max=1)
    return MetricResult(1 - torch.trapezoid(relative, share), game.evaluations, game.targets, curves)

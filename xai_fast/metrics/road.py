"""ROAD: the score while the most and the least relevant pixels are replaced by what their neighbours predict.

Rong et al., "A Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_choice, check_integer, check_positive, check_share
from xai_fast.engine.draws import MAX_SEED, random_entries
from xai_fast.engine.masked import MaskedScores
from xai_fast.errors import bad_argument
from xai_fast.metrics.checks import check_not_nan
from xai_fast.metrics.imputation import Imputation
from xai_fast.metrics.ranking import pixel_places
from xai_fast.metrics.region_perturbation import ORDERS
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["road"]


def road(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    order: str = "both",
    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9),
    noise: float = 0.01,
    ranking: str = "signed_sum",
    seed: int = 0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Measure ROAD (Rong et al., ICML 2022), remove and debias: the mean score over the shares of replaced pixels.

    Smaller is better for the order "morf", larger for "lerf" and for "both", the second less the first, where a random
    map scores 0 on average. (The paper follows the accuracy over many items, here it is the score of each.) An item
    costs an evaluation per share and order, and one. Besides, each mask is a linear system for all channels, solved on
    the CPU: about a millisecond for 28 x 28 pixels, 0.2 s for 224 x 224.

    Args:
        model: see `xai_fast.metrics.faithfulness_correlation`, like ``call``.
        inputs: (B, C, H, W).
        attributions: (B, C', H, W), any number of channels, or (B, H, W).
        order: "morf", the most relevant pixels are replaced, "lerf", the least relevant ones, or "both".
        shares: of the pixels that are replaced, each above 0 and below 1.
        noise: standard deviation of the normal noise on replaced pixels, in the model's input units.
        ranking: how channels become the relevance of a pixel, see `xai_fast.metrics.ranking.channel_importance`.
        seed: of the noise, 0 to 2**32 - 1.
        **call: see there.

    Returns:
        ROAD of each item, and as curves the scores (B, orders, shares).

    Raises:
        InputError: an argument does not fit, or scipy is not installed.
    """
    check_choice("order", order, tuple(ORDERS))
    if not isinstance(shares, Sequence) or not shares or any(check_share("shares", s, zero=False) == 1 for s in shares):
        raise bad_argument("shares", "numbers above 0 and below 1", repr(shares))
    check_positive("noise", noise)
    check_integer("seed", seed, 0, MAX_SEED)
    masked = MaskedScores(make_call(model, inputs, **call))
    x, fitted = masked.inputs, masked.fitted(attributions)
    if x.ndim != 4:
        raise bad_argument("inputs", "images (B, C, H, W)", str(tuple(x.shape)))
    impute = Imputation(*x.shape[2:])
    place = torch.stack([pixel_places(fitted, ranking, descending=first) for first in ORDERS[order]], 1)
    counts = torch.tensor([int(share * place.shape[2]) for share in shares], device=x.device)
    shape = (len(x), place.shape[1], len(shares))
    item, by, share = torch.ones(shape, device=x.device).nonzero(as_tuple=True)
    pixels = x.flatten(2).double().cpu().numpy()
    clean, targets = masked.clean()

    def make(row: Tensor) -> Tensor:
        missing = place[item[row], by[row]] < counts[share[row], None]
        each = zip(item[row].tolist(), missing.cpu().numpy(), strict=True)
        filled = torch.from_numpy(np.stack([impute(pixels[i], gone) for i, gone in each])).to(x.device)
        ids, number = masked.call.item_ids[item[row]], by[row] * len(shares) + share[row]
        normal = random_entries(filled.flatten(1), ids, number, "normal", seed, 1).view(filled.shape)
        return (filled + noise * normal * missing[:, None]).to(x.dtype).view(-1, *x.shape[1:])

    curves = masked.score_rows(make, item, targets).view(shape)
    check_not_nan(torch.cat([clean[:, None], curves.flatten(1)], 1))
    mean = curves.mean(2)
    return MetricResult(mean[:, 1] - mean[:, 0] if order == "both" else mean[:, 0], masked.evaluations, targets, curves)

"""Sufficiency: do items with like explanations have the same prediction?

Dasgupta, Frost and Moshkovitz, "Framework for Evaluating Faithfulness of Local Explanations", ICML 2022.
"""

from __future__ import annotations

import torch
from typing_extensions import Unpack

from xai_fast.arguments import check_share
from xai_fast.engine.masked import MaskedScores
from xai_fast.errors import bad_argument
from xai_fast.metrics.checks import check_attributions, check_not_nan
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["sufficiency"]


def sufficiency(
    model: Model, inputs: Array, attributions: Array, *, threshold: float = 0.6, **call: Unpack[CallOptions]
) -> MetricResult:
    """Measure the sufficiency (Dasgupta et al., ICML 2022) of the explanations of a set of items.

    It is the share of the other items with a like explanation for which the model predicts the same class. Explanations
    are alike whose distance is at most ``threshold`` of the largest one between two items; it is Euclidean, each entry
    in units of its standard deviation over the items. From 0 to 1, larger is better; a random map scores on average how
    often another item has the same prediction. Unlike other metrics this one is about the batch as a whole. An item
    costs one evaluation. Other arguments as for `xai_fast.metrics.region_perturbation`.

    Returns:
        The share for each item, NaN where no explanation is like its own; and as curves the like ones, (B, B) bool.

    Raises:
        InputError: an argument does not fit: a ``target``, a model of one output, a single item.
    """
    check_share("threshold", threshold)
    if call.get("target") is not None:
        raise bad_argument("target", "None, as predictions are compared", repr(call["target"]))
    masked = MaskedScores(make_call(model, inputs, **call))
    fitted = masked.fitted(attributions)
    check_attributions(fitted)
    if len(fitted) < 2:
        raise bad_argument("inputs", "at least two items", str(len(fitted)))
    scores, predicted = masked.clean()
    check_not_nan(scores[:, None])
    if predicted is None:
        raise bad_argument("model", "outputs of several classes", "a single output")
    maps = fitted.detach().flatten(1).double()
    deviation = maps.std(0)
    maps = maps / torch.where(deviation > 0, deviation, 1.0)
    distance = torch.cdist(maps, maps, compute_mode="donot_use_mm_for_euclid_dist")
    like = (distance <= threshold * distance.amax()).fill_diagonal_(False)
    same = (like & (predicted[:, None] == predicted)).sum(1)
    return MetricResult(same.double() / like.sum(1), masked.evaluations, predicted, like)

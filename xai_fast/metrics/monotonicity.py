"""Monotonicity, in its two definitions: scores that rise feature by feature, and ranks that agree with uncertainty.

Arya et al., "One Explanation Does Not Fit All: A Toolkit and Taxonomy of AI Explainability Techniques", 2019; Nguyen
and Martinez, "On quantitative aspects of model interpretability", 2020, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_integer
from xai_fast.engine.draws import random_entries
from xai_fast.engine.features import Grouping
from xai_fast.engine.masked import Baseline
from xai_fast.metrics.features import FeatureScores, correlation
from xai_fast.metrics.ranking import places
from xai_fast.metrics.region_perturbation import replaced_scores
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call
from xai_fast.metrics.similarity import ranks

__all__ = ["monotonicity", "monotonicity_correlation"]

_STEP = 3  # of the draws, so that they are not those of a method with the same seed


def monotonicity(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    features: Grouping = "cells",
    baseline: Baseline = 0.0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Put in features, the least ``|a_i|`` first, and count the steps at which the score does not fall.

    Arya et al. (2019) ask whether that is all of them: whether the value is 1. From 0 to 1, larger is better; falls
    within rounding are none. If the score is a sum over the features, each step is a contribution, and every map scores
    the share of those that are not negative: the metric then says nothing of the map. An item costs an evaluation per
    feature, and one. Arguments as for `xai_fast.metrics.faithfulness_correlation`.

    Returns:
        The share of the steps for each item, and as curves the scores from none to all features, (B, K + 1); where an
        item has fewer than K, its first score comes more than once.
    """
    scores = FeatureScores(make_call(model, inputs, **call), attributions, features, baseline)
    importance = scores.attributions.abs().masked_fill(~scores.exists, -torch.inf)
    counts = scores.exists.sum(1)
    curves = replaced_scores(scores, places(importance[:, None]), counts).flip(1)
    rounding = 8 * torch.finfo(curves.dtype).eps * curves.abs().amax(1, keepdim=True)
    return scores.result(1 - (curves.diff() < -rounding).sum(1).double() / counts, curves)


def monotonicity_correlation(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    samples: int = 10,
    features: Grouping = "cells",
    seed: int = 0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Compare the order of features with how uncertain the score is without them (Nguyen and Martinez 2020).

    It is Spearman's correlation of ``|a_i|`` and of ``E (f(x) - f(x with i replaced))^2``, over ``samples`` values for
    the entries of feature i that are uniform between the item's least and largest value. (The paper's factor ``1 /
    f(x)^2`` changes no rank.) From -1 to 1, larger is better; a random map scores 0 on average, the roots of these
    expectations score 1. An item costs ``samples`` evaluations per feature, and one. Other arguments as for
    `xai_fast.metrics.faithfulness_correlation`.

    Returns:
        The correlation of each item, and as curves the expectations (B, K), 0 beyond an item's features.
    """
    check_integer("samples", samples, 1)
    scores = FeatureScores(make_call(model, inputs, **call), attributions, features, seed=seed)
    x, index = scores.masked.inputs, scores.features.index
    low, high = (values[:, None] for values in x.flatten(1).aminmax(dim=1))
    of, feature = (part.repeat_interleave(samples) for part in scores.exists.nonzero(as_tuple=True))
    number = feature * samples + torch.arange(len(of), device=of.device) % samples

    def make(row: Tensor) -> Tensor:
        item = of[row]
        unit = random_entries(x[item].flatten(1), scores.call.item_ids[item], number[row], "box", seed, _STEP)
        values = (low[item] + (high - low)[item] * (unit + 1) / 2).view(-1, *x.shape[1:])
        inside = index[item % len(index)] == feature[row].view(-1, *[1] * (x.ndim - 1))
        return torch.where(inside, values, x[item])

    lost = scores.lost(scores.masked.score_rows(make, of, scores.targets), of)
    rounding = 8 * torch.finfo(lost.dtype).eps * scores.scores[of].abs()
    changes = torch.where(lost.abs() > rounding, lost, 0.0).double().square() / samples
    expected = torch.zeros_like(scores.attributions).index_put_((of, feature), changes, accumulate=True)
    absent = ~scores.exists
    by_map, by_score = (
        ranks(values.masked_fill(absent, torch.inf)) for values in (scores.attributions.abs(), expected)
    )
    return scores.result(correlation(by_map, by_score, scores.exists), expected)

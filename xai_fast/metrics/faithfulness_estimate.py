"""Faithfulness estimate: does the score drop with a feature as its attribution says?

Alvarez-Melis and Jaakkola, "Towards Robust Interpretability with Self-Explaining Neural Networks", NeurIPS 2018,
section 5 (faithfulness).
"""

from __future__ import annotations

import torch
from typing_extensions import Unpack

from xai_fast.engine.features import Grouping
from xai_fast.engine.masked import Baseline
from xai_fast.metrics.features import FeatureScores, correlation
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["faithfulness_estimate"]


def faithfulness_estimate(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    features: Grouping = "cells",
    baseline: Baseline = 0.0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Estimate the faithfulness (Alvarez-Melis and Jaakkola, NeurIPS 2018).

    It is Pearson's correlation, over the features i, of ``a_i`` and of the score lost where feature i alone is
    replaced. From -1 to 1, larger is better; a random map scores 0 on average, as does, by definition, a constant one;
    the contributions to a linear model score 1. An item costs an evaluation per feature, and one. Arguments as for
    `xai_fast.metrics.faithfulness_correlation`.

    Returns:
        The correlation of each item, and as curves the scores lost, (B, K), 0 beyond an item's features.
    """
    scores = FeatureScores(make_call(model, inputs, **call), attributions, features, baseline)
    item, feature = scores.exists.nonzero(as_tuple=True)
    each = torch.arange(scores.features.count, device=item.device)
    found = scores.scores.new_zeros(scores.exists.shape)
    found[item, feature] = scores.without(lambda row: feature[row, None] == each, item)[1]
    return scores.result(correlation(scores.attributions, found, scores.exists), found)

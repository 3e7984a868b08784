"""Sensitivity-n: the faithfulness of attributions for subsets of every size.

Ancona, Ceolini, Oztireli and Gross, "Towards better understanding of gradient-based attribution methods for Deep Neural
Networks", ICLR 2018, section 4.2.
"""

from __future__ import annotations

import torch
from typing_extensions import Unpack

from xai_fast.arguments import check_integer
from xai_fast.engine.features import Grouping
from xai_fast.engine.masked import Baseline
from xai_fast.metrics.faithfulness_correlation import subset_correlations
from xai_fast.metrics.features import FeatureScores
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["sensitivity_n"]


def sensitivity_n(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    sizes: int = 15,
    subsets: int = 100,
    features: Grouping = "cells",
    baseline: Baseline = 0.0,
    seed: int = 0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Measure sensitivity-n (Ancona et al., ICLR 2018), by correlation as in the paper's experiments.

    It is the mean over ``sizes`` numbers n, from 1 to 80 % of the features on a logarithmic scale, of Pearson's
    correlation over random subsets S of n features of ``sum_{i in S} a_i`` and ``f(x) - f(x without S)``. From -1 to 1,
    larger is better; a random map scores 0 on average, the contributions to a linear model score 1. An item costs
    ``sizes * subsets`` evaluations, and one. Other arguments as for `xai_fast.metrics.faithfulness_correlation`.

    Returns:
        The mean for each item, and as curves the correlations (B, sizes).
    """
    check_integer("sizes", sizes, 1)
    scores = FeatureScores(make_call(model, inputs, **call), attributions, features, baseline, seed)
    power = torch.arange(sizes, dtype=torch.float64, device=scores.call.device) / max(1, sizes - 1)
    largest = (scores.exists.sum(1, keepdim=True) * 4 // 5).clamp(min=1)
    correlations = subset_correlations(scores, (largest**power).round().long(), subsets)
    return scores.result(correlations.mean(1), correlations)

"""Faithfulness correlation: do attributions add up like the score that goes with random subsets of features?

Bhatt, Weller and Moura, "Evaluating and Aggregating Feature-based Model Explanations", IJCAI 2020, definition 4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_integer, check_share
from xai_fast.engine.features import Grouping
from xai_fast.engine.masked import Baseline
from xai_fast.metrics.features import FeatureScores, correlation
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["faithfulness_correlation", "subset_correlations"]


def faithfulness_correlation(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    share: float = 0.2,
    subsets: int = 100,
    features: Grouping = "cells",
    baseline: Baseline = 0.0,
    seed: int = 0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Measure the faithfulness correlation (Bhatt et al., IJCAI 2020).

    It is Pearson's correlation, over random subsets S of the features, of ``sum_{i in S} a_i`` and of the score lost
    where S is replaced, ``f(x) - f(x without S)``. From -1 to 1, larger is better; a random map scores 0 on average, as
    does, by definition, a map or a score that is constant; the contributions to a linear model score 1. An item costs
    ``subsets`` evaluations, and one.

    Args:
        model: a module in evaluation mode, or any callable; it is called without autograd, and left as it was.
        inputs: (B, C, ...) or (B, N), float32 or float64, in the model's input units.
        attributions: contributions to the score, signed: (B, C', ...) like ``inputs``, or without channels.
        share: of the features that are in a subset; at least one is.
        subsets: per item, at least 2.
        features: which entries go together, see `xai_fast.metrics.features.FeatureScores`.
        baseline: what takes their place, see there.
        seed: of the subsets, 0 to 2**32 - 1.
        **call: see `xai_fast.metrics.results.CallOptions`.

    Returns:
        The correlation of each item.

    Raises:
        InputError: an argument does not fit, or attributions are not finite; items are named.
        ModelError: the model is in training mode, or an item has a NaN score.
    """
    check_share("share", share, zero=False)
    scores = FeatureScores(make_call(model, inputs, **call), attributions, features, baseline, seed)
    sizes = (scores.exists.sum(1, keepdim=True).double() * share).round().long().clamp(min=1)
    return scores.result(subset_correlations(scores, sizes, subsets)[:, 0])


def subset_correlations(scores: FeatureScores, sizes: Tensor, subsets: int) -> Tensor:
    """Correlate attributions and lost scores over random subsets of some sizes (B, S), at each one by itself.

    Returns:
        (B, S) float64. The subset j of the size s is the item's number ``s * subsets + j``.
    """
    check_integer("subsets", subsets, 2)
    shape = (*sizes.shape, subsets)
    item, size, subset = torch.ones(shape, device=sizes.device).nonzero(as_tuple=True)
    number = size * subsets + subset
    sums, lost = scores.without(
        lambda row: scores.random_subsets(item[row], number[row], sizes[item[row], size[row]]), item
    )
    return correlation(sums.view(shape), lost.view(shape))

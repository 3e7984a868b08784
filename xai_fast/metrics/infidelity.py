"""Infidelity: by how much the score's change under random perturbations is not what the attributions say.

Yeh et al., "On the (In)fidelity and Sensitivity of Explanations", NeurIPS 2019, definition 2.1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_choice, check_integer, check_positive
from xai_fast.engine.draws import random_entries
from xai_fast.engine.features import Grouping
from xai_fast.engine.masked import Baseline
from xai_fast.metrics.features import FeatureScores
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["infidelity"]

_STEP = 2  # of the draws, so that they are not those of a method with the same seed


def infidelity(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    perturbation: str = "removal",
    contributions: bool = True,
    normalize: bool = True,
    samples: int = 100,
    sigma: float = 0.1,
    features: Grouping = "cells",
    baseline: Baseline = 0.0,
    seed: int = 0,
    **call: Unpack[CallOptions],
) -> MetricResult:
    """Measure the infidelity (Yeh et al., NeurIPS 2019): ``E_I (beta I . a - (f(x) - f(x - I)))^2``.

    In units of the score squared, smaller is better: the contributions to a linear model score 0, a map of zeros ``E
    (f(x) - f(x - I))^2``; with ``normalize`` no map scores more, and a random one little less. An item costs
    ``samples`` evaluations, and one.

    Args:
        model: see `xai_fast.metrics.faithfulness_correlation`, like all that are not described.
        inputs: see there.
        attributions: see there.
        perturbation: "removal": I is ``x - baseline`` on a random half of the features, 0 elsewhere; or "noise": I is
            normal, of the same ``sigma`` in all entries.
        contributions: attributions are contributions to the score, such as of Integrated Gradients, and are divided by
            ``x - baseline`` (0 where that is 0); if False, they are slopes, such as gradients.
        normalize: beta is the scale of the attributions that gives the smallest infidelity, so that those of methods in
            different units compare; else it is 1.
        samples: perturbations per item.
        sigma: in the model's input units; for "noise".
        features: see there; for "removal".
        baseline: see there.
        seed: of the perturbations, 0 to 2**32 - 1.
        **call: see there.

    Returns:
        The infidelity of each item.
    """
    check_choice("perturbation", perturbation, ("removal", "noise"))
    check_integer("samples", samples, 1)
    check_positive("sigma", sigma)
    scores = FeatureScores(make_call(model, inputs, **call), attributions, features, baseline, seed)
    x, ids = scores.masked.inputs, scores.call.item_ids
    item, number = torch.ones(len(x), samples, device=x.device).nonzero(as_tuple=True)
    removed = x - scores.baseline
    if perturbation == "removal":
        if not contributions:
            scores.attributions = scores.by_feature(scores.entries * removed)

        def absent(row: Tensor) -> Tensor:
            return scores.draw("box", item[row], number[row]) > 0

        expected, lost = scores.without(absent, item)
    else:
        slopes = scores.entries.expand(x.shape)
        if contributions:
            slopes = torch.where(removed == 0, 0.0, slopes / torch.where(removed == 0, 1.0, removed))
        products = []

        def make(row: Tensor) -> Tensor:
            of = x[item[row]]
            noise = sigma * random_entries(of.flatten(1), ids[item[row]], number[row], "normal", seed, _STEP)
            products.append((noise.double() * slopes[item[row]].flatten(1)).sum(1))
            return of - noise.view_as(of)

        lost = scores.lost(scores.masked.score_rows(make, item, scores.targets), item)
        expected = torch.cat(products)
    lost, expected = lost.double().view(-1, samples), expected.view(-1, samples)
    if normalize:
        size = expected.square().sum(1, keepdim=True)
        expected = expected * (expected * lost).sum(1, keepdim=True) / size.masked_fill(size == 0, 1.0)
    return scores.result((expected - lost).square().mean(1))

"""Do attributions add up to what the score is above that of a baseline?

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017, section 3 (completeness).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.engine.masked import Baseline, MaskedScores, baseline_inputs
from xai_fast.metrics.checks import check_attributions, check_not_nan
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["Completeness", "completeness"]


@dataclass(frozen=True, repr=False, kw_only=True)
class Completeness(MetricResult):
    """Completeness of the map of each item.

    Attributes:
        values: (B,) ``|sum - difference|`` in units of ``|difference|``; 0 is best. Infinite where the difference is 0
            and the sum is not.
        sums: (B,) of the attributions.
        differences: (B,) the score of the input less that of the baseline.
    """

    sums: Tensor
    differences: Tensor


def completeness(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    baseline: Baseline = 0.0,
    **call: Unpack[CallOptions],
) -> Completeness:
    """Hold the sum of each map against the difference of two scores.

    Args:
        model: a module in evaluation mode, or any other callable.
        inputs: (B, C, ...) or (B, N).
        attributions: like ``inputs``, with any number of channels, or none; of the same target and ``score``.
        baseline: a number, one per channel or column, ``"blur"``, ``"mean"`` or a tensor that broadcasts to the inputs.
        **call: see `xai_fast.metrics.CallOptions`.

    Returns:
        The defect of each item.

    Raises:
        InputError: an argument does not fit, or attributions are not finite; items are named.
        ModelError: the model is in training mode, or an item has a NaN score.
    """
    masked = MaskedScores(make_call(model, inputs, **call))
    maps = masked.fitted(attributions)
    check_attributions(maps)
    clean, targets = masked.clean()
    differences = (clean - masked.scores(baseline_inputs("baseline", baseline, masked.inputs), targets)).double()
    check_not_nan(differences[:, None])
    sums = maps.detach().flatten(1).double().sum(1)
    defect = (sums - differences).abs()
    return Completeness(
        values=torch.where(defect == 0, 0, defect / differences.abs()),
        evaluations=torch.full_like(masked.call.item_ids, 2),
        targets=targets,
        sums=sums,
        differences=differences,
    )

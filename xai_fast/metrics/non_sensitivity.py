"""Are attributions zero just where the model does not depend on a feature?

Nguyen and Martínez, "On Quantitative Aspects of Model Interpretability", 2020, section 3.2 (non-sensitivity).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_integer, check_positive
from xai_fast.engine.draws import MAX_SEED, random_entries
from xai_fast.engine.masked import MaskedScores
from xai_fast.metrics.checks import check_not_nan
from xai_fast.metrics.ranking import rank_pixels
from xai_fast.metrics.results import Array, CallOptions, MetricResult, Model, make_call

__all__ = ["NonSensitivity", "non_sensitivity"]


@dataclass(frozen=True, repr=False, kw_only=True)
class NonSensitivity(MetricResult):
    """Non-sensitivity of the map of each item.

    Attributes:
        values: (B,) float64, pixels (or columns) in which the two disagree; 0 is best.
        missed: (B,) int64, of them, those that the model depends on, and the map does not show.
        invented: (B,) int64, those that the map shows, and the model does not depend on.
    """

    missed: Tensor
    invented: Tensor


def non_sensitivity(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    samples: int = 1,
    radius: float = 1.0,
    tolerance: float = 1e-5,
    seed: int = 0,
    **call: Unpack[CallOptions],
) -> NonSensitivity:
    """Change each pixel by itself, and compare where the score moves with where the map is not zero.

    It costs ``samples`` passes forward per pixel: for small inputs.

    Args:
        model: a module in evaluation mode, or any other callable.
        inputs: (B, C, ...) or (B, N).
        attributions: like ``inputs``, with any number of channels, or none. A pixel is shown where the sum of the
            magnitudes of its channels is above ``tolerance``.
        samples: changes of each pixel; all of its channels change.
        radius: of the changes, uniform, in the model's input units.
        tolerance: in units of the item's largest pixel, or largest change of the score, below which it is zero.
        seed: of the changes, which depend on it, the item and the pixel alone.
        **call: see `xai_fast.metrics.CallOptions`.

    Returns:
        How many pixels disagree, by item.

    Raises:
        InputError: an argument does not fit, or attributions are not finite; items are named.
        ModelError: the model is in training mode, or an item has a NaN score.
    """
    samples, seed = check_integer("samples", samples, 1), check_integer("seed", seed, 0, MAX_SEED)
    radius, tolerance = check_positive("radius", radius), check_positive("tolerance", tolerance)
    masked = MaskedScores(make_call(model, inputs, **call))
    importance = rank_pixels(masked.fitted(attributions))
    clean, targets = masked.clean()
    batch, pixels = importance.shape
    flat = masked.inputs.reshape(batch, -1, pixels)
    item = torch.arange(batch, device=flat.device).repeat_interleave(pixels * samples)

    def changed(row: Tensor) -> Tensor:
        of, number = item[row], row % (pixels * samples)
        rows = flat[of].clone(memory_format=torch.contiguous_format)
        noise = random_entries(rows[:, :, 0].contiguous(), masked.call.item_ids[of], number, "box", seed, 2**31)
        rows[torch.arange(len(row), device=row.device), :, number.div(samples, rounding_mode="floor")] += radius * noise
        return rows.view(-1, *masked.inputs.shape[1:])

    scores = masked.score_rows(changed, item, targets)
    moves = (scores.view(batch, -1) - clean[:, None]).abs()
    check_not_nan(moves)
    depends, shown = (
        values > tolerance * values.amax(1, keepdim=True)
        for values in (moves.view(batch, pixels, samples).amax(2), importance)
    )
    missed, invented = (depends & ~shown).sum(1), (shown & ~depends).sum(1)
    return NonSensitivity(
        values=(missed + invented).double(),
        evaluations=torch.full_like(masked.call.item_ids, 1 + pixels * samples),
        targets=targets,
        missed=missed,
        invented=invented,
    )

"""Insertion and deletion: how fast the score comes and goes with the pixels that an attribution calls important.

Petsiuk, Das and Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models", BMVC 2018, section 4.1.
Averaged over a black and a blurred baseline, and with the difference of the two areas as the score that decides, as in
Li et al., "NeFLAG", IJCAI 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_integer
from xai_fast.engine.masked import Baseline, MaskedScores, baseline_inputs, replaced_fractions
from xai_fast.errors import bad_argument
from xai_fast.metrics.checks import check_not_nan
from xai_fast.metrics.ranking import pixel_places
from xai_fast.metrics.results import Array, Model, ModelCallOptions, make_call
from xai_fast.terminal import ShortRepr

__all__ = ["InsertionDeletion", "insertion_deletion"]


@dataclass(frozen=True, repr=False)
class InsertionDeletion(ShortRepr):
    """Insertion and deletion of each item, averaged over the baselines, with the curves that they come from.

    Attributes:
        deletion: (B,) area under the deletion curve, in units of the score; smaller is better.
        insertion: (B,) area under the insertion curve; larger is better.
        difference: (B,) ``insertion - deletion``; larger is better.
        deletion_curves: (B, steps + 1) the score after each step, from the input to the baseline.
        insertion_curves: (B, steps + 1) the score after each step, from the baseline to the input.
        fractions: (steps + 1,) the share of pixels replaced at each point of the curves, from 0 to 1.
        baselines: the names of the baselines; a tensor is called by its position, ``"baselines[1]"``.
        deletion_curves_by_baseline: (baselines, B, steps + 1).
        insertion_curves_by_baseline: (baselines, B, steps + 1).
        targets: (B,) int64, the class that the scores are about; None where the target is a callable.
        evaluations: (B,) int64, rows of the item that went through the model.
        settings: the options of the metric, by name.
    """

    deletion: Tensor
    insertion: Tensor
    difference: Tensor
    deletion_curves: Tensor
    insertion_curves: Tensor
    fractions: Tensor
    baselines: tuple[str, ...]
    deletion_curves_by_baseline: Tensor
    insertion_curves_by_baseline: Tensor
    targets: Tensor | None
    evaluations: Tensor
    settings: Mapping[str, object] = field(default_factory=dict)


def insertion_deletion(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    score: str = "probability",
    ranking: str = "sum_of_abs",
    steps: int = 50,
    baselines: Sequence[Baseline] = ("black", "blur"),
    black: float | Sequence[float] | Tensor = 0.0,
    blur_sigma: float = 20.0,
    **call: Unpack[ModelCallOptions],
) -> InsertionDeletion:
    """Measure attributions by insertion and deletion (Petsiuk et al., BMVC 2018).

    Deletion starts from the input and replaces its most important pixels first by the baseline's; insertion starts from
    the baseline and puts the input's most important pixels in first. Each score curve, over the fraction of pixels
    from 0 to 1, becomes its area by the trapezoid rule. Equally important pixels are taken in reading order.

    Args:
        model: a module in evaluation mode, or any callable; it is called without autograd, and left as it was.
        inputs: (B, C, ...) images of any spatial rank, or (B, N), float32 or float64, in the model's input units.
        attributions: like ``inputs``, though the number of channels may differ, or be left out.
        score: ``"probability"``, ``"logit"`` or ``"log_probability"``.
        ranking: how channels become the importance of a pixel, see `xai_fast.metrics.rank_pixels`; or "per_channel",
            see `xai_fast.metrics.ranking.channel_importance`.
        steps: points of a curve less one. RISE takes one row of pixels per step, so 224 for 224 x 224.
        baselines: each of them ``"black"``, ``"blur"`` (not of (B, N)), or an array or a tensor that broadcasts to
            the inputs, such as the means (N,) of a table's columns.
        black: black in the model's input units, one number or one per channel: -127 / 128 where the model takes
            (rgb - 127) / 128.
        blur_sigma: standard deviation of the blur in pixels.
        **call: see `xai_fast.metrics.ModelCallOptions`.

    Returns:
        Areas, curves and their difference for each item.

    Raises:
        InputError: an argument does not fit, or attributions are not finite; items are named.
        ModelError: the model is in training mode, or an item has a NaN score.
    """
    steps = check_integer("steps", steps, 1)
    masked = MaskedScores(make_call(model, inputs, score=score, **call))
    place = pixel_places(masked.fitted(attributions), ranking)
    one = isinstance(baselines, str | Tensor | np.ndarray)
    if one or not len(baselines):
        got = f"one {type(baselines).__name__}" if one else "none"
        raise bad_argument("baselines", 'a tuple of "black", "blur" or tensors', got)
    names = tuple(b if isinstance(b, str) else f"baselines[{i}]" for i, b in enumerate(baselines))
    references = [
        baseline_inputs(f"baselines[{i}]", b, masked.inputs, black=black, blur_sigma=blur_sigma)
        for i, b in enumerate(baselines)
    ]
    clean, targets = masked.clean()
    deletions, insertions = [], []
    for reference in references:
        photo, start = (masked.inputs, clean), (reference, masked.scores(reference, targets))
        deletions.append(masked.curves(photo, start, place, steps, targets))
        insertions.append(masked.curves(start, photo, place, steps, targets))
    check_not_nan(torch.cat([*deletions, *insertions], 1))
    by_baseline = torch.stack(deletions), torch.stack(insertions)
    fractions = replaced_fractions(place.shape[1], steps, clean)
    deletion_curves, insertion_curves = (curves.mean(0) for curves in by_baseline)
    deletion, insertion = (torch.trapezoid(curves, fractions) for curves in (deletion_curves, insertion_curves))
    return InsertionDeletion(
        deletion=deletion,
        insertion=insertion,
        difference=insertion - deletion,
        deletion_curves=deletion_curves,
        insertion_curves=insertion_curves,
        fractions=fractions,
        baselines=names,
        deletion_curves_by_baseline=by_baseline[0],
        insertion_curves_by_baseline=by_baseline[1],
        targets=targets,
        evaluations=masked.evaluations,
        settings={"score": score, "ranking": ranking, "steps": steps, "baselines": names, "blur_sigma": blur_sigma},
    )

"""Pixel flipping: the score along one removal of pixels, and the area over its curve (AOPC).

Bach et al., "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance Propagation", PLOS
ONE 2015; Samek et al., "Evaluating the Visualization of What a Deep Neural Network Has Learned", IEEE TNNLS 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor
from typing_extensions import Unpack

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.masked import Baseline, MaskedScores, baseline_inputs, replaced_fractions
from xai_fast.metrics.checks import check_not_nan
from xai_fast.metrics.ranking import pixel_places
from xai_fast.metrics.results import Array, Model, ModelCallOptions, make_call
from xai_fast.terminal import ShortRepr

__all__ = ["PixelFlipping", "pixel_flipping"]

_ORDERS = ("descending", "ascending")


@dataclass(frozen=True, repr=False)
class PixelFlipping(ShortRepr):
    """Pixel flipping of each item.

    Attributes:
        aopc: (B,) mean over the points of the curve of the first score less the score there (Samek et al., Eq. 12), in
            units of the score. Larger is better in descending order, smaller in ascending order.
        curves: (B, steps + 1) the score after each step, from the input to the baseline.
        fractions: (steps + 1,) the share of pixels flipped at each point of the curves, from 0 to 1.
        targets: (B,) int64, the class that the scores are about; None where the target is a callable.
        evaluations: (B,) int64, rows of the item that went through the model.
        settings: the options of the metric, by name.
    """

    aopc: Tensor
    curves: Tensor
    fractions: Tensor
    targets: Tensor | None
    evaluations: Tensor
    settings: Mapping[str, object] = field(default_factory=dict)


def pixel_flipping(
    model: Model,
    inputs: Array,
    attributions: Array,
    *,
    score: str = "probability",
    ranking: str = "signed_sum",
    steps: int = 50,
    baseline: Baseline = "black",
    order: str = "descending",
    black: float | Sequence[float] | Tensor = 0.0,
    blur_sigma: float = 20.0,
    **call: Unpack[ModelCallOptions],
) -> PixelFlipping:
    """Flip pixels in the order of their relevance, and follow the score (Bach et al. 2015; Samek et al. 2017).

    Args:
        model: a module in evaluation mode, or any callable; it is called without autograd, and left as it was.
        inputs: (B, C, ...) images of any spatial rank, or (B, N), float32 or float64, in the model's input units.
        attributions: like ``inputs``, though the number of channels may differ, or be left out.
        score: ``"probability"``, ``"logit"`` or ``"log_probability"``.
        ranking: how channels become the relevance of a pixel, see `xai_fast.metrics.rank_pixels`; or "per_channel",
            see `xai_fast.metrics.ranking.channel_importance`. Here it is the signed sum, as in the papers: pixels
            against the class are flipped last.
        steps: points of the curve less one.
        baseline: what flipped pixels become: ``"black"``, ``"blur"``, or an array or a tensor that broadcasts
            to the inputs (``-inputs`` is the flip of Bach et al., noise that of Samek et al.).
        order: ``"descending"``, the most relevant pixel first, or ``"ascending"``, the least relevant first.
        black: black in the model's input units, one number or one per channel.
        blur_sigma: standard deviation of the blur in pixels.
        **call: see `xai_fast.metrics.ModelCallOptions`.

    Returns:
        Curve and AOPC of each item.

    Raises:
        InputError: an argument does not fit, or attributions are not finite; items are named.
        ModelError: the model is in training mode, or an item has a NaN score.
    """
    steps = check_integer("steps", steps, 1)
    check_choice("order", order, _ORDERS)
    masked = MaskedScores(make_call(model, inputs, score=score, **call))
    place = pixel_places(masked.fitted(attributions), ranking, descending=order == "descending")
    flipped = baseline_inputs("baseline", baseline, masked.inputs, black=black, blur_sigma=blur_sigma)
    clean, targets = masked.clean()
    end = (flipped, masked.scores(flipped, targets))
    curves = masked.curves((masked.inputs, clean), end, place, steps, targets)
    check_not_nan(curves)
    return PixelFlipping(
        aopc=(curves[:, :1] - curves).mean(1),
        curves=curves,
        fractions=replaced_fractions(place.shape[1], steps, curves),
        targets=targets,
        evaluations=masked.evaluations,
        settings={"score": score, "ranking": ranking, "steps": steps, "order": order, "blur_sigma": blur_sigma},
    )

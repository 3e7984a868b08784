"""BlurIG: integrated gradients along the path on which the item comes out of a blur.

Xu, Venugopalan and Sundararajan, "Attribution in Scale and Space", CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.arguments import check_integer, check_positive
from xai_fast.attribution.sampled import PathExplanation, SampledMethod, like_inputs
from xai_fast.engine.call import Call
from xai_fast.engine.gradients import FlatInputs
from xai_fast.engine.masked import blur_matrix, blurred
from xai_fast.engine.points import Items, Rows, Statistics, Walk, walk_items
from xai_fast.errors import bad_argument

__all__ = ["BlurIG"]


class _Scales:
    """Items (R, N) blurred by one of 2 steps + 1 scales each, evenly from 0 to sigma."""

    def __init__(self, call: Call, layout: FlatInputs, sigma: float, steps: int) -> None:
        for value in call.values:
            if value.ndim < 3:
                raise bad_argument("inputs", "spatial dimensions to blur, (B, C, ...)", str(tuple(value.shape)))
        self.layout, self.last = layout, 2 * steps
        scales = [sigma * k / self.last for k in range(self.last + 1)]
        sides = {side for shape in layout.shapes for side in shape[1:]}
        matrices = {side: [torch.eye(side).double(), *(blur_matrix(side, s) for s in scales[1:])] for side in sides}
        self.matrices = {side: torch.stack(every).to(call.values[0]) for side, every in matrices.items()}

    def __call__(self, items: Tensor, scale: Tensor) -> Tensor:
        """Blur items (R, N), each to the scale (R,) of this number."""
        parts = self.layout.split(items)
        return self.layout.join([blurred(part, [self.matrices[n][scale] for n in part.shape[2:]]) for part in parts])


class _BlurPath(Walk):
    """Points in the middle of ``steps`` parts of the path, each with what the item changes over its part."""

    keeps = 1

    def __init__(self, scales: _Scales) -> None:
        self.scales = scales

    @override
    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        x, middle = items.centers[rows.item], 2 * rows.point + 1
        rows.points = self.scales(x, middle)
        rows.kept[0] = self.scales(x, middle - 1) - self.scales(x, middle + 1)

    @override
    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        part = torch.where(which[:, None], gradients * rows.kept[0], 0.0)
        statistics.mean.index_add_(0, rows.item, part)  # a sum, not a mean
        statistics.count.index_add_(0, rows.item, which.long())


class BlurIG(SampledMethod[PathExplanation]):
    """The gradient at the blurred item, integrated over the scale of a Gaussian blur from ``sigma`` to 0.

    No baseline has to be chosen, and no picture on the path has what the item has not. The path is cut into ``steps``
    parts of equal length in the scale; in each the gradient in its middle is multiplied by the difference of the blurs
    at its two ends, the derivative of the blur by its scale. Attributions are like the inputs (B, C, ...), in units of
    the score; their sum is the difference of the scores of the item and of the blurred item, up to ``delta``, and
    exactly that of a linear model. Of several inputs each is blurred.

    Cost: ``steps + 1`` gradients per item, the last without its pass back, at the blurred item.
    Limits: what the largest blur keeps, such as the mean colour, gets nothing; needs spatial dimensions.

    Args:
        model: see `SampledMethod`, as for ``score`` and the options that follow.
        steps: gradients along the path, at least 1.
        sigma: standard deviation of the largest blur in pixels, with mirrored borders.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        steps: int = 50,
        sigma: float = 50.0,
        score: str = "auto",
        precision: str = "fp32",
        compile: bool = False,
    ) -> None:
        super().__init__(model, score=score, precision=precision, compile=compile)
        self.steps = check_integer("steps", steps, 1)
        self.sigma = check_positive("sigma", sigma)

    @override
    def _explain(self, call: Call) -> PathExplanation:
        gradient = self._gradient(call)
        scales = _Scales(call, gradient.layout, self.sigma, self.steps)
        scores, items, found = walk_items(gradient, _BlurPath(scales), points=self.steps)
        every = call.positions(range(call.batch))
        begun = gradient.scores(
            lambda row: gradient.layout.split(scales(items.centers[row], torch.full_like(row, scales.last))),
            every,
            items.targets,
        )
        return PathExplanation(
            attributions=like_inputs(gradient, found.mean),
            scores=scores,
            targets=items.targets,
            evaluations=found.evaluations + 1,
            delta=found.mean.sum(1) - (scores - begun),
            baseline_scores=begun,
        )

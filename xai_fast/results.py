"""What explanations return: frozen records of tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["NeFLAGResult"]


@dataclass(frozen=True)
class NeFLAGResult:
    """Attributions of a batch by NeFLAG, with what is needed to judge them.

    Attributes:
        attributions: like the inputs (a tensor or a tuple): mean over the item's negative points of ``F * (x - x~)``,
            in units of the score. Zero where ``negative_points`` is 0.
        standard_error: like ``attributions``: standard error of that mean; infinite where fewer than two points are
            negative.
        negative_points: (B,) int64, points whose flux turned negative (the size of S^-).
        evaluations: (B,) int64, gradient evaluations (one forward and one backward pass each) spent on the item.
        scores: (B,) the score f(x) of each item.
        targets: (B,) int64, the class that was explained; None where the target is a callable.
        settings: the options of the method, by name.
    """

    attributions: Tensor | tuple[Tensor, ...]
    standard_error: Tensor | tuple[Tensor, ...]
    negative_points: Tensor
    evaluations: Tensor
    scores: Tensor
    targets: Tensor | None
    settings: Mapping[str, object] = field(default_factory=dict)

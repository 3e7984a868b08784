"""GradientSHAP: expected gradients of the item under noise, as in captum, and in shap (there ``local_smoothing``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from xai_fast.attribution.expected_gradients import ExpectedGradients

__all__ = ["GradientSHAP"]


class GradientSHAP(ExpectedGradients):
    """`ExpectedGradients` of x with noise: the gradient at x' + alpha (x - x') times x - x', both with the noisy x.

    Limits: near Shapley values for independent features and a nearly linear score; not complete.

    Args:
        model: see `ExpectedGradients`, as for all options.
        noise: standard deviation of the noise on the item.
        options: as there.

    Raises:
        InputError: an option is out of range.
    """

    name = "gradient_shap"

    def __init__(self, model: Callable[..., object], *, noise: float = 0.15, **options: Any) -> None:
        super().__init__(model, noise=noise, **options)

"""Checks of values, item by item; errors name the items."""

from __future__ import annotations

from torch import Tensor

from xai_fast.arguments import name_items
from xai_fast.errors import ModelError, bad_argument

__all__ = ["check_attributions", "check_not_nan"]


def _failing_items(fails: Tensor) -> str | None:
    """Name the items that fail, or give None. Waits for the device; a meta tensor has no values, so none that fail."""
    items = fails.nonzero().flatten().tolist() if fails.device.type != "meta" else []
    return name_items(items) if items else None


def check_attributions(attributions: Tensor) -> None:
    """Check that attributions are a floating-point tensor (B, C, ...) or (B, N), all finite; errors name the items."""
    if not isinstance(attributions, Tensor):
        raise bad_argument("attributions", "a tensor or an array", type(attributions).__name__)
    if not attributions.is_floating_point():
        raise bad_argument("attributions", "a floating-point dtype", str(attributions.dtype))
    if attributions.ndim < 2 or 0 in attributions.shape[1:]:
        raise bad_argument("attributions", "shape (B, C, ...) or (B, N)", str(tuple(attributions.shape)))
    items = _failing_items(~attributions.isfinite().flatten(1).all(1))
    if items:
        raise bad_argument("attributions", "finite values", f"NaN or infinity in {items}")


def check_not_nan(scores: Tensor) -> None:
    """Check the scores (B, ...) of a metric after its loop, so that the loop itself never waits for the device."""
    items = _failing_items(scores.isnan().flatten(1).any(1))
    if items:
        raise ModelError(
            f"model: expected scores that are not NaN, got NaN for the clean or perturbed inputs of {items}"
        )

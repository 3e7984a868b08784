"""Checks of the metrics' arguments; errors about items name the items."""

from __future__ import annotations

import math
import numbers

from torch import Tensor

from xai_fast.errors import ModelError, bad_argument

__all__ = ["check_attributions", "check_not_nan", "check_positive_integer", "check_positive_number"]

_MOST_NAMES = 5


def _failing_items(fails: Tensor) -> str | None:
    """Name the items in words, or give None if there are none. Waits for the device; a meta tensor fails nowhere."""
    items = fails.nonzero().flatten().tolist() if fails.device.type != "meta" else []
    if not items:
        return None
    more = f" and {len(items) - _MOST_NAMES} more" if len(items) > _MOST_NAMES else ""
    return f"item{'s' if len(items) > 1 else ''} {', '.join(map(str, items[:_MOST_NAMES]))}{more}"


def check_attributions(attributions: Tensor) -> None:
    """Check that attributions are a floating-point tensor with an entry or more an item, all of them finite.

    Args:
        attributions: (B, C, ...) or (B, N).

    Raises:
        InputError: they are something else; entries that are not finite are told by their items.
    """
    if not isinstance(attributions, Tensor):
        raise bad_argument("attributions", "a tensor", type(attributions).__name__)
    if not attributions.is_floating_point():
        raise bad_argument("attributions", "a floating-point dtype", str(attributions.dtype))
    if attributions.ndim < 2 or 0 in attributions.shape[1:]:
        raise bad_argument("attributions", "shape (B, C, ...) or (B, N)", str(tuple(attributions.shape)))
    items = _failing_items(~attributions.isfinite().flatten(1).all(1))
    if items:
        raise bad_argument("attributions", "finite values", f"NaN or infinity in {items}")


def check_not_nan(scores: Tensor) -> None:
    """Check the scores of a metric, after its loop, so that the loop itself never waits for the device.

    Args:
        scores: (B, ...), the scores of each item.

    Raises:
        ModelError: an item has a score that is NaN.
    """
    items = _failing_items(scores.isnan().flatten(1).any(1))
    if items:
        raise ModelError(f"model: expected scores that are not NaN, got NaN for {items} or for its perturbed inputs")


def check_positive_integer(name: str, value: object) -> None:
    """Check a count.

    Args:
        name: the argument's name, for the message.
        value: the argument.

    Raises:
        InputError: it is not an int of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise bad_argument(name, "an int of at least 1", repr(value))


def check_positive_number(name: str, value: object, *, or_zero: bool = False) -> None:
    """Check a size or a distance.

    Args:
        name: the argument's name, for the message.
        value: the argument.
        or_zero: allow zero.

    Raises:
        InputError: it is not a finite number above zero.
    """
    number = math.nan if isinstance(value, bool) or not isinstance(value, numbers.Real) else float(value)
    if not math.isfinite(number) or number < 0.0 or not (number or or_zero):
        raise bad_argument(name, f"a finite number {'of at least' if or_zero else 'above'} 0", repr(value))

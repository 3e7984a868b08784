"""Checks of options that many methods share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast.errors import bad_argument

__all__ = ["check_choice", "check_integer", "check_positive", "item_id_tensor", "name_items"]


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Check that a value is one of a few words.

    Args:
        name: the argument.
        value: what came.
        choices: the words.

    Returns:
        The word.

    Raises:
        InputError: it is none of them.
    """
    if isinstance(value, str) and value in choices:
        return value
    raise bad_argument(name, f"one of {', '.join(choices)}", repr(value))


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """Check that a value is an integer within limits.

    Args:
        name: the argument.
        value: what came; numpy's integers are fine, booleans are not.
        low: the smallest that is allowed.
        high: the largest, or None.

    Returns:
        The integer.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, bool) and isinstance(value, numbers.Integral):
        number = int(value)
        if low <= number and (high is None or number <= high):
            return number
    limits = f"at least {low}" if high is None else f"from {low} to {high}"
    raise bad_argument(name, f"an integer, {limits}", repr(value))


def check_positive(name: str, value: object) -> float:
    """Check that a value is a positive, finite number.

    Args:
        name: the argument.
        value: what came.

    Returns:
        The number.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, bool) and isinstance(value, numbers.Real) and 0.0 < float(value) < math.inf:
        return float(value)
    raise bad_argument(name, "a positive, finite number", repr(value))


def item_id_tensor(item_ids: Sequence[int] | Tensor | None, batch: int, device: torch.device) -> Tensor:
    """Check the identities of items.

    Args:
        item_ids: (B,) integers from 0 to 2**63 - 1, or None for the positions in the batch.
        batch: B.
        device: where they are needed.

    Returns:
        (B,) int64 on the device.

    Raises:
        InputError: they are something else.
    """
    if item_ids is None:
        return torch.arange(batch, device=device)
    try:
        ids = torch.as_tensor(item_ids)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise bad_argument("item_ids", f"{batch} integers from 0 to 2**63 - 1", repr(item_ids)) from None
    if ids.shape != (batch,) or (batch and (ids.is_floating_point() or ids.dtype == torch.bool)):
        raise bad_argument("item_ids", f"{batch} integers", f"{ids.dtype} {tuple(ids.shape)}")
    if ids.device.type != "meta" and bool((ids < 0).any()):  # meta tensors have no values to check
        raise bad_argument("item_ids", "integers that are not negative", str(int(ids.min())))
    return ids.to(device, torch.int64).contiguous()


def name_items(positions: Sequence[int]) -> str:
    """Name items of a batch in a message.

    Args:
        positions: at least one position.

    Returns:
        Such as ``item 3`` or ``12 items: 0, 1, 2, 3, 4, 5, 6, 7, ...``.
    """
    shown = ", ".join(map(str, positions[:8])) + (", ..." if len(positions) > 8 else "")
    return f"item {shown}" if len(positions) == 1 else f"{len(positions)} items: {shown}"

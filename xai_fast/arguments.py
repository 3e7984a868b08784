"""Checks of options that many methods share."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import bad_argument

__all__ = [
    "as_tensor",
    "check_choice",
    "check_integer",
    "check_positive",
    "check_share",
    "item_id_tensor",
    "name_items",
]


def as_tensor(value: Any, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Any:
    """Copy an array of numpy to a tensor on a device, floats in the dtype; give anything else as it is."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub" or value.dtype.itemsize > 8:
        return value
    tensor = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C"))
    return tensor.to(device, dtype if tensor.is_floating_point() else None)


def check_choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Give a value that is one of a few words; an `InputError` names the argument and the words where it is not."""
    if isinstance(value, str) and value in choices:
        return value
    raise bad_argument(name, f"one of {', '.join(choices)}", repr(value))


def check_integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """Give a value that is an integer within limits, be it of numpy, but no boolean; else raise an `InputError`."""
    if not isinstance(value, bool) and isinstance(value, numbers.Integral):
        number = int(value)
        if low <= number and (high is None or number <= high):
            return number
    limits = f"at least {low}" if high is None else f"from {low} to {high}"
    raise bad_argument(name, f"an integer, {limits}", repr(value))


def check_positive(name: str, value: object) -> float:
    """Give a value that is a positive, finite number as a float; else raise an `InputError`."""
    if not isinstance(value, bool) and isinstance(value, numbers.Real) and 0.0 < float(value) < math.inf:
        return float(value)
    raise bad_argument(name, "a positive, finite number", repr(value))


def check_share(name: str, value: object, *, zero: bool = True) -> float:
    """Give a value from 0, itself only if ``zero``, to 1 as a float; else raise an `InputError`."""
    if (
        not isinstance(value, bool)
        and isinstance(value, numbers.Real)
        and 0.0 <= float(value) <= 1.0
        and (zero or value)
    ):
        return float(value)
    raise bad_argument(name, f"a number {'from' if zero else 'above'} 0 to 1", repr(value))


def item_id_tensor(item_ids: Sequence[int] | Tensor | None, batch: int, device: torch.device) -> Tensor:
    """Return the identities of items, (B,) int64 on a device; None for the positions, an `InputError` for others."""
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
    """Name items of a batch in a message, such as ``item 3`` or ``12 items: 0, 1, 2, 3, 4, 5, 6, 7, ...``."""
    shown = ", ".join(map(str, positions[:8])) + (", ..." if len(positions) > 8 else "")
    return f"item {shown}" if len(positions) == 1 else f"{len(positions)} items: {shown}"

"""Checks of kernel arguments, shared by all contracts.

They read metadata only and never synchronise a device, but for `check_range`, for references.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.errors import InputError, bad_argument

__all__ = ["FLOATS", "check", "check_range"]

FLOATS = (torch.float32, torch.float64)
"""What most kernels compute in."""


def check(
    name: str, tensor: Tensor, *, shape: tuple[int, ...], dtypes: tuple[torch.dtype, ...], like: Tensor | None = None
) -> None:
    """Check one tensor of a kernel's contract: shape, dtype, contiguity, and the device of ``like``."""
    if tuple(tensor.shape) != shape:
        raise bad_argument(name, f"shape {shape}", str(tuple(tensor.shape)))
    if tensor.dtype not in dtypes:
        raise bad_argument(name, " or ".join(str(dtype) for dtype in dtypes), str(tensor.dtype))
    if not tensor.is_contiguous():
        raise bad_argument(name, "a contiguous tensor", f"strides {tensor.stride()} for shape {tuple(tensor.shape)}")
    if like is not None and tensor.device != like.device:
        raise bad_argument(name, f"a tensor on {like.device}", f"one on {tensor.device}")


def check_range(name: str, indices: Tensor, lowest: int, highest: int) -> None:
    """Check every index of a tensor. It reads them all, and so waits for a GPU that holds them."""
    flat = indices.flatten()
    outside = ((flat < lowest) | (flat > highest)).nonzero()
    if outside.numel():
        place = int(outside[0])
        raise InputError(
            f"{name}: expected an index from {lowest} to {highest}, got {int(flat[place])} at position {place}"
        )

"""How the Triton kernels are launched: the split of a row into blocks and parts, and the compiler's options."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl

from xai_fast.kernels.triton_math import PARTS
from xai_fast.native import device_of

__all__ = ["Split", "bits_of", "device_of", "language_dtype", "options", "split"]


@dataclass(frozen=True)
class Split:
    """A row of ``blocks`` blocks, summed in ``parts`` parts of ``blocks_per_part`` blocks; the last may be short."""

    blocks: int
    parts: int
    blocks_per_part: int


def split(entries: int, block: int) -> Split:
    """Split a row by its length alone, so that its sums, to the last bit, do not depend on the rest of the batch."""
    blocks = triton.cdiv(entries, block)
    blocks_per_part = triton.cdiv(blocks, PARTS.value)
    return Split(blocks, triton.cdiv(blocks, blocks_per_part), blocks_per_part)


def bits_of(value: float) -> int:
    """Return the 64 bits of a number, as an integer: Triton would round a float argument to float32.

    A kernel gets the number back with `xai_fast.kernels.triton_math.number_of`.
    """
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits


def language_dtype(dtype: torch.dtype) -> Any:
    """Return Triton's name of a torch dtype, as a compile-time constant of a kernel."""
    return {torch.float32: tl.float32, torch.float64: tl.float64}[dtype]


def options(num_warps: int) -> dict[str, Any]:
    """Return the compiler's options, as keyword arguments of a launch.

    No fusion of multiplications and additions beyond `tl.fma`: see `xai_fast.kernels.triton_math`.
    """
    return {"num_warps": num_warps, "enable_fp_fusion": False}

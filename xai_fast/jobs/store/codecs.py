"""How maps of floats are stored: the number format, and the scale that goes with each map.

A softmax gradient has magnitudes around 1e-8, most of which plain float16 turns into zero (its smallest positive
number is 6e-8). With one scale per map, float16 keeps 11 bits for all entries within 2**-29 of the largest one.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CODECS", "decode", "encode", "is_scaled"]

CODECS: dict[str, torch.dtype] = {
    "float16_scaled": torch.float16,
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8_scaled": torch.int8,
}
"""Names of codecs to the dtype of the numbers in the file."""

_SMALLEST = 2.0**-126


def is_scaled(codec: str) -> bool:
    """Tell whether a codec keeps a scale for each map."""
    return codec.endswith("_scaled")


def encode(codec: str, maps: Tensor) -> tuple[Tensor, Tensor | None]:
    """Turn maps into what is stored."""
    # ``float16_scaled`` has a power of two as its scale, which changes no digit; the largest entry lands in [2**14,
    # 2**15]. ``int8_scaled`` has 127 steps to each side of zero, and NaN as the scale of a map that is not finite.
    if not is_scaled(codec):
        return maps.to(CODECS[codec]), None
    flat = maps.reshape(len(maps), -1)
    largest = flat.abs().where(flat.isfinite(), 0.0).amax(1) if flat.shape[1] else torch.zeros(len(maps))
    if codec == "float16_scaled":
        exponent = torch.frexp(largest)[1] - 15
        scales = torch.pow(2.0, exponent.clamp(min=-126).double()).float().where(largest > 0, 1.0)
        return (maps * _beside(scales.reciprocal(), maps)).to(torch.float16), scales
    scales = (largest / 127).clamp(min=_SMALLEST).where(largest > 0, 1.0)
    scales = scales.where(flat.isfinite().all(1), torch.nan)
    return (maps / _beside(scales, maps)).round_().clamp_(-127, 127).nan_to_num_(0.0).to(torch.int8), scales


def decode(stored: Tensor, scales: Tensor | None, into: Tensor) -> Tensor:
    """Turn what is stored into maps."""
    return into.copy_(stored) if scales is None else torch.mul(stored, _beside(scales, stored), out=into)


def _beside(scales: Tensor, maps: Tensor) -> Tensor:
    return scales.reshape(-1, *[1] * (maps.dim() - 1))

"""How maps of floats are stored: the number format, and the scale that goes with each map.

A softmax gradient has magnitudes around 1e-8, most of which plain float16 turns into zero (its smallest positive
number is 6e-8). With one scale a map, float16 keeps 11 bits for all entries within 2**-29 of the largest one.

Encoding what was decoded gives the same bits again, so that a shard can be read and written as often as is needed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from xai_fast.arguments import check_choice

__all__ = ["CODECS", "Codec", "codec"]


_LARGEST_STEP = 2.0**121 * (1 + 0x10200 * 2.0**-23)
"""The largest number of 17 significant bits of which 127 times as much is a float32."""


class Codec(ABC):
    """A way to store maps of float32.

    Attributes:
        name: as in a job's ``dtype``.
        stored: the dtype of the numbers in the file.
        scaled: whether there is a scale for each map.
    """

    name: str
    stored: torch.dtype
    scaled: bool = False

    def scales(self, maps: Tensor) -> Tensor:
        """Choose a scale for each map.

        Args:
            maps: (rows, ...) float32.

        Returns:
            (rows,) float32; NaN for a map that has nothing but NaN.
        """
        return torch.ones(len(maps))

    @abstractmethod
    def encode(self, maps: Tensor, scales: Tensor) -> Tensor:
        """Turn maps into what is stored.

        Args:
            maps: (rows, ...) float32.
            scales: (rows,) float32, of `scales`.

        Returns:
            (rows, ...) of the dtype `stored`.
        """

    def decode(self, stored: Tensor, scales: Tensor | None, into: Tensor) -> Tensor:
        """Turn what is stored into maps.

        Args:
            stored: (rows, ...) of the dtype `stored`.
            scales: (rows,) float32, or None where there are none.
            into: (rows, ...) float32, filled.

        Returns:
            The tensor that was filled.
        """
        into.copy_(stored)
        return into if scales is None else into.mul_(_beside(scales, into))


class _Float32(Codec):
    name, stored = "float32", torch.float32

    def encode(self, maps: Tensor, scales: Tensor) -> Tensor:
        return maps


class _BFloat16(Codec):
    name, stored = "bfloat16", torch.bfloat16

    def encode(self, maps: Tensor, scales: Tensor) -> Tensor:
        return maps.to(torch.bfloat16)


class _Float16Scaled(Codec):
    """The scale is a power of two, so that it changes no digit; the largest entry lands in [2**14, 2**15]."""

    name, stored, scaled = "float16_scaled", torch.float16, True

    def scales(self, maps: Tensor) -> Tensor:
        mantissa, exponent = torch.frexp(_largest(maps))
        # A mantissa that float16 rounds up to 1 belongs to the next power of two; else the decoded map would get
        # another scale than the map itself, and encoding it again could lose its smallest entries.
        exponent = exponent + (mantissa >= 1 - 2.0**-12)
        # Below 2**-126 the scale itself, or its reciprocal, would not be an ordinary float32.
        scales = torch.pow(2.0, (exponent - 15).clamp(min=-126).double()).float()
        return torch.where(mantissa == 0, torch.ones(()), scales).where(~mantissa.isnan(), torch.nan)

    def encode(self, maps: Tensor, scales: Tensor) -> Tensor:
        return (maps * _beside(scales.reciprocal(), maps)).to(torch.float16)


class _Int8Scaled(Codec):
    """127 steps to each side of zero; the scale has 17 significant bits, so that 127 times the scale is exact."""

    name, stored, scaled = "int8_scaled", torch.int8, True

    def scales(self, maps: Tensor) -> Tensor:
        largest = _largest(maps, all_finite=True)
        steps = (largest / 127).clamp(min=2.0**-126)
        rounded_up = ((steps.view(torch.int32) + 0x7F) & ~0x7F).view(torch.float32).clamp(max=_LARGEST_STEP)
        return torch.where(largest == 0, torch.ones(()), rounded_up).where(~largest.isnan(), torch.nan)

    def encode(self, maps: Tensor, scales: Tensor) -> Tensor:
        steps = (maps / _beside(scales, maps)).round_().clamp_(-127, 127)
        return steps.nan_to_num_(0.0).to(torch.int8)  # the NaN is in the scale


def _beside(scales: Tensor, maps: Tensor) -> Tensor:
    return scales.reshape(-1, *[1] * (maps.dim() - 1))


def _largest(maps: Tensor, all_finite: bool = False) -> Tensor:
    """Return the largest finite magnitude of each map: (rows,), NaN where there is no number to scale by."""
    flat = maps.reshape(len(maps), -1)
    if flat.shape[1] == 0:
        return torch.zeros(len(maps))
    low, high = flat.aminmax(dim=1)  # NaN if any entry is
    largest = torch.maximum(-low, high)
    for row in largest.isfinite().logical_not().nonzero()[:, 0].tolist():
        entries = flat[row]
        if all_finite or bool(entries.isnan().all()):
            largest[row] = torch.nan
        else:
            largest[row] = entries.abs().where(entries.isfinite(), 0.0).max()
    return largest


CODECS: dict[str, Codec] = {one.name: one for one in (_Float16Scaled(), _Float32(), _BFloat16(), _Int8Scaled())}


def codec(name: str) -> Codec:
    """Find a codec.

    Args:
        name: ``float16_scaled``, ``float32``, ``bfloat16`` or ``int8_scaled``.

    Returns:
        The codec.

    Raises:
        InputError: there is none of that name.
    """
    check_choice("dtype", name, list(CODECS))
    return CODECS[name]

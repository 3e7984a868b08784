"""From an attribution to a picture of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xai_fast.arguments import as_tensor
from xai_fast.errors import bad_argument
from xai_fast.metrics import gaussian_blur, rank_pixels
from xai_fast.plot.colormap import COLORS, colormap, signed_colormap

__all__ = ["CLIP", "heat", "heat_layer", "overlay"]

CLIP = (80.0, 99.0)
"""Percentiles of the importance: pixels below the first are transparent, those above the second saturated
(Li et al., IJCAI 2023, appendix)."""

GREY = 0.85
"""Share of its colour that a picture loses under a heat map; the report's style sheet does the same."""

BRIGHTNESS = 0.62
"""Share of its brightness that a picture keeps under a heat map; likewise."""

_LEAST_ALPHA = 0.12
_ZERO = COLORS // 2
"""Colour of zero in the table of a signed map."""

_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)


def heat(
    attribution: Tensor | NDArray[np.floating[Any]],
    *,
    ranking: str = "sum_of_abs",
    clip: tuple[float, float] = CLIP,
    smooth: float = 0.0,
    signed: bool = False,
) -> NDArray[np.float32]:
    """Scale the importance of each pixel to 0..1 between two percentiles, or to -1..1 with its sign.

    By magnitude, the absolute values of the channels are summed, or what ``ranking`` says. Signed, the channels are
    summed with their signs, and percentiles are those of the absolute sums: the scale is the same on both sides of 0.

    Args:
        attribution: (C, H, W) or (H, W), in any units.
        ranking: how the channels of a pixel become one importance, see `xai_fast.metrics.rank_pixels`; of magnitudes.
        clip: two percentiles, 0 <= low < high <= 100.
        smooth: standard deviation in pixels of a Gaussian that the importance is blurred with first; 0 leaves it alone.
        signed: whether the map keeps its signs.

    Returns:
        (H, W): 0 up to the low percentile, 1 from the high one on, linear between, negative where the sum of the
        channels is, if signed. A map without differences is all 0.

    Raises:
        InputError: an argument is out of range, or the attribution is not finite.
    """
    values = as_tensor(attribution)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3:
        raise bad_argument("attribution", "shape (C, H, W)", str(tuple(values.shape)))
    low, high = clip
    if not 0 <= low < high <= 100:
        raise bad_argument("clip", "two percentiles, 0 <= low < high <= 100", repr(clip))
    if not 0.0 <= smooth < float("inf"):
        raise bad_argument("smooth", "0 or a positive number of pixels", repr(smooth))
    pixels = rank_pixels(values.detach().to("cpu")[None], ranking="signed_sum" if signed else ranking)
    pixels = pixels.reshape(1, 1, *values.shape[1:])
    amount = (gaussian_blur(pixels, smooth) if smooth > 0 else pixels)[0, 0].to(torch.float64).numpy()
    importance = np.abs(amount) if signed else amount
    floor, ceiling = np.percentile(importance, (low, high))
    # Of a map with few pixels that are not zero both percentiles may be the same: what is above is saturated.
    span = ceiling - floor
    scaled = (importance - floor) / span if span > 0 else (importance > ceiling).astype(np.float64)
    scaled = scaled.clip(0, 1) * (np.sign(amount) if signed else 1)
    result: NDArray[np.float32] = scaled.astype(np.float32)
    return result


def heat_layer(scaled: NDArray[np.float32], *, signed: bool = False) -> Image.Image:
    """Colour a heat map, for laying it over a picture.

    Args:
        scaled: (H, W) from `heat`.
        signed: whether the map has signs: red where it is positive, blue where it is negative.

    Returns:
        A palette image with transparency: weak pixels let the picture through, pixels of heat 0 are invisible.
    """
    index = _color_index(scaled, signed)
    layer = Image.frombytes("P", (index.shape[1], index.shape[0]), index.tobytes())
    layer.putpalette(_table(signed).tobytes(), "RGB")
    layer.info["transparency"] = _alpha(signed).tobytes()
    return layer


def overlay(
    image: NDArray[np.uint8],
    attribution: Tensor | NDArray[np.floating[Any]],
    *,
    ranking: str = "sum_of_abs",
    clip: tuple[float, float] = CLIP,
    smooth: float = 0.0,
    signed: bool = False,
) -> NDArray[np.uint8]:
    """Lay the heat map of an attribution over a faded and darkened picture.

    By magnitude, the absolute values of the channels are summed; signed, the channels are summed with their signs.

    Args:
        image: (H, W, 3) uint8 RGB.
        attribution: (C, H, W), in any units.
        ranking: how the channels of a pixel become one importance, see `xai_fast.metrics.rank_pixels`.
        clip: percentiles between which the colours run, see `heat`.
        smooth: blur for the eye, in pixels, see `heat`.
        signed: whether the map has signs: red where it is positive, blue where it is negative.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the picture and the attribution do not fit, or an argument is out of range.
    """
    picture = np.asarray(image)
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise bad_argument("image", "(H, W, 3) uint8", f"{picture.dtype} {picture.shape}")
    scaled = heat(attribution, ranking=ranking, clip=clip, smooth=smooth, signed=signed)
    if scaled.shape != picture.shape[:2]:
        raise bad_argument(
            "attribution", f"(C, {picture.shape[0]}, {picture.shape[1]}) as the image", f"{scaled.shape}"
        )
    index = _color_index(scaled, signed)
    color = picture.astype(np.float32)
    grey = (color @ _LUMA)[..., None]
    background = (color + GREY * (grey - color)) * BRIGHTNESS
    alpha = (_alpha(signed)[index] / 255)[..., None]
    mixed = background + alpha * (_table(signed)[index] - background)
    result: NDArray[np.uint8] = mixed.round().clip(0, 255).astype(np.uint8)
    return result


def _table(signed: bool) -> NDArray[np.uint8]:
    return signed_colormap() if signed else colormap()


def _color_index(scaled: NDArray[np.float32], signed: bool) -> NDArray[np.uint8]:
    # Away from zero, so that only heat 0 gets the invisible colour.
    steps = np.ceil(np.abs(scaled) * (_ZERO - 1 if signed else COLORS - 1))
    index: NDArray[np.uint8] = (_ZERO + np.sign(scaled) * steps if signed else steps).astype(np.uint8)
    return index


def _alpha(signed: bool) -> NDArray[np.uint8]:
    """Opacity of each colour, (256,): none for that of zero, then from weak to full."""
    strength = np.abs(np.arange(COLORS) - _ZERO) / (_ZERO - 1) if signed else np.linspace(0.0, 1.0, COLORS)
    least = 0.0 if signed else _LEAST_ALPHA  # the two sides of a zero that is not seen meet without an edge
    alpha = 1.0 - (1.0 - least) * (1.0 - strength).clip(0) ** 3
    alpha[strength == 0] = 0.0
    result: NDArray[np.uint8] = (alpha * 255).round().astype(np.uint8)
    return result

"""The colours of heat maps: equal steps of importance look like equal steps."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLORS", "PAIR_COLORS", "colormap", "diverging_colormap", "oklab_to_srgb", "signed_colormap"]

COLORS = 256
"""Entries of the table that `colormap` gives."""

PAIR_COLORS = ("#e8590c", "#56b4e9", "#f0e442", "#8f5bd6", "#ffffff", "#009e73", "#e36bb0")
"""One colour per rank of an interaction, then from the start. Colour-blind readers tell them apart, the first four
easily; they are bright enough for dark photos, and a dark edge makes them show on bright ones."""

# Lightness, chroma and hue (degrees) in OKLCH: violet, magenta, red-orange, yellow, almost white.
_STATIONS = (
    (0.28, 0.120, 292.0),
    (0.45, 0.190, 330.0),
    (0.62, 0.195, 382.0),
    (0.77, 0.155, 416.0),
    (0.90, 0.130, 452.0),
    (0.97, 0.050, 462.0),
)

# The two ends of the table for values with a sign, and what is between them.
_NEGATIVE, _ZERO, _POSITIVE = (0.45, 0.13, 255.0), (0.96, 0.0, 0.0), (0.50, 0.18, 27.0)

# Of such a map over a dark picture, where what is strong has to be bright: to both sides of a zero that is not seen.
_SIDES = ((0.72, 0.14, 245.0), (0.46, 0.16, 260.0), (0.46, 0.17, 20.0), (0.70, 0.19, 26.0))


def oklab_to_srgb(lab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert OKLab colours (..., 3) to gamma-encoded sRGB, not clipped: values outside 0..1 are colours it lacks."""
    # Björn Ottosson, "A perceptual color space for image processing", 2020.
    to_cones = np.array(
        [[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.291485548]]
    )
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = (lab @ to_cones.T) ** 3 @ to_linear.T
    encoded = 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055
    srgb: NDArray[np.float64] = np.where(np.abs(linear) <= 0.0031308, 12.92 * linear, np.sign(linear) * encoded)
    return srgb


@functools.cache
def colormap() -> NDArray[np.uint8]:
    """Give the table of colours, from weak to strong.

    The lightness only rises, so the order survives in print and for colour-blind readers, and neighbours are equally
    far apart in OKLab, so that no step of importance is exaggerated.

    Returns:
        (256, 3) uint8 sRGB, read-only.
    """
    stations = np.array(_STATIONS)
    fine = np.linspace(0, len(stations) - 1, 4096)
    lightness, chroma, hue = (np.interp(fine, np.arange(len(stations)), stations[:, k]) for k in range(3))
    # Corners of the polyline would show as bands; a short moving average rounds them off.
    window = np.hanning(513) / np.hanning(513).sum()
    lightness, chroma, hue = (
        np.convolve(np.pad(values, 256, mode="reflect", reflect_type="odd"), window, mode="valid")
        for values in (lightness, chroma, hue)
    )
    lab = _lab(lightness, chroma, hue)
    travelled = np.concatenate([[0.0], np.linalg.norm(np.diff(lab, axis=0), axis=1).cumsum()])
    even = np.linspace(0, travelled[-1], COLORS)
    lab = np.stack([np.interp(even, travelled, lab[:, k]) for k in range(3)], axis=1)
    return _table(lab)


@functools.cache
def diverging_colormap() -> NDArray[np.uint8]:
    """Give the table of colours for values with a sign, as `colormap`: blue, almost white at zero, red."""
    lab = _lab(*np.array([_NEGATIVE, _ZERO, _POSITIVE]).T)
    place = np.linspace(0, 2, COLORS)
    return _table(np.stack([np.interp(place, range(3), lab[:, k]) for k in range(3)], axis=1))


@functools.cache
def signed_colormap() -> NDArray[np.uint8]:
    """Give the table of colours for values with a sign over a dark picture, as `colormap`: the weak ones are dark."""
    lab = _lab(*np.array(_SIDES).T)
    place = np.concatenate([np.linspace(0, 1, COLORS // 2), np.linspace(2, 3, COLORS // 2)])
    return _table(np.stack([np.interp(place, range(4), lab[:, k]) for k in range(3)], axis=1))


def _lab(lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.float64]:
    angle = np.deg2rad(hue)
    return np.stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)], axis=1)


def _table(lab: NDArray[np.float64]) -> NDArray[np.uint8]:
    table: NDArray[np.uint8] = (oklab_to_srgb(lab).clip(0, 1) * 255).round().astype(np.uint8)
    table.flags.writeable = False
    return table

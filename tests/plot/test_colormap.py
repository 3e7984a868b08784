from __future__ import annotations

import itertools

import numpy as np
import pytest
from colors import srgb_to_oklab
from matplotlib.colors import to_rgb

from xai_fast.plot.colormap import COLORS, PAIR_COLORS, colormap, oklab_to_srgb, signed_colormap


def test_conversion_is_the_inverse_of_the_definition() -> None:
    srgb = np.random.default_rng(0).random((100, 3))
    np.testing.assert_allclose(oklab_to_srgb(srgb_to_oklab(srgb)), srgb, atol=1e-5)
    np.testing.assert_allclose(oklab_to_srgb(np.array([1.0, 0.0, 0.0])), 1.0, atol=1e-5)


def test_steps_are_even_and_lightness_only_rises() -> None:
    lab = srgb_to_oklab(colormap().astype(np.float64) / 255)
    assert lab.shape == (COLORS, 3)
    assert np.all(np.diff(lab[::4, 0]) > 0)
    assert lab[0, 0] < 0.32
    assert lab[-1, 0] > 0.94
    # Rounded to 8 bits single steps waver, so steps of sixteen are compared.
    steps = np.linalg.norm(lab[16:] - lab[:-16], axis=1)
    assert steps.max() / steps.min() < 1.35


def test_both_signs_get_brighter_alike() -> None:
    lightness = srgb_to_oklab(signed_colormap() / 255)[:, 0]
    negative, positive = lightness[: COLORS // 2][::-1], lightness[COLORS // 2 :]
    assert np.all(np.diff(negative[::4]) > 0)
    assert np.all(np.diff(positive[::4]) > 0)
    np.testing.assert_allclose(negative, positive, atol=0.03)


def test_the_table_is_shared_and_cannot_be_changed() -> None:
    assert colormap() is colormap()
    assert not colormap().flags.writeable


# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009:
# linear RGB, severity 1.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("sight", SIGHT)
def test_colors_are_told_apart(sight: str) -> None:
    srgb = np.array([to_rgb(color) for color in PAIR_COLORS])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    seen = (linear @ np.array(SIGHT[sight]).T).clip(0, 1)
    lab = srgb_to_oklab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    apart = {pair: np.linalg.norm(lab[pair[0]] - lab[pair[1]]) for pair in itertools.combinations(range(len(lab)), 2)}
    # 0.02 is about the least difference that is seen side by side.
    assert min(distance for pair, distance in apart.items() if max(pair) < 4) > 0.15
    assert min(apart.values()) > 0.08

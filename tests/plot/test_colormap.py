from __future__ import annotations

import numpy as np
from colors import srgb_to_oklab

from xai_fast.plot.colormap import COLORS, colormap, oklab_to_srgb


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


def test_the_table_is_shared_and_cannot_be_changed() -> None:
    assert colormap() is colormap()
    assert not colormap().flags.writeable

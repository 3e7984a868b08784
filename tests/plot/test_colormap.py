from __future__ import annotations

import numpy as np

from xai_fast.plot.colormap import COLORS, colormap, oklab_to_srgb


def srgb_to_oklab(srgb: np.ndarray) -> np.ndarray:
    """The inverse, written from the definition."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    cones = (
        linear
        @ np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        ).T
    )
    return (
        np.cbrt(cones)
        @ np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        ).T
    )


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

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch

from xai_fast.errors import InputError
from xai_fast.plot import colormap, heat, heat_layer, overlay
from xai_fast.plot.colormap import signed_colormap
from xai_fast.plot.heatmap import BRIGHTNESS, GREY

mpl.use("agg")


def an_attribution(height: int = 20, width: int = 30) -> torch.Tensor:
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))


RANKINGS = {
    "signed_sum": lambda a: a.sum(0),
    "abs_sum": lambda a: np.abs(a.sum(0)),
    "sum_of_abs": lambda a: np.abs(a).sum(0),
}


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("clip", [(80.0, 99.0), (0.0, 100.0), (50.0, 50.5)])
def test_heat_is_linear_between_the_percentiles(ranking: str, clip: tuple[float, float]) -> None:
    attribution = an_attribution()
    importance = RANKINGS[ranking](attribution.double().numpy())
    low, high = np.percentile(importance, clip[0]), np.percentile(importance, clip[1])
    literal = np.vectorize(lambda v: min(1.0, max(0.0, (v - low) / (high - low))))(importance)
    got = heat(attribution, ranking=ranking, clip=clip)
    assert got.shape == (20, 30)
    np.testing.assert_allclose(got, literal, atol=2e-5 * max(1.0, 1 / (high - low)))
    assert np.array_equal(got, heat(attribution.numpy(), ranking=ranking, clip=clip))
    plain = attribution.sum(0)
    assert np.array_equal(heat(plain.numpy(), clip=clip), heat(plain[None], clip=clip))


@pytest.mark.parametrize("clip", [(80.0, 99.0), (0.0, 100.0)])
def test_a_signed_map_is_the_sum_of_the_channels_on_a_symmetric_scale(clip: tuple[float, float]) -> None:
    attribution = an_attribution()
    total = attribution.double().numpy().sum(0)
    low, high = np.percentile(np.abs(total), clip)
    literal = np.vectorize(lambda v: np.sign(v) * min(1.0, max(0.0, (abs(v) - low) / (high - low))))(total)
    got = heat(attribution, clip=clip, signed=True)
    np.testing.assert_allclose(got, literal, atol=2e-5)
    assert np.array_equal(heat(-attribution, clip=clip, signed=True), -got)
    blurred = heat(attribution, clip=clip, smooth=2.0, signed=True)
    assert np.array_equal(heat(-attribution, clip=clip, smooth=2.0, signed=True), -blurred)
    assert blurred.min() < 0 < blurred.max()  # signs cancel under the blur, not before it


def test_a_signed_layer_is_red_where_positive_blue_where_negative_and_clear_at_zero() -> None:
    scaled = np.array([[-1.0, -0.5, -1e-6, 0.0, 1e-6, 0.5, 1.0]], np.float32)
    colors = np.asarray(heat_layer(scaled, signed=True).convert("RGBA")).astype(int)[0]
    red, _, blue, alpha = colors.T
    assert (blue[:3] > red[:3] + 50).all()
    assert (red[4:] > blue[4:] + 50).all()
    assert alpha[3] == 0
    assert np.array_equal(alpha, alpha[::-1])
    assert (np.diff(alpha[3:]) > 0).all()
    assert colors[[0, -1], :3].tolist() == signed_colormap()[[1, -1]].tolist()


def test_four_fifths_are_transparent_and_one_in_a_hundred_is_saturated() -> None:
    got = heat(an_attribution(100, 100))
    assert np.mean(got == 0) == pytest.approx(0.8, abs=1e-3)
    assert np.mean(got == 1) == pytest.approx(0.01, abs=1e-3)


def spike(value: float) -> torch.Tensor:
    attribution = torch.zeros(3, 20, 20)
    attribution[0, 3, 4] = value
    return attribution


DEGENERATE = {
    "zero": (torch.zeros(3, 5, 5), 0),
    "constant": (torch.full((3, 5, 5), -2.0), 0),
    "one pixel that matters": (spike(1e-30), 1),
    "one pixel": (torch.ones(3, 1, 1), 0),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_maps_without_contrast(name: str) -> None:
    attribution, saturated = DEGENERATE[name]
    got = heat(attribution)
    assert (got == 1).sum() == saturated
    assert (got == 0).sum() == got.size - saturated


def test_smoothing_spreads_a_pixel_without_moving_it() -> None:
    got = heat(spike(1.0), smooth=2.0, clip=(0, 100))
    assert np.unravel_index(got.argmax(), got.shape) == (3, 4)
    assert (got > 0.3).sum() > 5
    # A Gaussian falls to exp(-1/2) at its standard deviation.
    assert got[5, 4] == pytest.approx(np.exp(-0.5), abs=0.02)


def test_overlay_is_transparent_where_the_map_is_weak_and_full_where_it_is_strong() -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    attribution = an_attribution()
    scaled = heat(attribution)
    faded = image.astype(np.float64)
    grey = faded @ [0.2126, 0.7152, 0.0722]
    faded = ((1 - GREY) * faded + GREY * grey[..., None]) * BRIGHTNESS
    got = overlay(image, attribution)
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got[scaled == 0], faded[scaled == 0], atol=0.51)
    assert (got[scaled == 1] == colormap()[-1]).all()
    between = (scaled > 0) & (scaled < 1)
    low = np.minimum(faded[between], colormap().min(0))
    assert (got[between] >= low - 1).all()
    assert np.array_equal(image, np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))


@pytest.mark.parametrize("signed", [False, True])
def test_the_layer_of_the_report_over_the_faded_picture_is_the_overlay(signed: bool) -> None:
    image = np.full((20, 30, 3), 128, np.uint8)
    attribution = an_attribution()
    scaled = heat(attribution, signed=signed)
    layer = np.asarray(heat_layer(scaled, signed=signed).convert("RGBA")).astype(np.float64)
    alpha = layer[..., 3:] / 255
    mixed = alpha * layer[..., :3] + (1 - alpha) * 128 * BRIGHTNESS
    np.testing.assert_allclose(mixed, overlay(image, attribution, signed=signed), atol=1.0)
    assert (alpha[scaled == 0] == 0).all()


IMAGE = np.zeros((20, 30, 3), np.uint8)
WRONG = {
    "attribution: expected shape": lambda: heat(torch.zeros(2, 3, 20, 30)),
    "attributions: expected finite": lambda: heat(torch.full((3, 4, 4), torch.nan)),
    "clip: expected two percentiles": lambda: heat(an_attribution(), clip=(99, 80)),
    "clip: expected two": lambda: heat(an_attribution(), clip=(-1, 80)),
    "smooth: expected 0 or a positive": lambda: heat(an_attribution(), smooth=-1),
    "ranking: expected one of": lambda: heat(an_attribution(), ranking="max"),
    r"image: expected \(H, W, 3\) uint8": lambda: overlay(IMAGE / 255, an_attribution()),
    r"attribution: expected \(C, 20, 30\) as the image, got \(30, 20\)": lambda: overlay(IMAGE, an_attribution(30, 20)),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_are_named(message: str) -> None:
    with pytest.raises(InputError, match="^" + message):
        WRONG[message]()

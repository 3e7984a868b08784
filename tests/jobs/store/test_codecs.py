"""Codecs: how much they lose, and what they do with maps that are special."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xai_fast.jobs.store.codecs import CODECS, decode, encode

# Half a step of the number format: relative to the largest entry of the map; relative to the entry itself, for entries
# within so many powers of two of the largest; and for maps near the smallest numbers that there are.
LIMITS = {
    "float32": (0.0, 0.0, 126, 0.0),
    "float16_scaled": (2.0**-11, 2.0**-11, 28, 2.0**-149),
    "bfloat16": (2.0**-8, 2.0**-8, 100, 2.0**-134),
    "int8_scaled": (0.5 / 127 * 1.001, math.inf, 0, 2.0**-127),
}


def through(name: str, maps: Tensor) -> Tensor:
    return decode(*encode(name, maps), torch.full_like(maps, torch.nan))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("largest", [1e-42, 1e-38, 1e-30, 1e-9, 1e-3, 1.0, 65504.0, 1e5, 3e38])
def test_error(name: str, largest: float) -> None:
    maps = torch.randn(50, 8, 9)
    maps *= (largest / maps.abs().amax((1, 2), keepdim=True)).clamp(max=3.4e38)
    got = through(name, maps)
    of_map, of_entry, powers, least = LIMITS[name]
    peak = maps.abs().amax((1, 2), keepdim=True)
    tiny = least if largest < 1e-30 else 0.0
    error = (got.double() - maps.double()).abs()
    assert bool((error <= of_map * peak.double() + tiny).all())
    near = maps.abs() >= peak * 2.0**-powers
    assert bool((error <= of_entry * maps.abs().double() + tiny)[near].all()) or math.isinf(of_entry)


@pytest.mark.parametrize("name", CODECS)
def test_special_maps(name: str) -> None:
    maps = torch.zeros(4, 3)
    maps[1] = torch.nan
    maps[2] = torch.tensor([1.0, torch.inf, torch.nan])
    maps[3] = torch.tensor([2.0**-149, 0.0, -(2.0**-149)])
    got = through(name, maps)
    assert torch.equal(got[0], maps[0])
    assert bool(got[1].isnan().all())
    # Integers have no infinity: a map that is not finite is lost as a whole, and says so.
    kept = torch.full((3,), torch.nan) if name == "int8_scaled" else maps[2]
    assert torch.equal(got[2].nan_to_num(7.0, posinf=9.0), kept.nan_to_num(7.0, posinf=9.0))
    assert bool(got[3].isfinite().all())
    assert through(name, torch.empty(2, 0)).shape == (2, 0)


def test_the_scale_is_a_power_of_two() -> None:
    scales = encode("float16_scaled", torch.randn(200, 4) * torch.logspace(-44, 38, 200)[:, None])[1]
    assert scales is not None
    assert set(torch.frexp(scales)[0].tolist()) == {0.5}
    assert scales.min() == 2.0**-126


def test_plain_float16_loses_what_is_kept_here() -> None:
    maps = torch.randn(20, 64) * 1e-8
    assert (maps.half() == 0).float().mean() > 0.9
    assert not (through("float16_scaled", maps) == 0).any()

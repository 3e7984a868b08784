"""Codecs: their error, and that encoding what was decoded changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xai_fast.errors import InputError
from xai_fast.jobs.store import CODECS, codec

# Half a step of the number format: relative to the largest entry of the map; relative to the entry itself, for entries
# within so many powers of two of the largest; and for maps near the smallest numbers that there are.
LIMITS = {
    "float32": (0.0, 0.0, 126, 0.0),
    "float16_scaled": (2.0**-11, 2.0**-11, 28, 2.0**-149),
    "bfloat16": (2.0**-8, 2.0**-8, 100, 2.0**-134),
    "int8_scaled": (0.5 / 127 * 1.001, math.inf, 0, 2.0**-127),
}


def _through(name: str, maps: Tensor) -> Tensor:
    one = CODECS[name]
    scales = one.scales(maps)
    return one.decode(one.encode(maps, scales), scales if one.scaled else None, torch.full_like(maps, torch.nan))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("largest", [1e-42, 1e-38, 1e-30, 1e-9, 1e-3, 1.0, 65504.0, 1e5, 3e38])
def test_error(name: str, largest: float) -> None:
    maps = torch.randn(50, 8, 9)
    maps *= (largest / maps.abs().amax((1, 2), keepdim=True)).clamp(max=3.4e38)
    got = _through(name, maps)
    of_map, of_entry, powers, least = LIMITS[name]
    peak = maps.abs().amax((1, 2), keepdim=True)
    tiny = least if largest < 1e-30 else 0.0
    error = (got.double() - maps.double()).abs()
    assert bool((error <= of_map * peak.double() + tiny).all())
    near = maps.abs() >= peak * 2.0**-powers
    assert bool((error <= of_entry * maps.abs().double() + tiny)[near].all()) or math.isinf(of_entry)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(list(CODECS)), st.lists(st.floats(width=32), min_size=1, max_size=7))
def test_encoding_what_was_decoded_changes_nothing(name: str, entries: list[float]) -> None:
    once = _through(name, torch.tensor([entries]))
    assert torch.equal(_through(name, once).nan_to_num(7.0), once.nan_to_num(7.0))


@pytest.mark.parametrize("mantissa", [1 - 2.0**-12, 1 - 2.0**-24, 1 - 2.0**-11, 0.5])
def test_largest_entry_that_rounds_up(mantissa: float) -> None:
    """The case in which a scale from the unrounded entry would not survive a second time."""
    maps = torch.tensor([[mantissa, 2.0**-39 * 3, -(2.0**-38)]])
    once = _through("float16_scaled", maps)
    assert torch.equal(_through("float16_scaled", once), once)


@pytest.mark.parametrize("name", CODECS)
def test_special_maps(name: str) -> None:
    maps = torch.zeros(4, 3)
    maps[1] = torch.nan
    maps[2] = torch.tensor([1.0, torch.inf, torch.nan])
    maps[3] = torch.tensor([2.0**-149, 0.0, -(2.0**-149)])
    got = _through(name, maps)
    assert torch.equal(got[0], maps[0])
    assert bool(got[1].isnan().all())
    # Integers have no infinity: a map that is not finite is lost as a whole, and says so.
    kept = torch.full((3,), torch.nan) if name == "int8_scaled" else maps[2]
    assert torch.equal(got[2].nan_to_num(7.0, posinf=9.0), kept.nan_to_num(7.0, posinf=9.0))
    assert bool(got[3].isfinite().all())
    assert CODECS[name].scales(torch.empty(2, 0)).tolist() == [1.0, 1.0]


def test_scale_is_a_power_of_two() -> None:
    scales = CODECS["float16_scaled"].scales(torch.randn(200, 4) * torch.logspace(-44, 38, 200)[:, None])
    assert set(torch.frexp(scales)[0].tolist()) == {0.5}
    assert scales.min() == 2.0**-126


def test_plain_float16_loses_what_is_kept_here() -> None:
    maps = torch.randn(20, 64) * 1e-8
    assert (maps.half() == 0).float().mean() > 0.9
    assert not (_through("float16_scaled", maps) == 0).any()


def test_unknown() -> None:
    with pytest.raises(InputError, match="dtype: expected one of float16_scaled, float32, bfloat16, int8_scaled, got"):
        codec("float16")

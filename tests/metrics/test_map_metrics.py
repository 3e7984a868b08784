"""Complexity, localization and file size of maps against their definitions."""

from __future__ import annotations

import io
import math
from typing import Any

import literal_explained
import pytest
import torch
from torch import Tensor

from xai_fast import InputError
from xai_fast.metrics import RANKINGS, complexity, file_size, localization

SHAPES = [(2, 3, 4, 5), (3, 7), (1, 1, 9, 2), (2, 1)]


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_complexity_equals_the_definition(shape: tuple[int, ...]) -> None:
    a = maps(*shape)
    a[0, 0] = 0.3
    got = complexity(a, threshold=0.4)
    for item in range(len(a)):
        assert float(got.sparseness[item]) == pytest.approx(literal_explained.gini(a[item]), abs=1e-12)
        assert float(got.entropy[item]) == pytest.approx(literal_explained.entropy(a[item]), abs=1e-12)
        limit = 0.4 * float(a[item].abs().max())
        assert int(got.effective[item]) == sum(abs(float(v)) > limit for v in a[item].flatten())


def test_complexity_of_one_entry_of_equal_entries_and_of_none() -> None:
    one, equal, none = torch.zeros(1, 8), torch.full((1, 8), -0.5), torch.zeros(1, 8)
    one[0, 3] = -2.0
    got = complexity(torch.cat([one, equal, none]))
    assert got.sparseness.tolist() == pytest.approx([7 / 8, 0, math.nan], nan_ok=True)
    assert got.entropy.tolist() == pytest.approx([0, math.log(8), math.nan], nan_ok=True)
    assert got.effective.tolist() == [1, 8, 0]


BOXES = [[[1.0, 0.0, 3.0, 2.0], [2.0, 1.0, 4.0, 4.5]], [[0.0, 0.0, 0.0, 0.0]], [[-5.0, 3.5, 90.0, 90.0]]]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_localization_equals_the_definition(ranking: str) -> None:
    a = maps(3, 2, 6, 5)
    pixels = {"signed_sum": a.sum(1), "abs_sum": a.sum(1).abs(), "sum_of_abs": a.abs().sum(1)}[ranking]
    got = localization(a, BOXES, ranking=ranking, k=7)
    for item in range(3):
        mass, rank, top_k, area = literal_explained.localization(pixels[item], BOXES[item], 7)
        if ranking == "signed_sum":
            mass = literal_explained.localization(pixels[item].clamp(min=0), BOXES[item], 7)[0]
        found = [float(v[item]) for v in (got.mass, got.rank, got.top_k, got.area)]
        assert found == pytest.approx([mass, rank, top_k, area], abs=1e-12)


def test_localization_of_perfect_wrong_and_empty_maps() -> None:
    inside = torch.zeros(6, 5)
    inside[1:3, 2:4] = 1
    got = localization(torch.stack([inside, 1 - inside, 0 * inside]), [[2.0, 1.0, 3.0, 2.0]] * 3, k=4)
    assert got.mass.tolist() == pytest.approx([1, 0, math.nan], nan_ok=True)
    assert got.rank.tolist()[:2] == got.top_k.tolist()[:2] == [1, 0]
    assert got.area.tolist() == pytest.approx([4 / 30] * 3)
    assert localization(inside[None], [[2.0, 1.0, 3.0, 2.0]], k=1000).top_k.tolist() == pytest.approx([4 / 30])


@pytest.mark.parametrize("codec", ["png", "jpeg"])
def test_files_hold_the_map(codec: str) -> None:
    """The bytes are those of a picture that is made by hand, entry by entry."""
    from PIL import Image

    a = maps(3, 2, 11, 8)
    got = file_size(a, codec=codec)
    for item in range(3):
        pixels = a[item].sum(0)
        picture = Image.new("L", (8, 11))
        for row in range(11):
            for column in range(8):
                grey = round(127.5 * (float(pixels[row, column] / pixels.abs().max()) + 1))
                picture.putpixel((column, row), grey)
        file = io.BytesIO()
        picture.save(
            file, **({"format": "PNG", "compress_level": 9} if codec == "png" else {"format": "JPEG", "quality": 90})
        )
        assert float(got.values[item]) == len(file.getvalue())
    assert {"format", "colors", "scaling", "pillow", "ranking"} <= got.settings.keys()


def test_simple_maps_have_small_files() -> None:
    flat, noise = torch.zeros(1, 32, 32), maps(1, 32, 32)
    small, large = file_size(torch.cat([flat.double(), noise])).values.tolist()
    assert small < 100
    assert large > 900
    assert file_size(1000 * noise).values.tolist() == [large]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: complexity(a.long()), "attributions: expected a floating-point dtype"),
        (lambda a: complexity(a / 0), "attributions: expected finite values"),
        (lambda a: complexity(a, threshold=2), "threshold: expected"),
        (lambda a: file_size(a, codec="gif"), "codec: expected one of png, jpeg"),
        (lambda a: file_size(a[:, 0, 0]), r"attributions: expected shape \(B, C, H, W\)"),
        (lambda a: localization(a, [[0.0, 0.0, 1.0, 1.0]]), "boxes: expected the boxes of 2 items"),
        (lambda a: localization(a, [[0.0, 0.0, 1.0, 1.0]] * 2, k=0), "k: expected"),
    ],
)
def test_errors_name_the_argument(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(maps(2, 1, 4, 4))

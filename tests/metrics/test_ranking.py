"""From attributions to an order of pixels."""

from __future__ import annotations

import literal_metrics
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xai_fast.errors import InputError
from xai_fast.metrics import RANKINGS, rank_pixels
from xai_fast.metrics.ranking import pixel_positions

MAPS = {
    "contiguous": lambda: torch.randn(2, 3, 4, 5),
    "float64": lambda: torch.randn(2, 3, 4, 5, dtype=torch.float64),
    "one channel": lambda: torch.randn(2, 1, 4, 5),
    "one pixel": lambda: torch.randn(2, 3, 1, 1),
    "channels_last": lambda: torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    "sliced": lambda: torch.randn(4, 6, 8, 5)[::2, ::2, ::2],
    "transposed": lambda: torch.randn(2, 3, 5, 4).transpose(2, 3),
    "with a graph": lambda: torch.randn(2, 3, 4, 5, requires_grad=True),
}


@pytest.mark.parametrize("ranking", RANKINGS)
@pytest.mark.parametrize("name", MAPS)
def test_equals_the_definition(name: str, ranking: str) -> None:
    maps = MAPS[name]()
    got = rank_pixels(maps, ranking=ranking)
    expected = torch.tensor([literal_metrics.importance(item, ranking) for item in maps.detach()], dtype=got.dtype)
    torch.testing.assert_close(got, expected)
    assert not got.requires_grad


@pytest.mark.parametrize(
    ("ranking", "expected"), [("signed_sum", [[3.0, -2.0]]), ("abs_sum", [[3.0, 2.0]]), ("sum_of_abs", [[3.0, 2.0]])]
)
def test_features_are_pixels(ranking: str, expected: list[list[float]]) -> None:
    assert rank_pixels(torch.tensor([[3.0, -2.0]]), ranking=ranking).tolist() == expected


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_any_spatial_rank(shape: tuple[int, ...]) -> None:
    maps = torch.randn(shape)
    assert torch.equal(rank_pixels(maps), maps.abs().sum(1).flatten(1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    maps = torch.tensor([[[256.0], [1.0]]]).to(dtype)
    assert rank_pixels(maps).tolist() == [[257.0]]


@pytest.mark.parametrize("ranking", RANKINGS)
def test_memory_layout_and_batch_do_not_change_a_bit(ranking: str) -> None:
    maps = torch.randn(5, 7, 9, 11)
    expected = rank_pixels(maps, ranking=ranking)
    assert torch.equal(rank_pixels(maps.contiguous(memory_format=torch.channels_last), ranking=ranking), expected)
    assert torch.equal(torch.cat([rank_pixels(item[None], ranking=ranking) for item in maps]), expected)


@pytest.mark.parametrize("descending", [True, False])
@given(table=st.lists(st.lists(st.integers(-3, 3), min_size=7, max_size=7), min_size=1, max_size=4))
@settings(deadline=None, max_examples=50)
def test_positions_are_a_stable_sort(descending: bool, table: list[list[int]]) -> None:
    expected = []
    for values in table:
        order = sorted(range(7), key=lambda pixel: -values[pixel] if descending else values[pixel])
        expected.append([order.index(pixel) for pixel in range(7)])
    assert pixel_positions(torch.tensor(table, dtype=torch.float32), descending=descending).tolist() == expected


def test_positive_and_negative_zero_are_equal() -> None:
    assert pixel_positions(torch.tensor([[-0.0, 0.0, -0.0]])).tolist() == [[0, 1, 2]]


def test_many_equal_pixels_keep_their_order() -> None:
    assert torch.equal(pixel_positions(torch.zeros(2, 50_000)), torch.arange(50_000).int().expand(2, -1))


def test_empty_batch() -> None:
    assert rank_pixels(torch.empty(0, 3, 4, 5)).shape == (0, 20)
    assert pixel_positions(torch.empty(0, 20)).shape == (0, 20)


def _with(value: float, *items: int) -> Tensor:
    maps = torch.zeros(9, 3, 4, 5)
    for item in items:
        maps[item, 1, 2, 3] = value
    return maps


@pytest.mark.parametrize(
    ("maps", "ranking", "message"),
    [
        (torch.zeros(2, 3, 4, 5), "abs", r"ranking: expected one of signed_sum, abs_sum, sum_of_abs, got 'abs'"),
        ([[1.0]], "abs_sum", r"attributions: expected a tensor or an array, got list"),
        (torch.zeros(2, 3, dtype=torch.int64), "abs_sum", r"attributions: expected a floating-point dtype, got torch"),
        (torch.zeros(2), "abs_sum", r"attributions: expected shape \(B, C, ...\) or \(B, N\), got \(2,\)"),
        (torch.zeros(2, 3, 0, 4), "abs_sum", r"attributions: expected shape .* got \(2, 3, 0, 4\)"),
        (_with(torch.nan, 3), "abs_sum", r"attributions: expected finite values, got NaN or infinity in item 3$"),
        (_with(-torch.inf, 1, 4), "abs_sum", r"in 2 items: 1, 4$"),
        (_with(torch.nan, *range(1, 9)), "abs_sum", r"in 8 items: 1, 2, 3, 4, 5, 6, 7, 8$"),
    ],
)
def test_bad_arguments(maps: Tensor, ranking: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rank_pixels(maps, ranking=ranking)

"""The pointing game on maps whose maximum is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from xai_fast.errors import InputError
from xai_fast.metrics import pointing_game


def _pointing_at(*points: tuple[int, int], height: int = 40, width: int = 60) -> Tensor:
    """Build maps (B, 3, H, W) whose maximum is at (x, y) in every ranking."""
    maps = 0.1 * torch.rand(len(points), 3, height, width)
    for item, (x, y) in enumerate(points):
        maps[item, :, y, x] = 1.0
    return maps


CASES = [
    # point, boxes, tolerance, distance
    ((5, 7), [(0, 0, 10, 10)], 0, 0.0),
    ((10, 10), [(0, 0, 10, 10)], 0, 0.0),
    ((11, 10), [(0, 0, 10, 10)], 0, 1.0),
    ((13, 14), [(0, 0, 10, 10)], 5, 5.0),
    ((13, 14), [(0, 0, 10, 10)], 4.9, 5.0),
    ((25, 3), [(0, 0, 10, 10)], 15, 15.0),
    ((26, 3), [(0, 0, 10, 10)], 15, 16.0),
    ((30, 20), [(0, 0, 1, 1), (31, 10, 40, 30)], 1, 1.0),
    ((3, 39), [(10.5, 0.0, 12.5, 39.5)], 7.5, 7.5),
]


@pytest.mark.parametrize(("point", "boxes", "tolerance", "distance"), CASES)
def test_hits(point: tuple[int, int], boxes: list[tuple[float, ...]], tolerance: float, distance: float) -> None:
    got = pointing_game(_pointing_at(point), [boxes], tolerance=tolerance)
    assert got.points.tolist() == [list(point)]
    assert got.distances.tolist() == [distance]
    assert got.hits.tolist() == [distance <= tolerance]
    assert float(got.accuracy) == float(distance <= tolerance)


def test_a_batch_is_its_items() -> None:
    points, boxes = [c[0] for c in CASES], [c[1] for c in CASES]
    got = pointing_game(_pointing_at(*points), boxes)
    assert got.distances.tolist() == [c[3] for c in CASES]
    assert got.hits.dtype == torch.bool
    assert got.hits.tolist() == [c[3] <= 15 for c in CASES]
    assert float(got.accuracy) == pytest.approx(8 / 9)


@given(
    x=st.integers(0, 8),
    y=st.integers(0, 6),
    left=st.integers(-3, 9),
    top=st.integers(-3, 9),
    tolerance=st.integers(0, 5),
)
@settings(deadline=None, max_examples=80)
def test_hit_if_a_pixel_of_the_box_is_in_reach(x: int, y: int, left: int, top: int, tolerance: int) -> None:
    right, bottom = left + 2, top + 3
    nearest = min(math.dist((x, y), (u, v)) for u in range(left, right + 1) for v in range(top, bottom + 1))
    got = pointing_game(_pointing_at((x, y), height=7, width=9), [[(left, top, right, bottom)]], tolerance=tolerance)
    assert bool(got.hits) == (nearest <= tolerance)


@pytest.mark.parametrize(("ranking", "x"), [("signed_sum", 1), ("abs_sum", 0), ("sum_of_abs", 2)])
def test_ranking_decides_the_maximum(ranking: str, x: int) -> None:
    maps = torch.tensor([[[[-3.0, 2.0, 4.0]], [[-2.0, 2.0, -4.0]]]])
    assert pointing_game(maps, [[(0, 0, 0, 0)]], ranking=ranking).points.tolist() == [[x, 0]]


def test_the_first_of_equal_maxima_is_the_point() -> None:
    assert pointing_game(torch.ones(1, 3, 300, 300), [[(0, 0, 0, 0)]]).points.tolist() == [[0, 0]]


@pytest.mark.parametrize("as_list", [True, False])
def test_boxes_as_tensors_or_lists(as_list: bool) -> None:
    boxes = torch.tensor([[[0, 0, 4, 4], [9, 9, 9, 9]], [[0, 0, 1, 1], [1, 1, 2, 2]]])
    got = pointing_game(_pointing_at((9, 9), (9, 9)), boxes.tolist() if as_list else boxes, tolerance=0)
    assert got.hits.tolist() == [True, False]


def test_layout_does_not_matter() -> None:
    maps = _pointing_at((5, 7), (50, 30)).contiguous(memory_format=torch.channels_last)
    assert pointing_game(maps, [[(0, 0, 9, 9)]] * 2).points.tolist() == [[5, 7], [50, 30]]


def test_empty_batch_gives_an_empty_result() -> None:
    got = pointing_game(torch.empty(0, 3, 4, 5), [])
    assert (got.hits.shape, got.points.shape, got.distances.shape) == ((0,), (0, 2), (0,))
    assert got.accuracy.isnan()


NO_BOXES = r"boxes\[1\]: expected at least one box \(x0, y0, x1, y1\) for item 1, got none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[(0, 0, 1, 1)], []]}, NO_BOXES),
        ({"boxes": [torch.zeros(1, 4), torch.zeros(0, 4)]}, NO_BOXES),
        ({"boxes": [[(0, 0, 1, 1)]]}, r"boxes: expected the boxes of 2 items, got those of 1"),
        ({"boxes": [[(0, 0, 1, 1)], [(0, 0, 1)]]}, r"boxes\[1\]: expected shape \(K, 4\), got \(1, 3\)"),
        ({"boxes": [(0, 0, 1)] * 2}, r"boxes\[0\]: expected shape \(K, 4\), got \(1, 3\)"),
        ({"boxes": [["left"], ["right"]]}, r"boxes\[0\]: expected a table of numbers \(K, 4\)"),
        ({"boxes": [[(0, 0, 1, 1)], [(2, 0, 1, 1)]]}, r"boxes\[1\]: expected finite boxes with x0 <= x1 and y0 <= y1"),
        ({"boxes": [[(0, 0, 1, 1)], [(0, 0, torch.nan, 1)]]}, r"boxes\[1\]: expected finite boxes"),
        ({"tolerance": -1}, r"tolerance: expected a finite number of at least 0, got -1"),
        ({"tolerance": torch.nan}, r"tolerance: expected a finite number of at least 0, got nan"),
        ({"attributions": torch.rand(2, 4)}, r"attributions: expected shape \(B, C, H, W\), got \(2, 4\)"),
        ({"attributions": torch.full((2, 1, 4, 4), torch.nan)}, r"attributions: expected finite values"),
        ({"ranking": "max"}, r"ranking: expected one of"),
    ],
)
def test_bad_arguments(change: dict[str, object], message: str) -> None:
    arguments = {"attributions": torch.rand(2, 3, 4, 4), "boxes": [[(0, 0, 1, 1)]] * 2} | change
    with pytest.raises(InputError, match=message):
        pointing_game(arguments.pop("attributions"), arguments.pop("boxes"), **arguments)

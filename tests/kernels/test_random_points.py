"""The random numbers of `random_points`, and how its points are written."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from kernel_cases.random_points import Case
from kernel_comparison import find_case
from kernel_ways import Way, on_every_way, on_native, run
from torch import Tensor

from xai_fast import native
from xai_fast.kernels.random_points import KINDS
from xai_fast.kernels.random_points import reference as random_points_reference

# kat_vectors of the authors' Random123: philox4x32, 10 rounds; counter, key, random words.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def _words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter: str, key: str, answer: str) -> None:
    words = random_points_reference.philox4x32(
        [torch.tensor(word) for word in _words(counter)], [torch.tensor(word) for word in _words(key)]
    )
    assert [int(word) for word in words] == _words(answer)


@on_native
@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_native_philox_gives_the_published_answers(counter: str, key: str, answer: str, way: Way) -> None:
    with way():
        assert native.module().philox4x32(_words(counter), _words(key)) == _words(answer)


def _points(entries: int, count: int, way: Way, **changes: Any) -> Tensor:
    """Draw the first points around one item at the origin, float64."""
    arguments = {
        "points": torch.full((count, entries), torch.nan, dtype=torch.float64),
        "centers": torch.zeros(1, entries, dtype=torch.float64),
        "item": torch.zeros(count, dtype=torch.int64),
        "item_ids": torch.tensor([11]),
        "point": torch.arange(count),
        "active": torch.ones(count, dtype=torch.bool),
        "radius": 1.0,
        "kind": "sphere",
        "seed": 5,
        "step": 0,
    }
    return run("random_points", arguments | changes, way)["points"]


@on_every_way
@pytest.mark.parametrize("entries", [2, 3, 5, 64])
def test_points_are_uniform_on_the_points(entries: int, way: Way) -> None:
    count = 20_000
    points = _points(entries, count, way)
    assert (points.norm(dim=1) - 1).abs().max() < 1e-12
    # E x = 0 with variance 1/N; E x_i x_j = delta_ij / N, with variances 2(N-1) / (N^2 (N+2)) and 1 / (N (N+2))
    assert (points.mean(0) * math.sqrt(count * entries)).abs().max() < 4.5
    second = points.T @ points / count - torch.eye(entries, dtype=torch.float64) / entries
    assert (second * math.sqrt(count * entries * (entries + 2) / 2)).abs().max() < 4.5
    # Every axis of three is uniform on [-1, 1] (Archimedes); on a circle the angle is.
    if entries <= 3:
        uniform = (
            (points.T + 1) / 2 if entries == 3 else torch.atan2(points[:, 1], points[:, 0])[None] / (2 * math.pi) + 0.5
        )
        ranks = torch.arange(1, count + 1) / count
        assert (uniform.sort(dim=1).values - ranks).abs().max() * math.sqrt(count) < 1.95  # Kolmogorov, 0.1 %


@on_every_way
@pytest.mark.parametrize(("kind", "moments"), [("box", (1 / 3, 1 / 5)), ("normal", (1, 3))])
def test_entries_are_independent_with_the_moments_of_their_distribution(
    kind: str, moments: tuple[float, ...], way: Way
) -> None:
    count, entries = 20_000, 24
    points = _points(entries, count, way, kind=kind)
    second, fourth = moments
    assert (points.mean(0).abs() * math.sqrt(count / second)).max() < 4.5
    # E x_i x_j is the second moment where i = j, with variance fourth - second^2, else zero with variance second^2
    deviation = (points.T @ points / count - second * torch.eye(entries, dtype=torch.float64)) * math.sqrt(count)
    assert (deviation.diagonal().abs() / math.sqrt(fourth - second**2)).max() < 4.5
    assert (deviation - deviation.diagonal().diag()).abs().max() / second < 4.5
    cdf = (points + 1) / 2 if kind == "box" else torch.special.ndtr(points)
    ranks = (torch.arange(1, count + 1) / count)[:, None]
    assert (cdf.sort(dim=0).values - ranks).abs().max() * math.sqrt(count) < 2.3  # Kolmogorov, 24 tests at 0.005 %
    if kind == "box":
        steps = points * 2**16
        assert points.abs().max() < 1
        assert torch.equal(steps % 2, torch.ones_like(steps))  # odd multiples of radius / 2^16, exactly


@on_every_way
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change",
    [
        {"seed": 6},
        {"step": 1},
        {"item_ids": torch.tensor([12])},
        {"item_ids": torch.tensor([11 + 2**32])},
        {"point": torch.arange(4096) + 4096},
    ],
    ids=["seed", "step", "item", "high half of the item", "point"],
)
def test_other_points_are_independent(change: dict[str, Any], kind: str, way: Way) -> None:
    entries, count = 16, 4096
    first, second = (_points(entries, count, way, kind=kind, **changes) for changes in ({}, change))
    variance = {"sphere": 1 / entries, "box": 1 / 3, "normal": 1}[kind]
    correlation = first.T @ second / variance / math.sqrt(count)  # standard normal entries
    assert correlation.abs().max() < 4.5


@on_native
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_that_are_written_past_the_cache_are_the_same(dtype: torch.dtype, kind: str, way: Way) -> None:
    # 20 MB and four rows a thread; at the end of a row the tile and the group are incomplete.
    case = Case("large", rows=13, items=5, entries=400_016, dtype=dtype, kind=kind, center_scale=1.0)
    arguments = case.arguments()
    arguments["active"][3] = False
    together = {threads: run("random_points", arguments, way, threads)["points"].clone() for threads in (1, 2, 3)}
    for row in range(case.rows):
        alone = {name: arguments[name][row : row + 1].contiguous() for name in ("item", "point", "active")}
        alone["points"] = torch.full((1, case.entries), torch.nan, dtype=dtype)
        expected = run("random_points", arguments | alone, way, threads=1)["points"]
        for threads, points in together.items():
            assert torch.equal(points[row].nan_to_num(7.5), expected[0].nan_to_num(7.5)), (row, threads)


@on_every_way
def test_a_center_that_is_not_finite_reaches_its_points_only(way: Way) -> None:
    arguments = find_case("random_points", "odd").arguments()
    arguments["centers"][0, 5] = math.nan
    points = run("random_points", arguments, way)["points"]
    assert torch.equal(points.isnan().nonzero(), torch.tensor([[0, 5], [2, 5], [4, 5]]))

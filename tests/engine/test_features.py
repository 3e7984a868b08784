"""Features and baselines of items, and random numbers that depend on the item alone."""

from __future__ import annotations

import sys
from typing import Any

import literal_masks
import numpy as np
import pytest
import torch
from torch import Tensor

from xai_fast.engine.draws import random_orders, random_words
from xai_fast.engine.features import Features
from xai_fast.engine.masked import baseline_inputs
from xai_fast.errors import InputError

X = torch.arange(2 * 2 * 2 * 3, dtype=torch.float64).view(2, 2, 2, 3)
"""Two items of two channels of 2 x 3 pixels."""
ROWS = torch.arange(10.0).view(2, 5)
GRID = [[0, 0, 1], [2, 2, 3]]

GROUPINGS: dict[str, tuple[Tensor, Any, list[int], Any]] = {
    "entries": (X, None, [12, 12], torch.arange(12).view(1, 2, 2, 3)),
    "grid": (X, 2, [4, 4], [[GRID]]),
    "sides": (X, (1, 3), [3, 3], [[[[0, 1, 2], [0, 1, 2]]]]),
    "one cell": (X, 1, [1, 1], [[[[0, 0, 0], [0, 0, 0]]]]),
    "numbers": (X, torch.tensor(GRID), [4, 4], [[GRID]]),
    "array": (X, np.array(GRID), [4, 4], [[GRID]]),
    "lists": (X, GRID, [4, 4], [[GRID]]),
    "gaps": (X, torch.tensor([[-5, -5, 7], [7, 90, 90]]), [3, 3], [[[[0, 0, 1], [1, 2, 2]]]]),
    "channels": (X, torch.tensor([0, 1]).view(1, 2, 1, 1), [2, 2], [[[[0]], [[1]]]]),
    "items": (X, torch.tensor([[3, 3, 3], [5, 6, 7]]).view(2, 1, 1, 3), [1, 3], [[[[0, 0, 0]]], [[[0, 1, 2]]]]),
    "rows": (ROWS, None, [5, 5], [[0, 1, 2, 3, 4]]),
    "columns": (ROWS, 3, [3, 3], [[0, 0, 1, 1, 2]]),
    "more columns than cells": (ROWS, 4, [4, 4], [[0, 0, 1, 2, 3]]),
    "one pixel": (X[..., :1, :1], 1, [1, 1], [[[[0]]]]),
}


@pytest.mark.parametrize("case", GROUPINGS)
def test_groupings(case: str) -> None:
    x, grouping, counts, index = GROUPINGS[case]
    features = Features(grouping, x)
    assert features.counts == counts
    assert features.count == max(counts)
    assert torch.equal(features.index, torch.as_tensor(index))
    present = torch.rand(3, features.count) < 0.5
    values = torch.rand(2, features.count, dtype=torch.float64)
    item, baseline = torch.tensor([1, 0, 1]), -1 - x
    rows = features.replaced(present, item, baseline)
    of_baselines = features.replaced(present, item, baseline, torch.tensor([0, 0, 1]))
    groups, spread = features.index.expand(2, *features.index.shape[1:]).expand(x.shape), features.spread(values)
    for entry in np.ndindex(*x.shape[1:]):
        for row, (i, source) in enumerate(zip((1, 0, 1), (0, 0, 1), strict=True)):
            kept = present[row, groups[i][entry]]
            assert rows[row][entry] == (x[i][entry] if kept else baseline[i][entry])
            assert of_baselines[row][entry] == (x[i][entry] if kept else baseline[source][entry])
        for i in range(2):
            assert spread[i][entry] == values[i, groups[i][entry]]


WRONG_GROUPINGS: dict[str, tuple[Any, str]] = {
    "word": ("pixels", "features: expected None, numbers of cells, .*, got 'pixels'"),
    "no superpixels": ("superpixels:0", "features: expected None, numbers of cells, .*, got 'superpixels:0'"),
    "float": (2.5, "features: expected .*, got float"),
    "floats": (torch.rand(2, 3), "features: expected integers on cpu, got torch.float32"),
    "shape": (
        torch.zeros(3, 3, dtype=torch.int64),
        r"features: expected integers that broadcast .*, got shape \(3, 3\)",
    ),
    "more dimensions": (torch.zeros(1, 1, 1, 2, 3).long(), "features: expected integers that broadcast"),
    "other batch": (torch.zeros(3, 1, 2, 3).long(), "features: expected integers that broadcast"),
    "ragged": ([[0, 1, 2], [3]], "features: expected None, .*inhomogeneous"),
    "too many cells": ((2, 4), "features: expected an integer, from 1 to 3, got 4"),
    "sides": ((1, 2, 3), "features: expected one number, or 2, one per dimension"),
    "zero": (0, "features: expected an integer, at least 1, got 0"),
    "bool": (True, "features: expected an integer"),
}


@pytest.mark.parametrize("case", WRONG_GROUPINGS)
def test_wrong_groupings_are_named(case: str) -> None:
    grouping, message = WRONG_GROUPINGS[case]
    with pytest.raises(InputError, match=message):
        Features(grouping, X)


@pytest.mark.parametrize("shape", [(3, 3, 20, 17), (3, 1, 20, 17), (2, 2, 9, 8, 7), (2, 3, 1, 1)])
def test_superpixels_do_not_depend_on_the_batch(shape: tuple[int, ...]) -> None:
    pytest.importorskip("skimage")
    x = torch.rand(shape).cumsum(-1).cumsum(-2)
    x[1] = x[1].flip(-1) * -5.0
    whole = Features("superpixels:6", x)
    for i in range(len(x)):
        alone = Features("superpixels:6", x[i : i + 1])
        assert torch.equal(alone.index[0], whole.index[i])
        assert alone.counts == whole.counts[i : i + 1]
    assert whole.index.shape == (len(x), 1, *shape[2:])
    assert all(int(index.max()) + 1 == count for index, count in zip(whole.index, whole.counts, strict=True))


def test_superpixels_need_a_library_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"features: expected images .* for superpixels, got \(2, 5\)"):
        Features("superpixels", ROWS)
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(InputError, match=r"features=.superpixels. needs skimage, .* pip install scikit-image"):
        Features("superpixels", X)


def full(*channels: float) -> Tensor:
    return torch.tensor(channels, dtype=torch.float64).view(1, -1, 1, 1).expand(X.shape)


BASELINES: dict[str, tuple[Any, Tensor, Any]] = {
    "number": (0.5, X, full(0.5)),
    "integer": (3, X, full(3.0)),
    "channels": ([0.5, -1], X, full(0.5, -1.0)),
    "columns": ((1, 2, 3, 4, 5), ROWS, [[1.0, 2.0, 3.0, 4.0, 5.0]] * 2),
    "mean": ("mean", X, X.flatten(2).mean(2)[..., None, None].expand(X.shape)),
    "lists": ([[[[1.0]], [[2.0]]]], X, full(1.0, 2.0)),
    "array": (np.full((2, 3), 4), X, full(4.0)),
    "tensor": (X.flip(0).float(), X, X.flip(0)),
    "token": (7, ROWS.long(), torch.full((2, 5), 7)),
}


@pytest.mark.parametrize("case", BASELINES)
def test_baselines(case: str) -> None:
    baseline, x, expected = BASELINES[case]
    torch.testing.assert_close(baseline_inputs("baseline", baseline, x), torch.as_tensor(expected), rtol=0, atol=1e-14)


WRONG_BASELINES: dict[str, tuple[Any, Tensor, str]] = {
    "word": ("white", X, """baseline: expected a number, "black", "blur", "mean" or a tensor, got 'white'"""),
    "bool": (True, X, "baseline: expected a number, .*, got bool"),
    "NaN": (float("nan"), X, "baseline: expected one finite number, or 2, one per channel, got nan"),
    "channels": ([1.0, 2.0, 3.0], X, r"baseline: expected one finite number, or 2, one per channel, got shape \(3,\)"),
    "texts": (["a", "b"], X, "baseline: expected one finite number"),
    "ragged": ([[1.0], [1.0, 2.0]], X, "baseline: expected nested lists of numbers, equally long"),
    "shape": (torch.rand(5), X, r"baseline: expected a tensor that broadcasts .*, got shape \(5,\)"),
    "mean of a row": ("mean", ROWS, 'baseline: expected values to replace, .* have no pixels, got "mean"'),
    "blur of tokens": ("blur", X.long(), 'baseline: expected values to replace, .* have no pixels, got "blur"'),
}


@pytest.mark.parametrize("case", WRONG_BASELINES)
def test_wrong_baselines_are_named(case: str) -> None:
    baseline, x, message = WRONG_BASELINES[case]
    with pytest.raises(InputError, match=message):
        baseline_inputs("baseline", baseline, x)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_random_words_are_those_of_philox(count: int) -> None:
    ids, number = torch.tensor([0, 5, 2**40 + 3]), torch.tensor([0, 9, 2**32 - 1])
    expected = [literal_masks.words(i, n, count, 2**32 - 1) for i, n in zip(ids.tolist(), number.tolist(), strict=True)]
    assert random_words(ids, number, count, 2**32 - 1).tolist() == expected
    assert random_words(ids[:0], number[:0], count, 0).shape == (0, count)
    published = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # the known answer of Random123 for zeros
    assert random_words(ids[:1], number[:1], 4, 0)[0].tolist() == published


def test_orders_are_permutations_and_all_equally_likely() -> None:
    number = torch.arange(6000)
    places = random_orders(random_words(torch.full_like(number, 3), number, 3, 1))
    _, counts = torch.unique(places, dim=0, return_counts=True)
    assert len(counts) == 6
    assert ((counts - 1000).abs() < 5 * 1000**0.5).all()

"""Combinatorial numbers against `itertools`, and at the edge of 64 bits against Python's integers."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xai_fast.errors import InputError
from xai_fast.kernels.combinations import LIMIT, MAX_ORDER, count, rank, unrank


def colexicographic(features: int, order: int) -> torch.Tensor:
    sets = sorted(itertools.combinations(range(features), order), key=lambda chosen: chosen[::-1])
    return torch.tensor(sets, dtype=torch.int64).reshape(-1, order)


@pytest.mark.parametrize("order", range(1, 8))
@pytest.mark.parametrize("features", [1, 2, 5, 9, 12])
def test_numbers_go_up_in_colexicographic_order(features: int, order: int) -> None:
    sets = colexicographic(features, order)
    numbers = torch.arange(count(features, order))
    assert torch.equal(rank(sets), numbers)
    assert torch.equal(rank(sets.int()), numbers)
    assert torch.equal(unrank(numbers, order), sets)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_large_numbers_are_exact(data: st.DataObject) -> None:
    order = data.draw(st.integers(1, MAX_ORDER))
    number = data.draw(st.integers(0, LIMIT - 1))
    (row,) = unrank(torch.tensor([number]), order).tolist()
    assert sorted(set(row)) == row
    assert sum(math.comb(feature, j) for j, feature in enumerate(row, 1)) == number
    if count(row[-1] + 1, order) <= LIMIT:
        assert rank(torch.tensor([row])).tolist() == [number]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6, 16, MAX_ORDER])
def test_the_last_number_that_fits(order: int) -> None:
    features = order
    step = 1 << 62
    while step:
        if count(features + step, order) <= LIMIT:
            features += step
        step //= 2
    last = torch.arange(features - order, features).unsqueeze(0)
    number = count(features, order) - 1
    assert rank(last).tolist() == [number]
    assert torch.equal(unrank(torch.tensor([number]), order), last)
    with pytest.raises(InputError, match="tuples: expected features of which at most"):
        rank(last + 1)


@pytest.mark.parametrize("order", [1, 3])
def test_no_sets(order: int) -> None:
    assert rank(torch.empty((0, order), dtype=torch.int64)).shape == (0,)
    assert unrank(torch.empty(0, dtype=torch.int64), order).shape == (0, order)


BAD = [
    (lambda: rank(torch.tensor([1, 2])), r"tuples: expected shape \(T, k\)"),
    (lambda: rank(torch.tensor([[1.0, 2.0]])), "tuples: expected torch.int64"),
    (lambda: rank(torch.tensor([[2, 2]])), "tuples: expected rows that rise"),
    (lambda: rank(torch.tensor([[-1, 2]])), "tuples: expected rows that rise"),
    (lambda: rank(torch.empty((2, 0), dtype=torch.int64)), "order: expected an integer from 1 to 32, got 0"),
    (lambda: unrank(torch.tensor([[1]]), 2), r"ranks: expected shape \(T,\)"),
    (lambda: unrank(torch.tensor([1.0]), 2), "ranks: expected torch.int64"),
    (lambda: unrank(torch.tensor([-1]), 2), "ranks: expected numbers from 0"),
    (lambda: unrank(torch.tensor([LIMIT]), 2), "ranks: expected numbers from 0, below"),
    (lambda: unrank(torch.tensor([1]), 0), "order: expected an integer from 1 to 32, got 0"),
    (lambda: unrank(torch.tensor([1]), 33), "order: expected an integer from 1 to 32, got 33"),
    (lambda: count(-1, 2), "features: expected an integer from 0, got -1"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_a_bad_argument_is_named(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()

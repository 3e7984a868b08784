from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from xai_fast.errors import InputError, ModelError
from xai_fast.interaction.strengths import (
    all_pairs,
    needs,
    pair_strengths,
    ranked,
    read_regression,
    without_redundant_subsets,
)


def test_the_strongest_come_first_and_ties_by_the_set() -> None:
    got = ranked({(1, 2): 1.0, (0, 3): 2.0, (0, 1): 1.0, (0, 1, 2): 1.0, (2, 3): -5.0})
    assert list(got) == [(0, 3), (0, 1), (0, 1, 2), (1, 2), (2, 3)]
    assert list(ranked([((0, 1), math.inf), ((0, 2), 1.0)])) == [(0, 1), (0, 2)]


def test_pairs_of_a_matrix() -> None:
    assert all_pairs(3).tolist() == [[0, 1], [0, 2], [1, 2]]
    matrix = torch.tensor([[9.0, 1.0, 3.0], [1.0, 9.0, 2.0], [3.0, 2.0, 9.0]])
    assert list(pair_strengths(matrix).items()) == [((0, 2), 3.0), ((1, 2), 2.0), ((0, 1), 1.0)]


def test_what_a_stronger_set_contains_is_left_out() -> None:
    given = {(0, 1): 5.0, (0, 1, 2): 4.0, (1, 2): 3.0, (2, 3): 2.0, (0, 1, 2, 3): 1.0}
    assert list(without_redundant_subsets(given)) == [(0, 1), (0, 1, 2), (2, 3), (0, 1, 2, 3)]


def test_a_table_may_be_arrays_or_tensors() -> None:
    x, y = read_regression(torch.ones(3, 2), [1, 2, 3])
    assert (x.dtype, y.dtype, x.shape, y.shape) == (np.float64, np.float64, (3, 2), (3,))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ranked({(0, 1): math.nan}), ModelError, r"features \(0, 1\) is NaN"),
        (lambda: needs("no_such_library", "no-such-library", "this test"), InputError, r"xai-fast\[compare\]"),
        (lambda: read_regression(np.ones((3, 1)), np.ones(3)), InputError, "two features or more"),
        (lambda: read_regression(np.ones((0, 2)), np.ones(0)), InputError, "x: expected"),
        (lambda: read_regression(np.ones((3, 2)), np.ones(2)), InputError, "one value a row"),
        (lambda: read_regression(np.ones((3, 2)), np.ones((3, 1))), InputError, "one value a row"),
        (lambda: read_regression(np.full((3, 2), np.nan), np.ones(3)), InputError, "x: expected finite"),
        (lambda: read_regression(np.ones((3, 2)), np.full(3, np.inf)), InputError, "y: expected finite"),
    ],
)
def test_what_does_not_fit_is_said(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

"""The lattice of many sets of one size gives the same derivatives as that of any sets."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
from taylor_networks import network, numbers
from torch import Tensor

from xai_fast import taylor
from xai_fast.taylor import lattice_of_tuples
from xai_fast.taylor.lattice import Lattice
from xai_fast.taylor.lattice_of_tuples import LatticeOfTuples, lattice_of

DIRECTIONS = 7
CASES = [
    (size, (n, m))
    for size in range(1, 7)
    for n in range(1, size + 1)
    for m in range(max(0, size - n - 1), size - n + 1)
    if size <= min(2 * n + 1, n + m + 1)
]


@cache
def prepared(name: str) -> tuple[taylor.ScoreFunction, Tensor]:
    model, x, _ = network(name, batch=1)
    return taylor.prepare(model, x), x


@pytest.mark.parametrize("name", ["transformer", "residual"])
@pytest.mark.parametrize(("size", "orders"), CASES)
def test_derivatives_are_the_same(
    name: str, size: int, orders: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    function, x = prepared(name)
    directions = numbers(DIRECTIONS, *x.shape[1:], seed=8)
    sets = list(itertools.combinations(range(DIRECTIONS), size))[:: 1 + size // 3][:7]
    expected = taylor.cross_derivatives(function, x, directions, sets, orders=orders)
    monkeypatch.setattr(lattice_of_tuples, "_WORTH_SPREADING", 1)
    got = taylor.cross_derivatives(function, x, directions, sets, orders=orders)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("size", "orders"), CASES)
def test_rows_are_the_same(size: int, orders: tuple[int, int]) -> None:
    sets = list(itertools.combinations(range(20), size))[3:43:2]
    one, other = LatticeOfTuples(sets, *orders), Lattice(sets, *orders)
    assert sorted(one.sets) == sorted(other.sets)
    assert sorted(one.adjoint_sets) == sorted(other.adjoint_sets)
    assert [one.sets[row] for _, row in one.direct] == [other.sets[row] for _, row in other.direct]


def test_few_sets_or_sets_of_several_sizes_are_built_one_by_one() -> None:
    many = list(itertools.combinations(range(9), 2))
    assert isinstance(lattice_of(many, 1, 0), LatticeOfTuples)
    assert type(lattice_of(many[:3], 1, 0)) is Lattice
    assert type(lattice_of([*many, (0, 1, 2)], 1, 1)) is Lattice

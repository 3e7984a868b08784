"""`tuple_join` on every backend here equals Python's sets, however the work is split."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_cases.tuple_join import CASES, Case, distinct_sets
from kernel_ways import WAYS, Way, beside_the_reference, on_every_way, on_native, run
from torch import Tensor
from tuple_kernels import place, result_of

from xai_fast.errors import InputError
from xai_fast.kernels.tuple_join import extensions, tuple_join

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
by_name = {case.name: case for case in CASES}


@beside_the_reference
@every_case
def test_equals_the_reference(case: Case, way: Way) -> None:
    expected = result_of(run("tuple_join", case.arguments()))
    assert result_of(run("tuple_join", case.arguments(), way)) == expected


@on_every_way
@every_case
def test_touches_nothing_around_its_tensors(case: Case, way: Way) -> None:
    placed = place(case.arguments(), before=3, after=34)
    assert result_of(run("tuple_join", placed.arguments, way)) == result_of(run("tuple_join", case.arguments()))
    assert placed.intact(("out", "count"))


@on_native
def test_does_not_depend_on_the_number_of_threads(way: Way) -> None:
    case = by_name["many features"]
    one = result_of(run("tuple_join", case.arguments(), way, threads=1))
    for threads in (2, 3, 7):
        assert result_of(run("tuple_join", case.arguments(), way, threads=threads)) == one


# --- Against what the words say ---------------------------------------------------------------------------------------

sets_of_parents = st.integers(1, 4).flatmap(
    lambda order: st.lists(
        st.sets(st.integers(0, 8), min_size=order, max_size=order).map(lambda chosen: tuple(sorted(chosen))),
        max_size=25,
        unique=True,
    ).map(lambda rows: torch.tensor(rows, dtype=torch.int32).reshape(-1, order))
)


def supersets(parents: Tensor, features: int) -> set[tuple[int, ...]]:
    """Every set one larger that has a subset among the parents, found by going through all sets."""
    order = parents.shape[1]
    rows = {tuple(row) for row in parents.tolist()}
    return {
        chosen
        for chosen in itertools.combinations(range(features), order + 1)
        if any(subset in rows for subset in itertools.combinations(chosen, order))
    }


@settings(max_examples=60, deadline=None)
@given(sets_of_parents, st.integers(9, 11), st.sampled_from([None, 1, 7]), st.sampled_from(WAYS))
def test_every_superset_comes_once(parents: Tensor, features: int, positions: int | None, way: Way) -> None:
    with way():
        found = [tuple(row) for rows in extensions(parents, features, positions=positions) for row in rows.tolist()]
    assert len(set(found)) == len(found)
    assert set(found) == supersets(parents, features)


@on_every_way
def test_candidates_come_in_the_order_of_the_parents(way: Way) -> None:
    parents = torch.tensor([[1, 3], [0, 1]])
    with way():
        (rows,) = extensions(parents, 4)
    assert rows.tolist() == [[0, 1, 3], [1, 2, 3], [0, 1, 2]]


@on_native
def test_a_hundred_thousand_features(way: Way) -> None:
    parents = torch.tensor([[0, 99_999], [5, 99_998]], dtype=torch.int32)
    with way():
        found = torch.cat([rows.clone() for rows in extensions(parents, 100_000)])
    assert found.shape == (2 * 99_998, 3)
    assert bool((found[:, 1:] > found[:, :-1]).all())


@on_native
def test_many_parents_give_what_sets_give(way: Way) -> None:
    generator = torch.Generator().manual_seed(3)
    parents = distinct_sets(3000, 2, 100, generator)
    rows = {frozenset(row) for row in parents.tolist()}
    expected = {frozenset({*row, feature}) for row in rows for feature in range(100) if feature not in row}
    with way():
        found = [frozenset(row) for rows in extensions(parents, 100, positions=7777) for row in rows.tolist()]
    assert len(found) == len(expected)
    assert set(found) == expected


# --- Arguments --------------------------------------------------------------------------------------------------------


@on_every_way
def test_no_parents(way: Way) -> None:
    with way():
        assert list(extensions(torch.empty((0, 2), dtype=torch.int32), 5)) == []


@on_every_way
@pytest.mark.parametrize(
    ("rows", "features", "bad"),
    [
        ([[0, 1], [2, 1]], 5, "row 1: [2, 1]"),
        ([[0, 1], [2, 3], [0, 1]], 5, "row 2: [0, 1]"),
        ([[0, 0]], 5, "row 0: [0, 0]"),
        ([[-1, 2]], 5, "row 0: [-1, 2]"),
        ([[0, 1]], 0, "1"),
        ([[0, 1], [4, 5]], 5, "5"),
        ([[0, 2**40]], 5, str(2**40)),
    ],
)
def test_parents_that_are_not_sets_are_refused(rows: list[list[int]], features: int, bad: str, way: Way) -> None:
    with way(), pytest.raises(InputError) as caught:
        list(extensions(torch.tensor(rows), features))
    assert str(caught.value).startswith("parents: expected ")
    assert str(caught.value).endswith(f"got {bad}")


def test_is_an_operator_that_torch_can_check() -> None:
    torch.library.opcheck(torch.ops.xai_fast.tuple_join.default, tuple(by_name["odd"].arguments().values()))


def _transposed(value: Tensor) -> Tensor:
    return value.T.contiguous().T


BAD_ARGUMENTS = [
    ("parents", Tensor.long, "parents: expected torch.int32"),
    ("parents", _transposed, "parents: expected a contiguous"),
    ("parents", lambda value: value[0], r"parents: expected shape \(K, order\)"),
    ("out", lambda value: value[:-1], r"out: expected shape \(N, 3\), N at least 63"),
    ("out", lambda value: value.float(), "out: expected torch.int32"),
    ("count", lambda value: value.int(), "count: expected torch.int64"),
    ("features", lambda _: -1, "features: expected an integer from 0"),
    ("features", lambda _: 2**31, "features: expected an integer from 0"),
    ("begin", lambda _: -1, "begin: expected an integer from 0 to 63, got -1"),
    ("begin", lambda _: 64, "begin: expected an integer from 0 to 63, got 64"),
    ("end", lambda _: 64, "end: expected an integer from 0 to 63, got 64"),
]


@pytest.mark.parametrize(("name", "change", "message"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(name: str, change: Any, message: str) -> None:
    arguments = by_name["odd"].arguments()
    with pytest.raises(InputError, match=message):
        tuple_join(**arguments | {name: change(arguments[name])})


def test_a_bad_number_of_positions_is_named() -> None:
    with pytest.raises(InputError, match="positions: expected a positive integer"):
        list(extensions(torch.tensor([[0, 1]]), 3, positions=0))


def test_numbers_below_32_bits_are_refused() -> None:
    with pytest.raises(InputError, match="features from 0 to 4"):
        list(extensions(torch.tensor([[-(2**32) + 1, 3]]), 5))

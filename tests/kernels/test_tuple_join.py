"""`tuple_join` and `tuple_top_k` on every backend here equal Python's sets, however the work is split."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import tuple_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_ways import WAYS, Way, on_every_way, on_native, run
from torch import Tensor
from tuple_kernels import ALL_CASES, OUTPUTS, find_case, result_of

import xai_fast.kernels
from xai_fast.errors import InputError
from xai_fast.kernels.tuple_join import BestTuples, extensions

every_case = pytest.mark.parametrize(("operator", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
NAN, INF = math.nan, math.inf


@on_every_way
@every_case
def test_equals_the_reference(operator: str, case: Any, way: Way) -> None:
    expected = result_of(operator, run(operator, case.arguments()))
    assert result_of(operator, run(operator, case.arguments(), way)) == expected


@on_every_way
@every_case
def test_touches_nothing_around_its_tensors(operator: str, case: Any, way: Way) -> None:
    placed = tuple_kernels.place(case.arguments(), before=3, after=34)
    got = run(operator, placed.arguments, way)
    assert result_of(operator, got) == result_of(operator, run(operator, case.arguments()))
    assert placed.intact(OUTPUTS[operator])


@on_native
@pytest.mark.parametrize(("operator", "name"), [("tuple_join", "many features"), ("tuple_top_k", "several blocks")])
def test_does_not_depend_on_the_number_of_threads(operator: str, name: str, way: Way) -> None:
    case = find_case(operator, name)
    one = result_of(operator, run(operator, case.arguments(), way, threads=1))
    for threads in (2, 3, 7):
        assert result_of(operator, run(operator, case.arguments(), way, threads=threads)) == one


# --- Against what the words say ---------------------------------------------------------------------------------------

sets_of_parents = st.integers(1, 4).flatmap(
    lambda order: st.lists(
        st.sets(st.integers(0, 8), min_size=order, max_size=order).map(lambda chosen: tuple(sorted(chosen))),
        max_size=25,
        unique=True,
    ).map(lambda rows: torch.tensor(rows, dtype=torch.int32).reshape(-1, order))
)


def supersets(parents: Tensor, features: int, min_support: int) -> set[tuple[int, ...]]:
    """Every set one larger that has enough subsets among the parents, found by going through all sets."""
    order = parents.shape[1]
    rows = {tuple(row) for row in parents.tolist()}
    return {
        chosen
        for chosen in itertools.combinations(range(features), order + 1)
        if sum(subset in rows for subset in itertools.combinations(chosen, order)) >= min_support
    }


@settings(max_examples=60, deadline=None)
@given(sets_of_parents, st.integers(9, 11), st.integers(1, 5), st.sampled_from([None, 1, 7]), st.sampled_from(WAYS))
def test_every_superset_comes_once(
    parents: Tensor, features: int, min_support: int, positions: int | None, way: Way
) -> None:
    min_support = min(min_support, parents.shape[1] + 1)
    with way():
        found = [
            tuple(row)
            for rows in extensions(parents, features, min_support=min_support, positions=positions)
            for row in rows.tolist()
        ]
    assert len(set(found)) == len(found)
    assert set(found) == supersets(parents, features, min_support)


@on_every_way
def test_candidates_come_in_the_order_of_the_parents(way: Way) -> None:
    parents = torch.tensor([[1, 3], [0, 1]])
    with way():
        (rows,) = extensions(parents, 4)
    assert rows.tolist() == [[0, 1, 3], [1, 2, 3], [0, 1, 2]]


scored = st.lists(st.sampled_from([0.0, -0.0, 1.0, 2.0, 2.5, -1.0, INF, -INF, NAN]), max_size=40)


@settings(max_examples=60, deadline=None)
@given(scored, st.integers(1, 45), st.integers(1, 50), st.sampled_from(WAYS), st.randoms())
def test_the_best_do_not_depend_on_chunks_or_their_order(
    values: list[float], k: int, chunk: int, way: Way, random: Any
) -> None:
    rows = list(itertools.combinations(range(12), 2))[: len(values)]
    order = sorted(range(len(values)), key=lambda i: (-INF if math.isnan(values[i]) else -values[i], rows[i]))[:k]
    numbers = list(range(len(values)))
    random.shuffle(numbers)
    best = BestTuples(k, 2, dtype=torch.float64)
    with way():
        for begin in range(0, len(numbers), chunk):
            taken = numbers[begin : begin + chunk]
            best.add(
                torch.tensor([values[i] for i in taken], dtype=torch.float64),
                torch.tensor([rows[i] for i in taken], dtype=torch.int32),
            )
    got_values, got_rows = best.result()
    assert [tuple(row) for row in got_rows.tolist()] == [rows[i] for i in order]
    assert [str(value) for value in got_values.tolist()] == [str(values[i]) for i in order]


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
    parents = tuple_kernels.CASES.distinct_sets(3000, 2, 100, generator)
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


@pytest.mark.parametrize("operator", ["tuple_join", "tuple_top_k"])
def test_is_an_operator_that_torch_can_check(operator: str) -> None:
    arguments = find_case(operator, "odd").arguments()
    torch.library.opcheck(getattr(torch.ops.xai_fast, operator).default, tuple(arguments.values()))


def _transposed(value: Tensor) -> Tensor:
    return value.T.contiguous().T


BAD_ARGUMENTS = [
    ("tuple_join", "parents", Tensor.long, "parents: expected torch.int32"),
    ("tuple_join", "parents", _transposed, "parents: expected a contiguous"),
    ("tuple_join", "parents", lambda value: value[0], r"parents: expected shape \(K, order\)"),
    ("tuple_join", "out", lambda value: value[:-1], r"out: expected shape \(N, 3\), N at least 63"),
    ("tuple_join", "out", lambda value: value.float(), "out: expected torch.int32"),
    ("tuple_join", "count", lambda value: value.int(), "count: expected torch.int64"),
    ("tuple_join", "features", lambda _: -1, "features: expected an integer from 0"),
    ("tuple_join", "features", lambda _: 2**31, "features: expected an integer from 0"),
    ("tuple_join", "begin", lambda _: -1, "begin: expected an integer from 0 to 63, got -1"),
    ("tuple_join", "begin", lambda _: 64, "begin: expected an integer from 0 to 63, got 64"),
    ("tuple_join", "end", lambda _: 64, "end: expected an integer from 0 to 63, got 64"),
    ("tuple_join", "min_support", lambda _: 0, "min_support: expected an integer from 1 to 3, got 0"),
    ("tuple_join", "min_support", lambda _: 4, "min_support: expected an integer from 1 to 3, got 4"),
    ("tuple_top_k", "best_values", lambda value: value[:-1], "best_values: expected shape"),
    ("tuple_top_k", "best_values", Tensor.half, "best_values: expected torch.float32 or"),
    ("tuple_top_k", "best_tuples", lambda value: value[:, 0], r"best_tuples: expected shape \(k, order\)"),
    ("tuple_top_k", "best_count", Tensor.int, "best_count: expected torch.int64"),
    ("tuple_top_k", "values", Tensor.double, "values: expected torch.float32"),
    ("tuple_top_k", "values", lambda value: value[0], "values: expected shape"),
    ("tuple_top_k", "tuples", lambda value: value[:, :2], "tuples: expected shape"),
    ("tuple_top_k", "tuples", lambda value: value.to("meta"), "tuples: expected a tensor on"),
]


@pytest.mark.parametrize(("operator", "name", "change", "message"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(operator: str, name: str, change: Any, message: str) -> None:
    arguments = find_case(operator, "odd").arguments()
    with pytest.raises((InputError, NotImplementedError), match=message):
        getattr(xai_fast.kernels, operator)(**arguments | {name: change(arguments[name])})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: list(extensions(torch.tensor([[0, 1]]), 3, positions=0)), "positions: expected a positive integer"),
        (lambda: BestTuples(0, 2), "k: expected a positive integer, got 0"),
    ],
)
def test_a_bad_argument_of_the_loop_is_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_numbers_below_32_bits_are_refused() -> None:
    with pytest.raises(InputError, match="features from 0 to 4"):
        list(extensions(torch.tensor([[-(2**32) + 1, 3]]), 5))

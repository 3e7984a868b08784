"""Sums over tuples: the indices that they name, and the subsets that they read."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from kernel_ways import WAYS, Way, on_every_way, on_native, run
from taylor_kernels import find_case

from xai_fast.errors import InputError
from xai_fast.kernels.feed_forward_rows import feed_forward_rows
from xai_fast.kernels.partition_sum import set_partitions
from xai_fast.kernels.tuple_sum import operations_of, orders_of, subsets_of, tuple_sum

ORDERS = range(2, 7)
CHECKED = [way for way in WAYS if way.backend in {"native", "reference"}]


@pytest.mark.parametrize("order", ORDERS)
def test_the_columns_are_all_small_subsets(order: int) -> None:
    n, m = orders_of(order)
    assert order <= min(2 * n + 1, n + m + 1)
    columns = subsets_of(order)
    expected = [set(chosen) for size in range(1, n + 1) for chosen in itertools.combinations(range(order), size)]
    assert sorted(map(sorted, columns)) == sorted(map(sorted, expected))
    assert [len(column) for column in columns] == sorted(len(column) for column in columns)
    for one, other in itertools.pairwise(columns):
        assert len(one) < len(other) or one[::-1] < other[::-1]


@on_every_way
@pytest.mark.parametrize("order", ORDERS)
def test_with_ones_it_counts_the_terms(order: int, way: Way) -> None:
    """All rows and derivatives one: each term of the sum is one."""
    n, m = orders_of(order)
    columns = len(subsets_of(order))
    terms = sum(
        math.comb(order, part)
        * sum(
            len(partition) > 1 and max(block.bit_count() for block in partition) <= n
            for partition in set_partitions((1 << (order - part)) - 1)
        )
        for part in range(m + 1)
    )
    ones = torch.ones(1, columns + 1, 1, dtype=torch.float64)
    arguments = {
        "out": torch.full((1, 1), torch.nan, dtype=torch.float64),
        "derivatives": torch.ones(1, order + 1, 1, dtype=torch.float64),
        "rows": ones[:, 1:].contiguous(),
        "adjoints": ones,
        "members": torch.arange(columns, dtype=torch.int32)[None],
        "order": order,
    }
    assert float(run("tuple_sum", arguments, way)["out"]) == terms


@pytest.mark.parametrize("order", ORDERS)
def test_operations_are_fewer_than_the_terms_have_factors(order: int) -> None:
    n, m = orders_of(order)
    factors = sum(
        math.comb(order, part)
        * sum(
            2 + len(partition)
            for partition in set_partitions((1 << (order - part)) - 1)
            if len(partition) > 1 and max(block.bit_count() for block in partition) <= n
        )
        for part in range(m + 1)
    )
    assert order <= operations_of(order) <= 2 * factors


@on_native
@pytest.mark.parametrize("units", [3, 20, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("order", ORDERS)
def test_a_sum_reads_its_own_rows_however_many_there_are(order: int, dtype: torch.dtype, units: int, way: Way) -> None:
    """The last units are summed in another way where there are too many rows to copy."""
    n, _ = orders_of(order)
    sets = [chosen for size in range(1, n + 1) for chosen in itertools.combinations(range(7), size)]
    tuples = list(itertools.combinations(range(7), order))
    members = [[sets.index(tuple(t[i] for i in sorted(column))) for column in subsets_of(order)] for t in tuples]
    generator = torch.Generator().manual_seed(order)

    def numbers(rows: int) -> torch.Tensor:
        return torch.randn(2, rows, units, dtype=dtype, generator=generator)

    few = {
        "out": torch.full((2, len(tuples)), torch.nan, dtype=dtype),
        "derivatives": numbers(order + 1),
        "rows": numbers(len(sets)),
        "adjoints": numbers(len(sets) + 1),
        "members": torch.tensor(members, dtype=torch.int32),
        "order": order,
    }
    others = torch.full((2, 9000, units), torch.nan, dtype=dtype)
    many = few | {name: torch.cat([few[name], others], 1) for name in ("rows", "adjoints")}
    many["out"] = few["out"].clone()
    expected = run("tuple_sum", few, way)["out"]
    assert bool(expected.isfinite().all())
    assert torch.equal(run("tuple_sum", many, way)["out"], expected)


# Of the case "quadruples": 7 directions, 28 rows, 8 adjoints, 10 columns, those of pairs from 4 on.
BAD_MEMBERS = [
    (0, -1, "members: expected an index from 0 to 6, got -1 in tuple 2, column 0"),
    (3, 7, "members: expected an index from 0 to 6, got 7 in tuple 2, column 3"),
    (4, 28, "members: expected an index from 0 to 27, got 28 in tuple 2, column 4"),
    (9, 2**31 - 1, "members: expected an index from 0 to 27, got 2147483647 in tuple 2, column 9"),
]


@pytest.mark.parametrize("way", CHECKED, ids=str)
@pytest.mark.parametrize(("column", "value", "message"), BAD_MEMBERS)
def test_an_index_out_of_range_is_named_and_nothing_written(column: int, value: int, message: str, way: Way) -> None:
    arguments = find_case("tuple_sum", "quadruples").arguments()
    arguments["members"][2, column] = value
    with pytest.raises(InputError, match=message), way():
        tuple_sum(**arguments)
    assert bool(arguments["out"].isnan().all())


# Of the case "triples": 10 directions, 45 pairs.
BAD_ROWS = [
    ("pairs", 3, 10, "pairs: expected an index from 0 to 9, got 10 at position 3"),
    ("triples", 5, -1, "triples: expected an index from 0 to 9, got -1 at position 5"),
    ("triple_pairs", 0, 9, "triple_pairs: expected an index from 10 to 54, got 9 at position 0"),
    ("triple_pairs", 7, 55, "triple_pairs: expected an index from 10 to 54, got 55 at position 7"),
]


@pytest.mark.parametrize("way", CHECKED, ids=str)
@pytest.mark.parametrize(("name", "place", "value", "message"), BAD_ROWS)
def test_a_row_out_of_range_is_named_and_nothing_written(
    name: str, place: int, value: int, message: str, way: Way
) -> None:
    arguments = find_case("feed_forward_rows", "triples").arguments()
    arguments[name].view(-1)[place] = value
    with pytest.raises(InputError, match=message), way():
        feed_forward_rows(**arguments)
    assert bool(arguments["rows"].isnan().all())


@pytest.mark.parametrize("order", [1, 7])
def test_other_orders_are_refused(order: int) -> None:
    for function in (orders_of, subsets_of):
        with pytest.raises(InputError, match="order: expected an integer from 2 to 6"):
            function(order)

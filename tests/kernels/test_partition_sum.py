"""Set partitions, programs, and mixed derivatives against nested forward differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from kernel_cases.partition_sum import forward_program
from kernel_ways import WAYS, Way, on_every_way, on_native
from taylor_kernels import find_case
from torch import Tensor
from torch.func import jvp

import xai_fast.kernels
from xai_fast.errors import InputError
from xai_fast.kernels.partition_sum import Term, partition_sum, program_of, set_partitions

BELL_NUMBERS = (1, 1, 2, 5, 15, 52, 203, 877)


@pytest.mark.parametrize(("size", "count"), list(enumerate(BELL_NUMBERS)))
def test_there_are_as_many_partitions_as_the_bell_number(size: int, count: int) -> None:
    mask = ((1 << size) - 1) << 3
    partitions = set_partitions(mask)
    assert len(set(partitions)) == len(partitions) == count
    for partition in partitions:
        assert sum(partition) == mask
        assert all(a & b == 0 for a, b in combinations(partition, 2))


def test_partitions_of_three() -> None:
    assert set_partitions(0b111) == (
        (0b111,),
        (0b001, 0b110),
        (0b011, 0b100),
        (0b101, 0b010),
        (0b001, 0b010, 0b100),
    )


def _nested(function: Callable[..., Tensor], count: int) -> Tensor:
    """Differentiate once along each of the arguments, at zero."""
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)

    def along(fixed: tuple[Tensor, ...]) -> Tensor:
        if len(fixed) == count:
            return function(*fixed)
        return jvp(lambda step: along((*fixed, step)), (zero,), (one,))[1]

    return along(())


@on_every_way
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_mixed_derivative_is_that_of_nested_differentiation(order: int, way: Way) -> None:
    full = (1 << order) - 1
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    rows = torch.randn(full, 2, 3, dtype=torch.float64, generator=generator)

    def along_path(*steps: Tensor) -> Tensor:
        z = values
        for mask in range(1, full + 1):
            z = z + rows[mask - 1] * math.prod(s for i, s in enumerate(steps) if mask >> i & 1)
        return torch.tanh(z)

    program = forward_program([full], {mask: mask - 1 for mask in range(1, full + 1)})
    out = torch.full((1, 2, 3), torch.nan, dtype=torch.float64)
    with way():
        partition_sum(out, values, rows, None, "tanh", [], *program)
    torch.testing.assert_close(out[0], _nested(along_path, order), rtol=1e-12, atol=1e-12)


BAD_PROGRAMS = [
    (lambda: program_of([[Term(7, (0,))]]), "targets: expected terms of order 0 to 6"),
    (lambda: program_of([[Term(1, (0,) * 7)]]), "at most 6 blocks"),
    (lambda: program_of([[Term(1, (-1,))]]), "not negative"),
    (lambda: program_of([[Term(1, (), -2)]]), "not negative"),
    (lambda: set_partitions(-1), "mask: expected a non-negative integer"),
]


@pytest.mark.parametrize(("build", "message"), BAD_PROGRAMS)
def test_a_bad_program_is_named(build: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()


# What is put at which place, and the message; of the case "odd", which has 8 targets, 3 rows, 2 adjoints.
BAD_INDICES = [
    ("blocks", 4, 3, r"blocks: expected an index from 0 to 2, got 3 at position 4"),
    ("blocks", 0, -1, r"blocks: expected an index from 0 to 2, got -1 at position 0"),
    ("term_order", 2, 3, r"term_order: expected an index from 0 to 2, got 3 at position 2"),
    ("term_order", 2, -1, r"term_order: expected an index from 0 to 2, got -1 at position 2"),
    ("term_adjoint", 1, 2, r"term_adjoint: expected an index from -1 to 1, got 2 at position 1"),
    ("term_adjoint", 1, -2, r"term_adjoint: expected an index from -1 to 1, got -2 at position 1"),
    ("term_offsets", 0, 1, "term_offsets: expected offsets that rise from 0 to 8"),
    ("term_offsets", 3, 9, "term_offsets: expected offsets that rise from 0 to 8"),
    ("term_offsets", -1, 2**30, "term_offsets: expected offsets that rise from 0 to 8"),
    ("block_offsets", 2, 0, "block_offsets: expected offsets that rise from 0 to 12"),
    ("block_offsets", -1, 11, "block_offsets: expected offsets that rise from 0 to 12"),
]
CHECKED = [way for way in WAYS if way.backend in {"native", "reference"}]


@pytest.mark.parametrize("way", CHECKED, ids=str)
@pytest.mark.parametrize("operator", ["partition_sum", "partition_sum_reduced"])
@pytest.mark.parametrize(("name", "place", "value", "message"), BAD_INDICES)
def test_an_index_out_of_range_is_named_and_nothing_written(
    name: str, place: int, value: int, message: str, operator: str, way: Way
) -> None:
    arguments = find_case(operator, "odd").arguments()
    arguments[name][place] = value
    before = arguments["out"].clone()
    with pytest.raises(InputError, match=message), way():
        getattr(xai_fast.kernels, operator)(**arguments)
    assert torch.equal(arguments["out"].nan_to_num(7.5), before.nan_to_num(7.5))


@pytest.mark.parametrize("way", CHECKED, ids=str)
def test_an_adjoint_that_is_not_there_is_named(way: Way) -> None:
    arguments = find_case("partition_sum", "odd").arguments() | {"adjoints": None}
    with pytest.raises(InputError, match="term_adjoint: expected an index from -1 to -1, got 0 at position 0"), way():
        partition_sum(**arguments)


@on_native
def test_more_than_six_blocks_are_named(way: Way) -> None:
    arguments = find_case("partition_sum", "no terms").arguments()
    arguments["blocks"] = torch.zeros(7, dtype=torch.int32)
    arguments["block_offsets"][-1] = 7
    with pytest.raises(InputError, match="block_offsets: expected at most 6 blocks a term, got 7"), way():
        partition_sum(**arguments)

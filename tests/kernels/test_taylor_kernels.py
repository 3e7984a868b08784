"""Every case of the kernels that work on items on every backend here, against the reference; and what holds beyond."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from all_pairs import all_pairs
from kernel_ways import WAYS, Way, beside_the_reference, on_every_way, on_native, run
from taylor_kernels import ALL_CASES, ITEMS_AT, OPERATORS, OUTPUTS, deviation, find_case, of_items
from torch import Tensor

import xai_fast.kernels
from xai_fast.errors import InputError

every_case = pytest.mark.parametrize(("operator", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
NAN, INF = math.nan, math.inf


@functools.lru_cache(1)  # ways follow each other
def reference(operator: str, case: Any) -> dict[str, Any]:
    return run(operator, case.arguments())


@beside_the_reference
@every_case
def test_equals_the_reference(operator: str, case: Any, way: Way) -> None:
    assert deviation(operator, case, run(operator, case.arguments(), way), reference(operator, case)) <= 1.0


def _in_a_wide_storage(value: Any) -> tuple[Any, Tensor | None]:
    """Copy a tensor to where NaN, True or 99 is before it and behind it, at an address that no vector aligns to."""
    if not isinstance(value, Tensor):
        return value, None
    around = torch.nan if value.is_floating_point() else value.dtype == torch.bool or 99
    storage = torch.full((value.numel() + 37,), around, dtype=value.dtype)
    return storage[3 : 3 + value.numel()].view(value.shape).copy_(value), storage


@on_every_way
@every_case
def test_touches_nothing_around_its_tensors(operator: str, case: Any, way: Way) -> None:
    placed = {name: _in_a_wide_storage(value) for name, value in case.arguments().items()}
    before = {name: None if storage is None else storage.clone() for name, (_, storage) in placed.items()}
    got = run(operator, {name: value for name, (value, _) in placed.items()}, way)
    assert deviation(operator, case, got, reference(operator, case)) <= 1.0
    for name, (value, storage) in placed.items():
        if storage is not None:
            if name in OUTPUTS[operator]:  # only its surroundings are left
                storage[3 : 3 + value.numel()] = before[name][3 : 3 + value.numel()]
            assert torch.equal(storage.nan_to_num(7.5), before[name].nan_to_num(7.5)), name


THREADED = [
    ("feed_forward_rows", "triples"),
    ("feed_forward_rows", "many rows"),
    ("feed_forward_values", "many items"),
    ("partition_sum", "several parts"),
    ("partition_sum", "many pairs"),
    ("partition_sum_reduced", "several parts"),
    ("partition_sum_reduced", "many pairs"),
    ("relevance_ratio", "several blocks"),
    ("relevance_ratio", "image"),
    ("relevance_ratio", "dense"),
    ("tuple_sum", "quadruples"),
    ("tuple_sum", "several blocks"),
    ("tuple_sum", "several tasks"),
]


@on_native
@pytest.mark.parametrize(("operator", "name"), THREADED)
def test_does_not_depend_on_the_number_of_threads(operator: str, name: str, way: Way) -> None:
    case = find_case(operator, name)
    one = run(operator, case.arguments(), way, threads=1)
    for threads in (2, 3, 7):
        several = run(operator, case.arguments(), way, threads=threads)
        for output in OUTPUTS[operator]:
            assert torch.equal(one[output], several[output]), (threads, output)


@on_native
@pytest.mark.parametrize(("operator", "name"), THREADED)
def test_an_item_does_not_depend_on_the_others(operator: str, name: str, way: Way) -> None:
    case = find_case(operator, name)
    together = run(operator, case.arguments(), way)
    for item in range(case.items):
        alone = run(operator, of_items(operator, case.arguments(), slice(item, item + 1)), way)
        expected = of_items(operator, together, slice(item, item + 1))
        for output in OUTPUTS[operator]:
            assert torch.equal(alone[output], expected[output]), (item, output)


@on_native
def test_a_row_of_relevance_does_not_depend_on_the_others(way: Way) -> None:
    case = find_case("relevance_ratio", "several blocks")
    together = run("relevance_ratio", case.arguments(), way)
    for row in range(case.rows):
        alone = case.arguments()
        alone |= {name: alone[name][row : row + 1].contiguous() for name in ("out", "sums", "c")}
        run("relevance_ratio", alone, way)
        assert all(torch.equal(alone[output][0], together[output][row]) for output in ("out", "sums"))


@on_every_way
@pytest.mark.parametrize("operator", OPERATORS)
def test_no_items_is_nothing_to_do(operator: str, way: Way) -> None:
    arguments = of_items(operator, find_case(operator, "odd").arguments(), slice(0, 0))
    assert all(run(operator, arguments, way)[output].numel() == 0 for output in OUTPUTS[operator])


@on_every_way
def test_without_units_nothing_is_added(way: Way) -> None:
    operator = "partition_sum_reduced"
    arguments = find_case(operator, "odd").arguments()
    for name in ("values", "rows", "adjoints"):
        arguments[name] = arguments[name][..., :0].contiguous()
    before = {name: arguments[name].clone() for name in OUTPUTS[operator]}
    after = run(operator, arguments, way)
    assert all(torch.equal(before[name], after[name]) for name in before)


# What is put into the second item of a tensor; the reference says where it has to show.
NOT_FINITE = [
    ("partition_sum", "odd", "values"),
    ("partition_sum", "odd", "rows"),
    ("partition_sum", "triples", "adjoints"),
    ("partition_sum", "triples", "values"),
    ("partition_sum_reduced", "odd", "rows"),
    ("partition_sum_reduced", "odd", "adjoints"),
    ("feed_forward_rows", "odd", "first"),
    ("feed_forward_rows", "triples", "derivatives"),
    ("feed_forward_values", "odd", "x"),
    ("relevance_ratio", "several blocks", "c"),
    ("relevance_ratio", "several blocks", "numerator"),
    ("relevance_ratio", "odd", "divisor"),
    ("tuple_sum", "odd", "rows"),
    ("tuple_sum", "odd", "adjoints"),
    ("tuple_sum", "triples", "derivatives"),
]


@pytest.mark.parametrize(
    ("operator", "name", "tensor", "value", "way"),
    [(*where, value, way) for where, value, way in all_pairs(NOT_FINITE, [NAN, INF, -INF], WAYS)],
    ids=str,
)
def test_what_is_not_finite_shows_in_its_item_only(
    operator: str, name: str, tensor: str, value: float, way: Way
) -> None:
    case = find_case(operator, name)

    def arguments() -> dict[str, Any]:
        built = case.arguments()
        if built[tensor] is not None:
            item = built[tensor].select(ITEMS_AT[operator][tensor], 1)
            item[(0,) * (item.ndim - 1) + (2,)] = value
        return built

    got, expected = run(operator, arguments(), way), run(operator, arguments())
    assert deviation(operator, case, got, expected) <= 1.0
    first = of_items(operator, got, slice(0, 1))
    assert all(first[output].isfinite().all() for output in OUTPUTS[operator])


@pytest.mark.parametrize("operator", OPERATORS)
def test_is_an_operator_that_torch_can_check(operator: str) -> None:
    case = find_case(operator, "odd")
    torch.library.opcheck(getattr(torch.ops.xai_fast, operator).default, tuple(case.arguments().values()))


def _transposed(value: Tensor) -> Tensor:
    return value.mT.contiguous().mT


def _fewer(value: Tensor) -> Tensor:
    return value[..., :-1].contiguous()


FLOATING = {
    "feed_forward_rows": ("rows", "adjoints", "derivatives", "first"),
    "feed_forward_values": ("derivatives", "x"),
    "partition_sum": ("out", "values", "rows", "adjoints"),
    "partition_sum_reduced": ("out", "values", "rows", "adjoints"),
    "relevance_ratio": ("out", "c", "numerator", "divisor", "bias"),
    "tuple_sum": ("out", "derivatives", "rows", "adjoints"),
}
BAD_ARGUMENTS = [
    (operator, name, change, message)
    for operator, names in FLOATING.items()
    for name in names
    for change, message in (
        (_transposed, "contiguous"),
        (Tensor.half, "torch.float16"),
        (Tensor.double, "torch.float"),
        (lambda value: value.to("meta"), "a tensor on"),
        (lambda value: value[0, 0], "shape|dimensions"),
    )
] + [
    ("partition_sum", "rows", _fewer, "rows: expected shape"),
    ("partition_sum", "blocks", Tensor.long, "blocks: expected torch.int32"),
    ("partition_sum", "term_order", _fewer, "term_adjoint: expected shape"),
    ("partition_sum", "term_offsets", lambda value: value[:0], "term_offsets: expected one more entry"),
    ("partition_sum", "activation", lambda _: "swosh", "activation: expected one of exp, .*, got 'swosh'"),
    ("partition_sum", "parameters", lambda _: [1.0], "parameters: expected 0 numbers for tanh"),
    ("partition_sum", "orders", lambda _: 7, "orders: expected an integer from 0 to 6, got 7"),
    ("relevance_ratio", "out", lambda value: value[..., :0], "out: expected 3 dimensions and at least one unit"),
    ("relevance_ratio", "sums", Tensor.float, "sums: expected torch.float64"),
    ("relevance_ratio", "sums", _fewer, "sums: expected shape"),
    ("relevance_ratio", "c", _fewer, "c: expected shape"),
    ("relevance_ratio", "bias", _fewer, "bias: expected C channels of 3 units"),
    ("relevance_ratio", "bias", lambda value: value[:1].contiguous(), "bias: expected shape"),
    ("relevance_ratio", "inner", lambda _: 0, "inner: expected an integer from 1 to 1073741824, got 0"),
    ("relevance_ratio", "eps", lambda _: -1e-9, "eps: expected a finite number that is not negative, got -1e-09"),
    ("relevance_ratio", "eps", lambda _: NAN, "eps"),
    ("relevance_ratio", "eps", lambda _: INF, "eps"),
    ("tuple_sum", "order", lambda _: 7, "order: expected an integer from 2 to 6, got 7"),
    ("tuple_sum", "order", lambda _: 4, "derivatives: expected more than 4"),
    ("tuple_sum", "members", Tensor.long, "members: expected torch.int32"),
    ("tuple_sum", "members", _fewer, "members: expected shape"),
    ("tuple_sum", "adjoints", lambda value: value[:, :0], "adjoints: expected at least one"),
    ("feed_forward_rows", "last", _fewer, "last: expected shape"),
    ("feed_forward_rows", "weights", _fewer, "weights: expected shape"),
    ("feed_forward_rows", "weights", Tensor.half, "weights: expected torch.float32, got torch.float16"),
    ("feed_forward_rows", "transposed", _fewer, "transposed: expected shape"),
    ("feed_forward_rows", "widths", lambda _: [], "widths: expected a positive number of units"),
    ("feed_forward_rows", "widths", lambda _: [63, 7, 2], "rows: expected shape"),
    ("feed_forward_rows", "adjoints", lambda value: value[:, :2].contiguous(), "adjoints: expected 1, 6 or 16 rows"),
    ("feed_forward_rows", "derivatives", lambda value: value[:, :3].contiguous(), "derivatives: expected at least 4"),
    ("feed_forward_rows", "pairs", Tensor.long, "pairs: expected torch.int32"),
    ("feed_forward_values", "transposed", _fewer, "transposed: expected shape"),
    ("feed_forward_values", "biases", Tensor.double, "biases: expected torch.float32"),
    ("feed_forward_values", "activations", lambda _: ["gelu", "tanh", "swosh"], "activation: expected one of"),
    ("feed_forward_values", "activations", lambda _: ["gelu"], "activations: expected 3 for 3 layers"),
    ("feed_forward_values", "parameters", lambda _: [1.0], "parameters: expected 9 for 3 layers"),
    ("feed_forward_values", "widths", lambda _: [63, 0, 1], "widths: expected a positive number"),
]


@pytest.mark.parametrize(("operator", "name", "change", "message"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(operator: str, name: str, change: Any, message: str) -> None:
    arguments = find_case(operator, "odd").arguments()
    with pytest.raises((InputError, NotImplementedError), match=message):
        getattr(xai_fast.kernels, operator)(**arguments | {name: change(arguments[name])})

"""Every case of every kernel on every backend here, against the reference; and what holds beyond the cases."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from kernel_comparison import ALL_CASES, CASES, KERNELS, OUTPUTS, deviation, find_case
from kernel_ways import Way, beside_the_reference, on_every_way, on_native, run
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import xai_fast.kernels
from xai_fast.errors import InputError
from xai_fast.kernels.relevance_ratio import relevance_ratio


@functools.lru_cache(1)  # ways follow each other
def reference(kernel: str, case: Any) -> dict[str, Any]:
    return run(kernel, case.arguments())


@beside_the_reference
@pytest.mark.parametrize(("kernel", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
def test_equals_the_reference(kernel: str, case: Any, way: Way) -> None:
    assert deviation(kernel, case.dtype, run(kernel, case.arguments(), way), reference(kernel, case)) <= 1.0


def _in_a_wide_storage(value: Any) -> tuple[Any, Tensor | None]:
    """Copy a tensor to where NaN, True or item 0 is before it and behind it, at an address that no vector aligns to."""
    if not isinstance(value, Tensor):
        return value, None
    around = torch.nan if value.is_floating_point() else value.dtype == torch.bool
    storage = torch.full((value.numel() + 37,), around, dtype=value.dtype)
    return storage[3 : 3 + value.numel()].view(value.shape).copy_(value), storage


@on_every_way
@pytest.mark.parametrize(("kernel", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
def test_touches_nothing_around_its_tensors(kernel: str, case: Any, way: Way) -> None:
    placed = {name: _in_a_wide_storage(value) for name, value in case.arguments().items()}
    before = {name: None if storage is None else storage.clone() for name, (_, storage) in placed.items()}
    got = run(kernel, {name: value for name, (value, _) in placed.items()}, way)
    assert deviation(kernel, case.dtype, got, reference(kernel, case)) <= 1.0
    for name, (value, storage) in placed.items():
        if storage is not None:
            changed = storage if name not in OUTPUTS[kernel] else torch.cat((storage[:3], storage[3 + value.numel() :]))
            was = (
                before[name] if name not in OUTPUTS[kernel] else changed.new_full(changed.shape, float(before[name][0]))
            )
            assert torch.equal(changed.nan_to_num(7.5), was.nan_to_num(7.5)), name


@on_native
@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        ("random_points", "several blocks"),
        ("random_points", "image"),
        ("random_points", "box several blocks"),
        ("random_points", "normal several blocks"),
        ("flux_accumulate", "several blocks"),
        ("flux_accumulate", "many rows of one item"),
    ],
)
def test_does_not_depend_on_the_number_of_threads(kernel: str, name: str, way: Way) -> None:
    case = find_case(kernel, name)
    one = run(kernel, case.arguments(), way, threads=1)
    for threads in (2, 3, 7):
        several = run(kernel, case.arguments(), way, threads=threads)
        for output in OUTPUTS[kernel]:
            assert torch.equal(one[output], several[output]), (threads, output)


@on_native
def test_a_row_does_not_depend_on_the_others(way: Way) -> None:
    case = find_case("random_points", "several blocks")
    together = run("random_points", case.arguments(), way)["points"]
    for row in range(case.rows):
        alone = case.arguments()
        alone |= {name: alone[name][row : row + 1].contiguous() for name in ("points", "item", "point", "active")}
        assert torch.equal(run("random_points", alone, way)["points"][0], together[row])


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


# --- What is not a number ---------------------------------------------------------------------------------------------

NAN, INF = math.nan, math.inf


@on_every_way
@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("name", ["gradients", "points"])
def test_what_is_not_finite_reaches_the_map(name: str, magnitude: bool, value: float, way: Way) -> None:
    arguments = find_case("flux_accumulate", "odd").arguments() | {"magnitude": magnitude}
    row = int(arguments["negative"].nonzero()[0])
    item = int(arguments["item"][row])
    arguments[name][row, 7] = value
    got = run("flux_accumulate", arguments, way)
    for output in (got["mean"], got["m2"]):
        assert not output[item, 7].isfinite()
        output[item, 7] = 0
        assert output.isfinite().all()


# --- Arguments --------------------------------------------------------------------------------------------------------


@on_every_way
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_rows_is_nothing_to_do(kernel: str, way: Way) -> None:
    arguments = CASES[kernel].CASES[1].arguments()
    by_row = {"points", "gradients", "item", "point", "active", "negative"}
    arguments |= {name: arguments[name][:0] for name in by_row & arguments.keys()}
    before = {name: _copied(value) for name, value in arguments.items()}
    run(kernel, arguments, way)
    assert all(torch.equal(before[name], value) for name, value in arguments.items() if isinstance(value, Tensor))


@pytest.mark.parametrize("kernel", KERNELS)
def test_is_an_operator_that_torch_can_check(kernel: str) -> None:
    case = next(case for case in CASES[kernel].CASES if "odd" in case.name)
    torch.library.opcheck(getattr(torch.ops.xai_fast, kernel).default, tuple(case.arguments().values()))


class _Seen(TorchDispatchMode):
    """Lists the operators that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_what_watches_sees_the_operator_and_others_take_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    c, z = torch.rand(2, 1, 6), torch.rand(1, 6)
    out = [torch.full_like(c, torch.nan) for _ in range(3)]
    arguments = (None, c, z, z, None, 1, 1e-9)
    with _Seen() as seen:
        relevance_ratio(out[0], *arguments)
    with torch.enable_grad():
        relevance_ratio(out[1], *arguments)
    assert "xai_fast::relevance_ratio" in seen.names
    monkeypatch.setattr("torch._library.custom_ops.CustomOpDef.__call__", None)
    with torch.no_grad():
        relevance_ratio(out[2], *arguments)
    assert torch.equal(out[0], out[1])
    assert torch.equal(out[0], out[2])
    with torch.no_grad(), pytest.raises(InputError):
        relevance_ratio(out[2].half(), *arguments)


def _transposed(value: Tensor) -> Tensor:
    return value.T.contiguous().T


def _fewer(value: Tensor) -> Tensor:
    return value[:-1]


BAD_ARGUMENTS = [
    (kernel, name, change, message)
    for kernel, names in {
        "random_points": ("centers", "points"),
        "flux_accumulate": ("centers", "gradients", "points", "mean", "m2"),
    }.items()
    for name in names
    for change, message in (
        (_transposed, "contiguous"),
        (Tensor.half, "torch.float16"),
        (lambda value: value.to("meta"), "a tensor on"),
    )
] + [
    ("random_points", "points", lambda value: value[0], "shape"),
    ("random_points", "item", Tensor.int, "torch.int32"),
    ("random_points", "item", _fewer, r"item: expected shape \(5,\), got \(4,\)"),
    ("random_points", "item_ids", _fewer, "item_ids: expected shape"),
    ("random_points", "point", Tensor.float, "point: expected torch.int64"),
    ("random_points", "active", Tensor.long, "active: expected torch.bool"),
    ("random_points", "radius", lambda _: 0.0, "radius: expected a positive, finite number, got 0.0"),
    ("random_points", "radius", lambda _: NAN, "radius"),
    ("random_points", "radius", lambda _: INF, "radius"),
    ("random_points", "kind", lambda _: "cube", "kind: expected one of sphere, box, normal, got 'cube'"),
    ("random_points", "seed", lambda _: -1, "seed: expected an integer from 0"),
    ("random_points", "step", lambda _: 2**32, "step: expected an integer from 0"),
    ("flux_accumulate", "count", Tensor.int, "count: expected torch.int64"),
    ("flux_accumulate", "m2", _fewer, "m2: expected shape"),
    ("flux_accumulate", "negative", Tensor.float, "negative: expected torch.bool"),
]


@pytest.mark.parametrize(("kernel", "name", "change", "message"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(kernel: str, name: str, change: Any, message: str) -> None:
    arguments = next(case for case in CASES[kernel].CASES if "odd" in case.name).arguments()
    with pytest.raises((InputError, NotImplementedError), match=message):
        getattr(xai_fast.kernels, kernel)(**arguments | {name: change(arguments[name])})


@on_native
@pytest.mark.parametrize("index", [-1, 3, 2**40])
@pytest.mark.parametrize("kernel", KERNELS)
def test_an_item_out_of_range_is_named_and_nothing_written(kernel: str, index: int, way: Way) -> None:
    case = next(case for case in CASES[kernel].CASES if "odd" in case.name)
    arguments = case.arguments()
    flags = arguments["negative" if kernel == "flux_accumulate" else "active"]
    row = int(flags.nonzero()[-1])
    arguments["item"][row] = index
    before = {name: arguments[name].clone() for name in OUTPUTS[kernel]}
    with pytest.raises(
        InputError, match=f"item: expected an index from 0 to {case.items - 1}, got {index} in row {row}"
    ):
        run(kernel, arguments, way)
    for name, value in before.items():
        assert torch.equal(arguments[name].nan_to_num(7.5), value.nan_to_num(7.5)), name

"""The operators of the kernels that work on items with their cases, and how far two runs of one are apart."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "ALL_CASES",
    "ITEMS_AT",
    "OPERATORS",
    "OUTPUTS",
    "TRITON_CASES",
    "deviation",
    "find_case",
    "kernel_of",
    "of_items",
]

KERNELS = ("feed_forward_rows", "feed_forward_values", "partition_sum", "relevance_ratio", "tuple_sum")
CASES = {kernel: importlib.import_module(f"kernel_cases.{kernel}") for kernel in KERNELS}
OUTPUTS = {
    "feed_forward_rows": ("rows", "adjoints"),
    "feed_forward_values": ("derivatives",),
    "partition_sum": ("out",),
    "partition_sum_reduced": ("out",),
    "relevance_ratio": ("out", "sums"),
    "tuple_sum": ("out",),
}
OPERATORS = tuple(OUTPUTS)


def kernel_of(operator: str) -> str:
    """Return the kernel, the package, that an operator is of."""
    return operator.removesuffix("_reduced")


def _operator(kernel: str, case: Any) -> str:
    return "partition_sum_reduced" if kernel == "partition_sum" and case.reduced else kernel


ALL_CASES = [(_operator(kernel, case), case) for kernel in KERNELS for case in CASES[kernel].CASES]
WITH_TRITON = {kernel for kernel in KERNELS if importlib.util.find_spec(f"xai_fast.kernels.{kernel}.triton")}
TRITON_CASES = [(operator, case) for operator, case in ALL_CASES if kernel_of(operator) in WITH_TRITON]


def find_case(operator: str, name: str) -> Any:
    """Return the case of an operator whose name starts so."""
    return next(case for of, case in ALL_CASES if of == operator and case.name.startswith(name))


def _worst(tolerance: float, got: Tensor, wanted: Tensor) -> float:
    if not torch.equal(got.isnan(), wanted.isnan()) or not torch.equal(got[got.isinf()], wanted[wanted.isinf()]):
        return float("inf")
    finite = wanted.isfinite() & got.isfinite()
    if not torch.equal(finite, wanted.isfinite()) or not finite.any():
        return 0.0 if torch.equal(finite, wanted.isfinite()) else float("inf")
    error, size = (got - wanted)[finite].abs(), wanted[finite].abs()
    most = float(error.max() / size.max().clamp(min=1e-300))
    return max(most, float(error.norm() / size.norm().clamp(min=1e-300))) / tolerance


def _by_kind(operator: str, name: str, value: Tensor) -> tuple[Tensor, ...]:
    """Split sums of several kinds: a large one says nothing of the error of a small one."""
    return value.double().unbind(-1) if (operator, name) == ("relevance_ratio", "sums") else (value.double(),)


def deviation(operator: str, case: Any, got: dict[str, Any], expected: dict[str, Any]) -> float:
    """Return the largest error in units of what its cases in `kernel_cases` allow: up to one is right.

    NaN and infinities have to be where they are expected, and whole numbers have to be equal.
    """
    worst = 0.0
    for name in OUTPUTS[operator]:
        if expected[name] is None:
            continue
        if not expected[name].is_floating_point():
            worst = max(worst, 0.0 if torch.equal(got[name], expected[name]) else float("inf"))
        else:
            tolerance = CASES[kernel_of(operator)].TOLERANCE[case.dtype]
            pairs = zip(_by_kind(operator, name, got[name]), _by_kind(operator, name, expected[name]), strict=True)
            worst = max(worst, *(_worst(tolerance, result, wanted) for result, wanted in pairs))
    return worst


_SUMS = {"values": 0, "rows": 1, "adjoints": 1, "out": 0}
ITEMS_AT = {
    "feed_forward_rows": {"rows": 0, "adjoints": 0, "derivatives": 0, "first": 0, "last": 0},
    "feed_forward_values": {"derivatives": 0, "x": 0},
    "partition_sum": _SUMS | {"out": 1},
    "partition_sum_reduced": _SUMS,
    "relevance_ratio": {"out": 1, "sums": 1, "c": 1, "numerator": 0, "divisor": 0},
    "tuple_sum": {"out": 0, "derivatives": 0, "rows": 0, "adjoints": 0},
}
"""The dimension of the items, of each tensor of an operator that has one."""


def of_items(operator: str, arguments: dict[str, Any], chosen: slice) -> dict[str, Any]:
    """Return the arguments for some of the items."""
    changed = dict(arguments)
    for name, value in arguments.items():
        at = ITEMS_AT[operator].get(name)
        if isinstance(value, Tensor) and at is not None:
            changed[name] = value[(slice(None),) * at + (chosen,)].contiguous()
    return changed

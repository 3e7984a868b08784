"""Every case of every kernel on a device: against its reference in float64 on the CPU, among guards."""

from __future__ import annotations

import functools
from typing import Any

import kernel_comparison
import taylor_kernels
import torch
from kernel_cases import tuple_join as join_cases
from torch import Tensor
from tuple_kernels import place, result_of

import xai_fast.kernels
from xai_fast import use_backend

__all__ = ["ALL_CASES", "COMPILED", "assert_right", "on_cpu", "run_on"]

_JOINS = [("tuple_join", case) for case in join_cases.CASES]
ALL_CASES: list[tuple[str, Any]] = [*kernel_comparison.ALL_CASES, *taylor_kernels.ALL_CASES, *_JOINS]
_OUTPUTS = kernel_comparison.OUTPUTS | taylor_kernels.OUTPUTS | {"tuple_join": ("out", "count")}
COMPILED = ("tuple_join", "tuple_sum")
"""Kernels in CUDA C++."""


def run_on(operator: str, case: Any, device: torch.device, guards: int = 0) -> dict[str, Any]:
    """Run a case on a device, each tensor ``guards`` entries behind the start of its storage and before its end.

    Returns:
        The arguments, on the CPU; an AssertionError says that a guard has changed.
    """
    placed = place(case.arguments(str(device)), guards, guards)
    getattr(xai_fast.kernels, operator)(**placed.arguments)
    assert placed.intact(_OUTPUTS[operator]), f"{operator}, {case.name}: something beside a tensor was written"
    return on_cpu(placed.arguments)


def on_cpu(arguments: dict[str, Any]) -> dict[str, Any]:
    """Copy the tensors among arguments to the CPU."""
    return {name: value.cpu() if isinstance(value, Tensor) else value for name, value in arguments.items()}


def assert_right(operator: str, case: Any, got: dict[str, Any]) -> None:
    """Compare a result with the reference in float64, which may be as far away as the reference in the case's dtype is.

    What a case allows is the distance of two results in its dtype.
    """
    exact, rounded = _expected(operator, case)
    if operator == "tuple_join":
        assert result_of(got) == result_of(exact)
    else:
        assert _error(operator, case, got, exact) <= 1 + 2 * rounded


@functools.cache
def _expected(operator: str, case: Any) -> tuple[dict[str, Any], float]:
    """Return what the reference gives in float64, and how far from it what it gives in the case's dtype is."""
    exact = _reference(operator, _wide(case.arguments()))
    if operator == "tuple_join":
        return exact, 0.0
    return exact, _error(operator, case, _reference(operator, case.arguments()), exact)


def _wide(arguments: dict[str, Any]) -> dict[str, Any]:
    return {n: v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for n, v in arguments.items()}


def _reference(operator: str, arguments: dict[str, Any]) -> dict[str, Any]:
    with use_backend("reference"):
        getattr(xai_fast.kernels, operator)(**arguments)
    return arguments


def _error(operator: str, case: Any, got: dict[str, Any], exact: dict[str, Any]) -> float:
    if operator in kernel_comparison.KERNELS:
        return kernel_comparison.deviation(operator, case.dtype, got, exact)
    return taylor_kernels.deviation(operator, case, got, exact)

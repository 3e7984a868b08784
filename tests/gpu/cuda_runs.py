"""The kernels in CUDA: how a case of one is run and compared, and bugs that the checks must notice."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from cuda_builds import SourceBug
from kernel_cases import tuple_join as join_cases
from kernel_cases import tuple_sum as sum_cases
from torch import Tensor
from tuple_kernels import place, result_of

import xai_fast.kernels
from xai_fast import use_backend

__all__ = ["ALL_CASES", "BUGS", "KERNELS", "find_case", "right", "sums_agree"]

CASES = {"tuple_join": join_cases.CASES, "tuple_sum": sum_cases.CASES}
KERNELS = tuple(CASES)
ALL_CASES = [(kernel, case) for kernel, cases in CASES.items() for case in cases]
OUTPUTS = {"tuple_join": ("out", "count"), "tuple_sum": ("out",)}


def find_case(kernel: str, name: str) -> Any:
    """Return the case of a kernel of that name."""
    return next(case for case in CASES[kernel] if case.name == name)


def _run(kernel: str, arguments: dict[str, Any], backend: str) -> dict[str, Any]:
    with use_backend(backend):
        getattr(xai_fast.kernels, kernel)(**arguments)
    return arguments


def right(kernel: str, case: Any, running: AbstractContextManager[None], before: int = 1, after: int = 34) -> bool:
    """Run a case on the CUDA backend, among guards, and say whether it is what the reference gives."""
    placed = place(case.arguments(), before, after)
    with running:
        got = _run(kernel, placed.arguments, "cuda")
    if not placed.intact(OUTPUTS[kernel]):
        return False
    expected = _run(kernel, case.arguments(), "reference")
    if kernel == "tuple_sum":
        return sums_agree(got["out"], expected["out"])
    return result_of(got) == result_of(expected)


def sums_agree(got: Tensor, expected: Tensor) -> bool:
    """Whether sums are as near as the cases ask for; NaN where it is expected."""
    if not torch.equal(got.isnan(), expected.isnan()):
        return False
    finite = ~expected.isnan()
    error, size = (got - expected)[finite].double(), expected[finite].double()
    if not size.numel():
        return True
    tolerance = sum_cases.TOLERANCE[expected.dtype]
    return bool(error.abs().max() <= tolerance * size.abs().max() and error.norm() <= tolerance * size.norm())


BUGS = (
    SourceBug(
        "tuple_join",
        "positions behind the end are marked",
        "cuda.cu",
        "if (offset < join.positions) {",
        "if (offset >= 0) {",
        "odd",
    ),
    SourceBug(
        "tuple_join",
        "a wrong row stride of the candidates",
        "cuda.cu",
        "join.out + row * (join.parents.order + 1)",
        "join.out + row * (join.parents.order + 2)",
        "odd",
    ),
    SourceBug(
        "tuple_join",
        "no barrier before the sums of the warps are read",
        "cuda.cu",
        "  if (lane == 0) sums[warp] = sum;\n  __syncthreads();",
        "  if (lane == 0) sums[warp] = sum;",
        "odd",
    ),
    SourceBug(
        "tuple_join",
        "a slot of the table is taken without a lock",
        "cuda.cu",
        "const uint64_t held = compare_and_swap(parents.table + slot, empty_slot, mine);",
        "const uint64_t held = parents.table[slot];\n    if (held == empty_slot) parents.table[slot] = mine;",
        "a full table",
    ),
    SourceBug(
        "tuple_sum",
        "tuples behind the end are written",
        "cuda.cu",
        "if (is_tuple && lane == 0)",
        "if (lane == 0)",
        "one triple, one unit",
    ),
    SourceBug(
        "tuple_sum",
        "a wrong row stride",
        "by_parts.h",
        "z + int64_t{row_of[set]} * units",
        "z + int64_t{row_of[set]} * (units + 1)",
        "quintuples",
    ),
)

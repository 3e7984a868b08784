"""The operators with CUDA kernels: how a case of one is run and compared, and bugs that the checks must notice."""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from typing import Any

import torch
import tuple_kernels
from cuda_builds import SourceBug
from torch import Tensor

import xai_fast.kernels
from xai_fast import use_backend
from xai_fast.kernels.tuple_sum import cases as sum_cases

__all__ = ["ALL_CASES", "BUGS", "KERNELS", "backend_of", "find_case", "kernel_of", "right", "sums_agree"]

KERNELS = ("tuple_join", "tuple_sum")
ALL_CASES = [*tuple_kernels.ALL_CASES, *(("tuple_sum", case) for case in sum_cases.CASES)]
OUTPUTS = tuple_kernels.OUTPUTS | {"tuple_sum": ("out",)}


def kernel_of(operator: str) -> str:
    """Return the kernel, the package, that an operator is of."""
    return {"tuple_top_k": "tuple_join"}.get(operator, operator)


def backend_of(kernel: str) -> Any:
    """Return a kernel's ``cuda.py``."""
    return importlib.import_module(f"xai_fast.kernels.{kernel}.cuda")


def find_case(operator: str, name: str) -> Any:
    """Return the case of an operator of that name."""
    return next(case for of, case in ALL_CASES if of == operator and case.name == name)


def _run(operator: str, arguments: dict[str, Any], backend: str) -> dict[str, Any]:
    with use_backend(backend):
        getattr(xai_fast.kernels, operator)(**arguments)
    return arguments


def right(operator: str, case: Any, running: AbstractContextManager[None], before: int = 1, after: int = 34) -> bool:
    """Run a case on the CUDA backend, among guards, and say whether it is what the reference gives."""
    placed = tuple_kernels.place(case.arguments(), before, after)
    with running:
        got = _run(operator, placed.arguments, "cuda")
    if not placed.intact(OUTPUTS[operator]):
        return False
    expected = _run(operator, case.arguments(), "reference")
    if operator == "tuple_sum":
        return sums_agree(got["out"], expected["out"])
    return tuple_kernels.result_of(operator, got) == tuple_kernels.result_of(operator, expected)


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
        "tuple_join",
        "odd",
    ),
    SourceBug(
        "tuple_join",
        "a wrong row stride of the candidates",
        "cuda.cu",
        "join.out + row * (join.parents.order + 1)",
        "join.out + row * (join.parents.order + 2)",
        "tuple_join",
        "odd",
    ),
    SourceBug(
        "tuple_join",
        "no barrier before the sums of the warps are read",
        "cuda.cu",
        "  if (lane == 0) sums[warp] = sum;\n  __syncthreads();",
        "  if (lane == 0) sums[warp] = sum;",
        "tuple_join",
        "odd",
    ),
    SourceBug(
        "tuple_join",
        "a slot of the table is taken without a lock",
        "cuda.cu",
        "const uint64_t held = compare_and_swap(parents.table + slot, empty_slot, mine);",
        "const uint64_t held = parents.table[slot];\n    if (held == empty_slot) parents.table[slot] = mine;",
        "tuple_join",
        "a full table",
    ),
    SourceBug(
        "tuple_join",
        "values behind the end are read",
        "top_k.cu",
        "if (candidate < top.candidates) {",
        "if (candidate >= 0) {",
        "tuple_top_k",
        "odd",
    ),
    SourceBug(
        "tuple_join",
        "a wrong run stride",
        "top_k.cu",
        "to.index[run / 2 * to.length + place]",
        "to.index[run * to.length + place]",
        "tuple_top_k",
        "several blocks",
    ),
    SourceBug(
        "tuple_join",
        "no barrier between two merges",
        "top_k.cu",
        "    indices[side ^ 1][place] = mine.index;\n    __syncthreads();",
        "    indices[side ^ 1][place] = mine.index;",
        "tuple_top_k",
        "odd",
    ),
    SourceBug(
        "tuple_sum",
        "tuples behind the end are written",
        "cuda.cu",
        "if (is_tuple && lane == 0)",
        "if (lane == 0)",
        "tuple_sum",
        "one triple, one unit",
    ),
    SourceBug(
        "tuple_sum",
        "a wrong row stride",
        "by_parts.h",
        "z + int64_t{row_of[set]} * units",
        "z + int64_t{row_of[set]} * (units + 1)",
        "tuple_sum",
        "quintuples",
    ),
)

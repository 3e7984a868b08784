"""Speed of the compiled kernels of mixed derivatives, against plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.measure import in_turn, ratio
from tests.helpers.kernel_cases import partition_sum as partition_cases
from xai_fast import backends, native
from xai_fast.kernels.partition_sum import partition_sum, partition_sum_reduced

PROGRAMS = {
    case.name: case
    for case in (
        partition_cases.Case("triples", 4, 320, lambda: partition_cases.lattice(8, 3), 92, "gelu"),
        partition_cases.Case("triples, wide", 4, 50_176, lambda: partition_cases.lattice(4, 3), 14, "silu"),
        partition_cases.Case(
            "pairs, reduced", 16, 4096, lambda: partition_cases.pairs_with_adjoint(25), 25, adjoints=2, reduced=True
        ),
    )
}


def _rounds(work: float) -> int:
    """Return how often to time something that does so many operations."""
    return max(5, min(200, int(1e9 / work)))


def _program(case: partition_cases.Case) -> tuple[dict[str, Any], dict[str, int]]:
    """Return arguments of `partition_sum`, and what it has to do (without the derivatives of the activation)."""
    arguments = case.arguments()
    entries = case.items * case.units
    factors = arguments["term_order"].numel() + arguments["blocks"].numel()  # each one multiplication or addition
    tensors = (value for value in arguments.values() if isinstance(value, Tensor))
    return arguments, {
        "flops": entries * factors,
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    }


def _on(backend: str, run: Callable[[], None]) -> Callable[[], None]:
    def forced() -> None:
        with backends.use_backend(backend):
            run()

    return forced


def _agree(got: Tensor, expected: Tensor, tolerance: float) -> bool:
    return float((got - expected).abs().max()) <= tolerance * float(expected.abs().max())


def _against_the_reference(
    benchmark: BenchmarkFixture, run: Callable[[], None], out: Tensor, tolerance: float, work: dict[str, int]
) -> None:
    """Compare the results, then the times; ``run`` writes to ``out`` or adds to it."""
    results = {}
    for backend in ("reference", "native"):
        out.zero_()
        _on(backend, run)()
        results[backend] = out.clone()
    assert _agree(results["native"], results["reference"], tolerance)
    seconds = in_turn({name: _on(name, run) for name in results}, _rounds(10 * work["flops"]))
    fastest = min(seconds["native"])
    benchmark.extra_info |= work | {
        "gigaflops": work["flops"] / fastest / 1e9,
        "gigabytes_a_second": work["bytes"] / fastest / 1e9,
        "reference_over_native": ratio(seconds, "reference", "native"),
        "isa": native.module().isa(),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
    }
    benchmark.pedantic(_on("native", run), rounds=3)
    assert ratio(seconds, "reference", "native") > 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_partition_sum_against_its_reference(benchmark: BenchmarkFixture, name: str) -> None:
    """All targets in one pass, and the same sums term by term in plain PyTorch."""
    case = PROGRAMS[name]
    arguments, work = _program(case)
    operator = partition_sum_reduced if case.reduced else partition_sum
    _against_the_reference(
        benchmark, lambda: operator(**arguments), arguments["out"], partition_cases.TOLERANCE[case.dtype], work
    )

"""Speed of the compiled kernels of mixed derivatives: against plain PyTorch, and against the BLAS of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.measure import in_turn, ratio
from xai_fast import backends, native
from xai_fast.kernels.pair_reduce import cases as pair_cases
from xai_fast.kernels.pair_reduce import native as pair_native
from xai_fast.kernels.pair_reduce import pair_reduce
from xai_fast.kernels.partition_sum import cases as partition_cases
from xai_fast.kernels.partition_sum import partition_sum, partition_sum_reduced

SHAPES = ((10, 1, 64), (25, 16, 11), (25, 16, 256), (25, 16, 4096), (196, 1, 512), (196, 1, 2000), (98, 1, 62720))
"""Rows on either side, items and units of `pair_reduce`."""

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
LARGEST_LOSS = 1.3
"""How many times slower than the other the chosen way of `pair_reduce` may be."""


def _rounds(work: float) -> int:
    """Return how often to time something that does so many operations."""
    return max(5, min(200, int(1e9 / work)))


def _pairs(shape: tuple[int, int, int]) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return arguments of `pair_reduce`, and what it has to do."""
    n, items, units = shape
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(n, items, units, generator=generator) for _ in range(2))
    weight = torch.randn(items, units, generator=generator)
    arguments = {"sums": torch.zeros(items, n, n), "left": left, "right": right, "weight": weight}
    moved = sum(tensor.numel() for tensor in arguments.values()) * 4
    return arguments, {"flops": 2 * items * n * n * units + n * items * units, "bytes": moved}


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


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_pair_reduce_against_its_reference(benchmark: BenchmarkFixture, shape: tuple[int, int, int]) -> None:
    """The kernel by either way, and the same sums in plain PyTorch."""
    arguments, work = _pairs(shape)
    _against_the_reference(
        benchmark, lambda: pair_reduce(**arguments), arguments["sums"], pair_cases.TOLERANCE[torch.float32], work
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_partition_sum_against_its_reference(benchmark: BenchmarkFixture, name: str) -> None:
    """All targets in one pass, and the same sums term by term in plain PyTorch."""
    case = PROGRAMS[name]
    arguments, work = _program(case)
    operator = partition_sum_reduced if case.reduced else partition_sum
    _against_the_reference(
        benchmark, lambda: operator(**arguments), arguments["out"], partition_cases.TOLERANCE[case.dtype], work
    )


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_pair_reduce_chooses_its_way_well(benchmark: BenchmarkFixture, shape: tuple[int, int, int]) -> None:
    """The compiled kernel and BLAS: the one that is chosen is never much slower than the other."""
    arguments, work = _pairs(shape)
    n, _, units = shape
    ways = {"gemm": pair_native.by_gemm, "compiled": pair_native.run_compiled}
    chosen, other = ("gemm", "compiled") if pair_native.gemm_is_faster(n, n, units) else ("compiled", "gemm")
    results = {}
    for way, run in ways.items():
        arguments["sums"].zero_()
        run(**arguments)
        results[way] = arguments["sums"].clone()
    assert _agree(results["compiled"], results["gemm"], 10 * pair_cases.TOLERANCE[torch.float32])
    runs = {way: lambda run=run: run(**arguments) for way, run in ways.items()}
    seconds = in_turn(runs, _rounds(work["flops"]), warm_up=2)
    benchmark.extra_info |= work | {
        "chosen": chosen,
        "chosen_over_other": ratio(seconds, chosen, other),
        "gigaflops": {way: work["flops"] / min(times) / 1e9 for way, times in seconds.items()},
        "gigabytes_a_second": {way: work["bytes"] / min(times) / 1e9 for way, times in seconds.items()},
        "isa": native.module().isa(),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
    }
    benchmark.pedantic(runs[chosen], rounds=3)
    assert ratio(seconds, chosen, other) <= LARGEST_LOSS

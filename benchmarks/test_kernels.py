"""Speed of the compiled kernels: against plain PyTorch, and against a copy of as many bytes with as many threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from benchmarks.measure import in_turn, ratio
from tests.helpers.kernel_cases.relevance_ratio import TOLERANCE, Case
from xai_fast import backends, native
from xai_fast.kernels import flux_accumulate, random_points, relevance_ratio

ITEMS, ENTRIES = 64, 3 * 224 * 224
ROUNDS = 15


def _arguments() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (ITEMS, ENTRIES)
    return {
        "points": torch.randn(shape, generator=generator),
        "centers": torch.randn(shape, generator=generator),
        "gradients": torch.randn(shape, generator=generator),
        "item": torch.arange(ITEMS),
        "every": torch.ones(ITEMS, dtype=torch.bool),
    }


def _random_points(kind: str) -> Callable[[], None]:
    a = _arguments()
    point = torch.zeros(ITEMS, dtype=torch.int64)
    return lambda: random_points(a["points"], a["centers"], a["item"], a["item"], point, a["every"], 0.1, kind, 0)


def _flux_accumulate() -> Callable[[], None]:
    a = _arguments()
    mean, m2 = torch.zeros_like(a["centers"]), torch.zeros_like(a["centers"])
    count = torch.zeros(ITEMS, dtype=torch.int64)
    return lambda: flux_accumulate(
        mean, m2, count, a["centers"], a["points"], a["gradients"], a["item"], a["every"], False
    )


# Arrays of the size of the batch that memory must see at least once, read or written; the largest ratio to the copy.
KERNELS: dict[str, tuple[Callable[[], Callable[[], None]], int, float]] = {
    "random_points sphere": (lambda: _random_points("sphere"), 2, 2.5),
    "random_points box": (lambda: _random_points("box"), 2, 2.5),
    "random_points normal": (lambda: _random_points("normal"), 2, 2.5),
    "flux_accumulate": (_flux_accumulate, 7, 1.5),
}


@pytest.mark.parametrize("name", KERNELS)
def test_native_kernel_against_a_copy(benchmark: BenchmarkFixture, name: str) -> None:
    """At most so many times the time of a copy of the same bytes, at 64 x 3 x 224 x 224 in float32."""
    make, arrays, limit = KERNELS[name]
    run = make()
    moved = arrays * ITEMS * ENTRIES * 4
    source = torch.zeros(moved // 8)
    target = torch.empty_like(source)
    with backends.use_backend("native"):
        seconds = in_turn({"kernel": run, "copy": lambda: target.copy_(source)}, ROUNDS, warm_up=3)
        benchmark.pedantic(run, rounds=3)
    factor = ratio(seconds, "kernel", "copy")
    benchmark.extra_info |= {
        "label": f"`{name}` / a copy of the same bytes, 64 x 3 x 224 x 224",
        "bytes": moved,
        "gigabytes_a_second": moved / min(seconds["kernel"]) / 1e9,
        "copy_gigabytes_a_second": moved / min(seconds["copy"]) / 1e9,
        "copy_ratio": factor,
        "isa": native.module().isa(),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
    }
    if native.module().isa() == "avx512" or not name.startswith("random_points"):
        assert factor <= limit


@pytest.mark.parametrize("name", KERNELS)
def test_native_kernel_against_its_reference(benchmark: BenchmarkFixture, name: str) -> None:
    """The compiled kernel and the same contract in plain PyTorch."""
    run = KERNELS[name][0]()

    def reference() -> None:
        with backends.use_backend("reference"):
            run()

    def compiled() -> None:
        with backends.use_backend("native"):
            run()

    seconds = in_turn({"reference": reference, "native": compiled}, 3)
    benchmark.extra_info |= {"seconds": seconds, "reference_over_native": ratio(seconds, "reference", "native")}
    benchmark.pedantic(compiled, rounds=3)
    assert ratio(seconds, "reference", "native") > 1


def _plain_ratio(a: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return relevance and sums as they would be written without a kernel, in the dtype of the arguments."""
    c, z, d, eps = a["c"], a["numerator"], a["divisor"], a["eps"]
    stabiliser = torch.where(d < 0, -eps, eps)
    out = c * (z / (d + stabiliser))
    by_channel = z.unflatten(1, (-1, a["bias"].shape[1], a["inner"]))
    bias = torch.where(by_channel > 0, a["bias"][0, :, None], a["bias"][1, :, None]).flatten(1)
    beyond = d.abs() > eps
    weights = (bias, torch.where(beyond, stabiliser, 0), torch.where(beyond, 0, stabiliser))
    sums = [torch.einsum("tbm,bm->tb", c, z), *(torch.einsum("tbm,bm->tb", out, weight) for weight in weights)]
    return out, torch.stack(sums, dim=-1)


@pytest.mark.parametrize(("rows", "items"), [(1, 8), (10, 1)])
def test_relevance_ratio_against_plain_pytorch(benchmark: BenchmarkFixture, rows: int, items: int) -> None:
    """The kernel and the operators of PyTorch whose place it takes, 64 channels of 56 x 56 in float32."""
    arguments = Case("VGG", rows, items, 64 * 56 * 56, inner=56 * 56).arguments()

    def compiled() -> None:
        with backends.use_backend("native"):
            relevance_ratio(**arguments)

    compiled()
    for got, expected in zip((arguments["out"], arguments["sums"]), _plain_ratio(arguments), strict=True):
        assert (got - expected).abs().max() <= 10 * TOLERANCE[torch.float32] * expected.abs().max()
    seconds = in_turn({"plain": lambda: _plain_ratio(arguments), "native": compiled}, ROUNDS, warm_up=3)
    benchmark.extra_info |= {
        "plain_over_native": ratio(seconds, "plain", "native"),
        "isa": native.module().isa(),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
    }
    benchmark.pedantic(compiled, rounds=3)
    assert ratio(seconds, "plain", "native") >= 2

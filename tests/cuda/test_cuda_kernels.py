"""The kernels on a CUDA device equal their references in float64, wait for nothing, and run on the current stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from kernel_checks import ALL_CASES, assert_right, on_cpu, run_on
from streams import on_another_stream, synchronize
from torch import Tensor

import xai_fast.kernels
from benchmarks.gpu.watch import Watch
from xai_fast import backends

pytestmark = pytest.mark.cuda
every_case = pytest.mark.parametrize(("operator", "case"), ALL_CASES, ids=lambda value: getattr(value, "name", value))
OPERATORS = tuple(dict.fromkeys(operator for operator, _ in ALL_CASES))
# The references on a GPU check the indices that they read, and wait for them.
WRITTEN = [(of, case) for of, case in ALL_CASES if of not in ("feed_forward_rows", "feed_forward_values")]


@pytest.mark.parametrize("operator", OPERATORS)
def test_runs_on_the_backend_that_is_written_for_the_device(operator: str, device: torch.device) -> None:
    kernel = operator.removesuffix("_reduced")
    written = [name for name, reason in backends.why(kernel).items() if reason != "not written for this kernel"]
    wanted = ("cuda", "triton") if device.type == "cuda" else ("native",)
    expected = next((name for name in written if name in wanted), "reference")
    chosen = backends.select(kernel, (torch.empty(1, device=device),)).__name__.rpartition(".")[2]
    assert chosen == expected, backends.why(kernel, (torch.empty(1, device=device),))


@every_case
def test_equals_the_reference_in_float64(operator: str, case: Any, device: torch.device) -> None:
    for guards in (0, 3):
        assert_right(operator, case, run_on(operator, case, device, guards))


@pytest.mark.parametrize(("operator", "case"), WRITTEN, ids=lambda value: getattr(value, "name", value))
def test_waits_for_nothing(operator: str, case: Any, device: torch.device) -> None:
    run_on(operator, case, device)  # compiles
    arguments = case.arguments(str(device))
    with Watch(device).forbidden():
        getattr(xai_fast.kernels, operator)(**arguments)


@every_case
def test_runs_on_the_current_stream(operator: str, case: Any, device: torch.device) -> None:
    run_on(operator, case, device)  # compiles
    arguments = case.arguments(str(device))
    late = {n: torch.zeros_like(v) if isinstance(v, Tensor) else v for n, v in arguments.items()}
    synchronize(device)
    with on_another_stream(device):
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                late[name].copy_(value)
        getattr(xai_fast.kernels, operator)(**late)
    synchronize(device)
    assert_right(operator, case, on_cpu(late))


class Zeros:
    """A backend that writes nothing but zeros."""

    @staticmethod
    def run(*arguments: Any) -> None:
        for value in arguments:
            if isinstance(value, Tensor):
                value.zero_()

    run_reduced = run


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_kernel_that_returns_zeros_is_noticed(
    operator: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for of, case in ALL_CASES if of == operator and "odd" in case.name)
    arguments = case.arguments(str(device))
    with monkeypatch.context() as planted:
        planted.setattr(backends, "select", lambda kernel, tensors: Zeros)
        getattr(xai_fast.kernels, operator)(**arguments)
    with pytest.raises(AssertionError):
        assert_right(operator, case, on_cpu(arguments))

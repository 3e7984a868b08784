"""Which backend runs, what happens when one is forced, and what the user is told."""

from __future__ import annotations

import importlib
import logging
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from kernel_cases.random_points import CASES

from xai_fast import backends, use_backend
from xai_fast.errors import BackendUnavailable, InputError
from xai_fast.kernels import random_points

TENSORS = (torch.empty(1),)
ON_CUDA = ("tuple_join", "tuple_sum")
"""The kernels whose GPU version is CUDA C++."""


@pytest.fixture(autouse=True)
def _automatic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("XAI_FAST_BACKEND", raising=False)
    monkeypatch.setattr("xai_fast.terminal._said", weakref.WeakKeyDictionary())
    with use_backend(None):
        yield


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f"xai_fast.kernels.random_points.{backend}")


def _break(monkeypatch: pytest.MonkeyPatch, backend: str, reason: str | None) -> None:
    monkeypatch.setitem(backends.WHY_NOT, backend, lambda tensors: reason)


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def test_every_kernel_lists_every_backend() -> None:
    assert backends.kernel_names() == (
        "feed_forward_rows",
        "feed_forward_values",
        "flux_accumulate",
        "partition_sum",
        "random_points",
        "relevance_ratio",
        "tuple_join",
        "tuple_sum",
    )
    for kernel in backends.kernel_names():
        reasons = backends.why(kernel, TENSORS)
        assert tuple(reasons) == backends.BACKENDS
        assert reasons["reference"] is None
        assert (reasons["cuda"] == "not written for this kernel") == (kernel not in ON_CUDA)
        assert reasons["cuda"] is not None


def test_reasons_need_no_tensors() -> None:
    assert backends.why("flux_accumulate")["reference"] is None


# what native and Triton say; what runs; what is logged
CHOICES = [
    (None, "no GPU", "native", None),
    (None, None, "triton", None),
    ("not built", "no GPU", "reference", "random_points runs on the reference backend: native: not built"),
]


@pytest.mark.parametrize(("native", "triton", "chosen", "message"), CHOICES)
def test_automatic_choice_falls_back_and_says_so_once(
    native: str | None,
    triton: str | None,
    chosen: str,
    message: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if chosen == "triton":
        pytest.importorskip("triton")
    _break(monkeypatch, "native", native)
    _break(monkeypatch, "triton", triton)
    with caplog.at_level(logging.WARNING, logger="xai_fast"):
        for _ in range(3):
            assert _name(backends.select("random_points", TENSORS)) == chosen
    assert caplog.messages == ([] if message is None else [message])


def test_a_forced_backend_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("reference"):
        assert backends.forced_backend() == "reference"
        assert _name(backends.select("random_points", TENSORS)) == "reference"
        with use_backend(None):
            assert backends.forced_backend() is None
        assert backends.forced_backend() == "reference"
    assert backends.forced_backend() is None
    monkeypatch.setenv("XAI_FAST_BACKEND", "reference")
    assert _name(backends.select("random_points", TENSORS)) == "reference"


def test_use_backend_also_works_without_a_context() -> None:
    use_backend("reference")
    assert backends.forced_backend() == "reference"
    use_backend(None)
    assert backends.forced_backend() is None


def test_a_forced_backend_that_cannot_run_gives_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, "native", "not built")
    _break(monkeypatch, "triton", "no GPU")
    with use_backend("native"), pytest.raises(BackendUnavailable) as caught:
        random_points(**CASES[0].arguments())
    for part in ("random_points", "'native' was forced", "cuda: not written", "triton: no GPU", "native: not built"):
        assert part in str(caught.value)
    with use_backend("cuda"), pytest.raises(BackendUnavailable, match="'cuda' was forced"):
        random_points(**CASES[0].arguments())


def test_an_error_inside_a_kernel_is_not_a_reason_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("inside")

    _break(monkeypatch, "native", None)
    _break(monkeypatch, "triton", "no GPU")
    monkeypatch.setattr(_module("native"), "run", broken)
    with pytest.raises(RuntimeError, match="inside"):
        random_points(**CASES[0].arguments())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: use_backend("opencl"), "name: expected one of cuda, triton, native, reference, got 'opencl'"),
        (lambda: backends.why("sphere"), "kernel: expected one of feed_forward_rows, feed_forward_values"),
    ],
)
def test_an_unknown_name_is_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
    assert backends.forced_backend() is None


def test_an_unknown_name_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_FAST_BACKEND", "opencl")
    with pytest.raises(InputError, match="XAI_FAST_BACKEND: expected one of"):
        random_points(**CASES[0].arguments())


def test_native_kernels_are_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "native_missing", lambda: None)
    reason = backends.native_why_not((torch.empty(1, device="meta"),))
    assert reason == "the tensors are on meta, the native kernels run on cpu"


class _Module:
    """What the compiled module says of CUDA."""

    def __init__(self, compiled: bool, error: str) -> None:
        self.devices = {"compiled": compiled, "error": error}

    def cuda_devices(self) -> dict[str, Any]:
        return self.devices

    def build_info(self) -> dict[str, str]:
        return {"cuda": "left out: no nvcc"}


@pytest.mark.parametrize(
    ("module", "device", "reason"),
    [
        (_Module(False, "built without CUDA"), "cpu", "the native module has no CUDA part (left out: no nvcc); reinst"),
        (_Module(True, "driver too old"), "cpu", "no CUDA device: driver too old"),
        (_Module(True, ""), "cpu", "the tensors are on cpu, the CUDA kernels run on cuda"),
        (_Module(True, ""), None, None),
    ],
)
def test_why_a_cuda_kernel_cannot_run(
    module: _Module, device: str | None, reason: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "native_missing", lambda: None)
    monkeypatch.setattr(importlib, "import_module", lambda name: module)
    backends._cuda_missing.cache_clear()
    try:
        told = backends.cuda_why_not(() if device is None else (torch.empty(1, device=device),))
    finally:
        backends._cuda_missing.cache_clear()
    assert told == reason or (reason is not None and told is not None and told.startswith(reason))

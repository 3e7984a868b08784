"""Which backend runs, what happens when one is forced, and what the user is told."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from xai_fast import backends, use_backend
from xai_fast.errors import BackendUnavailable, InputError
from xai_fast.kernels import sphere_points
from xai_fast.kernels.sphere_points.cases import CASES

TENSORS = (torch.empty(1),)


@pytest.fixture(autouse=True)
def _automatic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("XAI_FAST_BACKEND", raising=False)
    backends._say_once.cache_clear()
    with use_backend(None):
        yield
    backends._say_once.cache_clear()


def _module(backend: str) -> ModuleType:
    return importlib.import_module(f"xai_fast.kernels.sphere_points.{backend}")


def _break(monkeypatch: pytest.MonkeyPatch, backend: str, reason: str | None) -> None:
    monkeypatch.setattr(_module(backend), "why_not", lambda tensors: reason)


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def test_every_kernel_lists_every_backend() -> None:
    assert backends.kernel_names() == (
        "flux_accumulate",
        "pair_reduce",
        "pair_saliency",
        "partition_sum",
        "sphere_points",
        "sphere_step",
    )
    for kernel in backends.kernel_names():
        reasons = backends.why(kernel, TENSORS)
        assert tuple(reasons) == backends.BACKENDS
        assert reasons["reference"] is None
        assert reasons["cuda"] == "not written for this kernel"


def test_reasons_need_no_tensors() -> None:
    assert backends.why("sphere_step")["reference"] is None


# what native and Triton say; what runs; what is logged
CHOICES = [
    (None, "no GPU", "native", None),
    (None, None, "triton", None),
    ("not built", "no GPU", "reference", "sphere_points runs on the reference backend: native: not built"),
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
    _break(monkeypatch, "native", native)
    _break(monkeypatch, "triton", triton)
    with caplog.at_level(logging.WARNING, logger="xai_fast"):
        for _ in range(3):
            assert _name(backends.select("sphere_points", TENSORS)) == chosen
    assert caplog.messages == ([] if message is None else [message])


def test_a_forced_backend_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("reference"):
        assert backends.forced_backend() == "reference"
        assert _name(backends.select("sphere_points", TENSORS)) == "reference"
        with use_backend(None):
            assert backends.forced_backend() is None
        assert backends.forced_backend() == "reference"
    assert backends.forced_backend() is None
    monkeypatch.setenv("XAI_FAST_BACKEND", "reference")
    assert _name(backends.select("sphere_points", TENSORS)) == "reference"


def test_use_backend_also_works_without_a_context() -> None:
    use_backend("reference")
    assert backends.forced_backend() == "reference"
    use_backend(None)
    assert backends.forced_backend() is None


def test_a_forced_backend_that_cannot_run_gives_every_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch, "native", "not built")
    _break(monkeypatch, "triton", "no GPU")
    with use_backend("native"), pytest.raises(BackendUnavailable) as caught:
        sphere_points(**CASES[0].arguments())
    for part in ("sphere_points", "'native' was forced", "cuda: not written", "triton: no GPU", "native: not built"):
        assert part in str(caught.value)
    with use_backend("cuda"), pytest.raises(BackendUnavailable, match="'cuda' was forced"):
        sphere_points(**CASES[0].arguments())


def test_an_error_inside_a_kernel_is_not_a_reason_to_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("inside")

    _break(monkeypatch, "native", None)
    _break(monkeypatch, "triton", "no GPU")
    monkeypatch.setattr(_module("native"), "run", broken)
    with pytest.raises(RuntimeError, match="inside"):
        sphere_points(**CASES[0].arguments())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: use_backend("opencl"), "name: expected one of cuda, triton, native, reference, got 'opencl'"),
        (lambda: backends.why("sphere"), "kernel: expected one of flux_accumulate, pair_reduce"),
    ],
)
def test_an_unknown_name_is_named(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
    assert backends.forced_backend() is None


def test_an_unknown_name_in_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XAI_FAST_BACKEND", "opencl")
    with pytest.raises(InputError, match="XAI_FAST_BACKEND: expected one of"):
        sphere_points(**CASES[0].arguments())


def test_native_kernels_are_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "native_missing", lambda: None)
    reason = backends.native_why_not((torch.empty(1, device="meta"),))
    assert reason == "the tensors are on meta, the native kernels run on cpu"

"""Which backend may run a kernel, which one does, and why not the others.

A kernel is a package ``xai_fast/kernels/<kernel>`` with one module per backend, whose ``run`` takes the arguments of
the kernel's contract. Whether a backend can run on some tensors does not depend on the kernel: `why` lists the reasons
against it, `select` chooses by them, and ``xai-fast doctor --all`` prints them.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType

from torch import Tensor

from xai_fast.errors import BackendUnavailable, bad_argument
from xai_fast.terminal import tell

__all__ = ["BACKENDS", "WHY_NOT", "forced_backend", "kernel_names", "select", "use_backend", "why"]

BACKENDS = ("cuda", "triton", "native", "reference")
"""All backends, the preferred one first."""

_ENVIRONMENT_VARIABLE = "XAI_FAST_BACKEND"
_forced: str | None = None


@functools.cache
def kernel_names() -> tuple[str, ...]:
    """Return the names of all kernels."""
    path = importlib.import_module("xai_fast.kernels").__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(path) if module.ispkg))


class use_backend:
    """Force one backend for all kernels, in the whole process.

    Takes effect at once; as a context manager it also restores the choice from before. A forced backend runs or
    raises `BackendUnavailable`; it never falls back. The environment variable ``XAI_FAST_BACKEND`` does the same.

    Args:
        name: one of `BACKENDS`, or None for automatic choice.

    Raises:
        InputError: there is no backend of that name.
    """

    def __init__(self, name: str | None) -> None:
        global _forced
        self._before = _forced
        _forced = _checked(name, "name")

    def __enter__(self) -> use_backend:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _forced
        _forced = self._before


def _checked(name: str | None, argument: str) -> str | None:
    if name is not None and name not in BACKENDS:
        raise bad_argument(argument, f"one of {', '.join(BACKENDS)}", repr(name))
    return name


def forced_backend() -> str | None:
    """Return the backend that `use_backend` or the environment forces, or None."""
    return _forced or _checked(os.environ.get(_ENVIRONMENT_VARIABLE) or None, _ENVIRONMENT_VARIABLE)


@functools.cache
def _exists(kernel: str, backend: str) -> bool:
    return importlib.util.find_spec(f"xai_fast.kernels.{kernel}.{backend}") is not None


@functools.cache
def _module(kernel: str, backend: str) -> ModuleType:
    return importlib.import_module(f"xai_fast.kernels.{kernel}.{backend}")


@functools.cache
def triton_missing() -> str | None:
    """Return why Triton cannot be imported, or None. Asked once: an import that failed does not mend itself."""
    try:
        importlib.import_module("triton")
    except ImportError as error:
        return f"Triton cannot be imported ({error}); pip install triton"
    return None


@functools.cache
def native_missing() -> str | None:
    """Return why the compiled module cannot be imported, or None. Asked once."""
    try:
        importlib.import_module("xai_fast._native")
    except ImportError as error:
        return f"the native module is not there ({error}); reinstall with a C++ compiler and XAI_FAST_NATIVE=required"
    return None


def triton_why_not(tensors: Sequence[Tensor]) -> str | None:
    """Return why Triton cannot run on these tensors, or None."""
    missing = triton_missing()
    if missing or not tensors:
        return missing
    device = tensors[0].device
    if device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
        return None
    # A driver for another device (or an emulator that takes CPU tensors) may be active; no driver at all raises.
    driver = importlib.import_module("triton.runtime.driver").driver
    try:
        active = driver.active.get_active_torch_device().type
    except RuntimeError as error:
        return f"Triton has no driver for {device} tensors ({error})"
    return None if active == device.type else f"the tensors are on {device}, Triton runs on {active}"


def native_why_not(tensors: Sequence[Tensor]) -> str | None:
    """Return why the compiled CPU kernels cannot run on these tensors, or None."""
    missing = native_missing()
    if missing or not tensors:
        return missing
    device = tensors[0].device
    return None if device.type == "cpu" else f"the tensors are on {device}, the native kernels run on cpu"


@functools.cache
def _cuda_missing() -> str | None:
    """Return why the compiled module cannot run anything on a GPU, or None. Asked once."""
    missing = native_missing()
    if missing:
        return missing
    module = importlib.import_module("xai_fast._native")
    devices = module.cuda_devices()
    if not devices["compiled"]:
        return f"the native module has no CUDA part ({module.build_info()['cuda']}); reinstall with nvcc on the PATH"
    return f"no CUDA device: {devices['error']}" if devices["error"] else None


def cuda_why_not(tensors: Sequence[Tensor]) -> str | None:
    """Return why the compiled CUDA kernels cannot run on these tensors, or None."""
    missing = _cuda_missing()
    if missing or not tensors:
        return missing
    device = tensors[0].device
    return None if device.type == "cuda" else f"the tensors are on {device}, the CUDA kernels run on cuda"


WHY_NOT: dict[str, Callable[[Sequence[Tensor]], str | None]] = {
    "cuda": cuda_why_not,
    "triton": triton_why_not,
    "native": native_why_not,
    "reference": lambda tensors: None,
}
"""Backend to a function that says why it cannot run on these tensors, or None."""


def why(kernel: str, tensors: Sequence[Tensor] = ()) -> dict[str, str | None]:
    """List each backend of a kernel with None, or the reason that it cannot run.

    Args:
        kernel: the name of a kernel, one of `kernel_names`.
        tensors: the tensors that it would run on; without them only the installation is asked.

    Returns:
        Backend name to reason, in the order of preference.

    Raises:
        InputError: there is no kernel of that name.
    """
    if kernel not in kernel_names():
        raise bad_argument("kernel", f"one of {', '.join(kernel_names())}", repr(kernel))
    return {
        backend: WHY_NOT[backend](tensors) if _exists(kernel, backend) else "not written for this kernel"
        for backend in BACKENDS
    }


def select(kernel: str, tensors: Sequence[Tensor]) -> ModuleType:
    """Choose the backend module that runs a kernel on these tensors.

    Args:
        kernel: the name of a kernel.
        tensors: the tensors that it runs on, all on one device.

    Returns:
        The module whose ``run`` is to be called.

    Raises:
        BackendUnavailable: the forced backend cannot run; the message has every backend's reason.
    """
    forced = forced_backend()
    if forced is not None:
        if _exists(kernel, forced) and WHY_NOT[forced](tensors) is None:
            return _module(kernel, forced)
        reasons = "; ".join(f"{name}: {reason or 'can run'}" for name, reason in why(kernel, tensors).items())
        raise BackendUnavailable(f"{kernel}: the backend {forced!r} was forced and cannot run here. {reasons}")
    expected = ("cuda", "triton") if tensors[0].device.type == "cuda" else ("native",)
    missed: list[str] = []
    for backend in BACKENDS:
        if not _exists(kernel, backend):
            continue
        reason = WHY_NOT[backend](tensors)
        if reason is None:
            if missed:
                tell(f"{kernel} runs on the {backend} backend: {'; '.join(missed)}")
            return _module(kernel, backend)
        if backend in expected:
            missed.append(f"{backend}: {reason}")
    raise BackendUnavailable(f"{kernel}: no backend can run. {why(kernel, tensors)}")

"""The ways to run a kernel here: each backend, and of the native one each instruction set."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch

import xai_fast.kernels
from xai_fast import backends, native, use_backend

__all__ = ["NATIVE", "REFERENCE", "WAYS", "Way", "beside_the_reference", "on_every_way", "on_native", "run"]


class Way(NamedTuple):
    """A backend that runs here; of the native one, each instruction set."""

    backend: str
    isa: str | None = None

    def __str__(self) -> str:
        return self.isa or self.backend

    @contextlib.contextmanager
    def __call__(self, threads: int = 2) -> Iterator[None]:
        """Run kernels this way."""
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        best = native.module().isa() if self.isa else None
        if self.isa:
            native.module().use_isa(self.isa)
        try:
            with use_backend(self.backend):
                yield
        finally:
            torch.set_num_threads(before)
            if best:
                native.module().use_isa(best)


def _ways() -> list[Way]:
    found = []
    for backend, reason in backends.why("random_points", (torch.empty(1),)).items():
        if backend == "native" and reason is None:
            found += [Way(backend, isa) for isa in native.module().available_isas()]
        elif reason is None:
            found.append(Way(backend))
    return found


REFERENCE = Way("reference")
WAYS = _ways()
NATIVE = [way for way in WAYS if way.isa]
on_every_way = pytest.mark.parametrize("way", WAYS, ids=str)
beside_the_reference = pytest.mark.parametrize("way", [way for way in WAYS if way != REFERENCE], ids=str)
on_native = pytest.mark.parametrize("way", NATIVE, ids=str)


def run(kernel: str, arguments: dict[str, Any], way: Way = REFERENCE, threads: int = 2) -> dict[str, Any]:
    """Run a kernel in place and return its arguments."""
    with way(threads):
        getattr(xai_fast.kernels, kernel)(**arguments)
    return arguments

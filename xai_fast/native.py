"""What the ``native.py`` of all kernels share: the compiled module, and how tensors are handed to it.

The compiled module takes addresses and sizes and knows nothing of torch. Devices, dtypes, shapes and contiguity are
checked by the kernels' contracts before; the indices of items, for which every row has to be read, by the module.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from xai_fast.errors import InputError

__all__ = [
    "address",
    "call",
    "device_of",
    "dtype_name",
    "module",
    "stream",
    "threads",
    "workspace",
]


@functools.cache
def module() -> ModuleType:
    """Import the compiled module; `torch` has been imported before, so that both use the OpenMP threads of torch."""
    return importlib.import_module("xai_fast._native")


def address(tensor: Tensor | None) -> int:
    """Return the address of a tensor's first element, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


@functools.cache
def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def dtype_name(tensor: Tensor) -> str:
    """Return the dtype's name as the compiled module knows it, for example ``float32``."""
    return _name(tensor.dtype)


def threads() -> int:
    """Return how many threads a kernel may use: as many as torch's own operators."""
    return torch.get_num_threads()


def call(kernel: str, arguments: Mapping[str, Any], **more: object) -> None:
    """Run a compiled CPU kernel.

    Args:
        kernel: its name in the module.
        arguments: those of its contract; a tensor is handed over as its address, None as 0.
        **more: sizes and dtypes that it takes besides.

    Raises:
        InputError: an item's index is out of range; then nothing was written.
    """
    given = {n: address(v) if v is None or isinstance(v, Tensor) else v for n, v in arguments.items()} | more
    try:
        getattr(module(), kernel)(**given, threads=threads())
    except IndexError as error:
        raise InputError(str(error)) from error


def stream(tensor: Tensor) -> int:
    """Return the address of the current stream of a tensor's device, 0 where it is not on a GPU."""
    return int(torch.cuda.current_stream(tensor.device).cuda_stream) if tensor.is_cuda else 0


def device_of(tensor: Tensor) -> AbstractContextManager[None]:
    """Make the device of a tensor the current one, where kernels are launched; nothing happens off the GPU."""
    manager: AbstractContextManager[None] = torch.cuda.device_of(tensor)  # type: ignore[no-untyped-call]
    return manager


def workspace(size: int, like: Tensor) -> Tensor:
    """Return so many bytes beside a tensor, for a launch on the current stream: torch keeps what is freed for later."""
    return torch.empty(size, dtype=torch.uint8, device=like.device)

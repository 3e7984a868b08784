"""What the ``native.py`` of all kernels share: the compiled module, and how tensors are handed to it.

The compiled module takes addresses and sizes and knows nothing of torch. Devices, dtypes, shapes and contiguity are
checked by the kernels' contracts before; the indices of items, for which every row has to be read, by the module.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from xai_fast.errors import InputError

__all__ = [
    "address",
    "device_of",
    "dtype_name",
    "module",
    "runner",
    "stream",
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


def runner(
    contract: Callable[..., None], sizes: Callable[..., dict[str, Any]], kernel: str = ""
) -> Callable[..., None]:
    """Return the ``run`` of a compiled CPU kernel, which is named like its contract unless said otherwise.

    Tensors are handed over as their addresses, None as 0; ``sizes`` gives what the module takes besides, such as sizes
    and dtypes, from the arguments by name. An item's index that is out of range is an `InputError`; then nothing was
    written.
    """
    names, kernel = tuple(inspect.signature(contract).parameters), kernel or contract.__name__

    def run(*arguments: Any) -> None:
        given = dict(zip(names, arguments, strict=True))
        taken = {n: v.data_ptr() if isinstance(v, Tensor) else 0 if v is None else v for n, v in given.items()}
        taken.update(sizes(**given), threads=torch.get_num_threads())
        try:
            getattr(module(), kernel)(**taken)
        except IndexError as error:
            raise InputError(str(error)) from error

    return run


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

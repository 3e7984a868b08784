"""What the ``native.py`` of all kernels share: the compiled module, and how tensors are handed to it.

The compiled module takes addresses and sizes and knows nothing of torch. Devices, dtypes, shapes and contiguity are
checked by the kernels' contracts before; the indices of items, for which every row has to be read, by the module.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from xai_fast.errors import InputError

__all__ = ["address", "checked_items", "dtype_name", "module", "threads"]


@functools.cache
def module() -> ModuleType:
    """Import the compiled module; `torch` has been imported before, so that both use the OpenMP threads of torch."""
    return importlib.import_module("xai_fast._native")


def address(tensor: Tensor | None) -> int:
    """Return the address of a tensor's first element, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def dtype_name(tensor: Tensor) -> str:
    """Return the dtype's name as the compiled module knows it, for example ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")


def threads() -> int:
    """Return how many threads a kernel may use: as many as torch's own operators."""
    return torch.get_num_threads()


@contextlib.contextmanager
def checked_items() -> Iterator[None]:
    """Turn the module's complaint about an item's index into an `InputError`.

    Yields:
        None.

    Raises:
        InputError: an index in a row that is worked on is out of range; nothing was written.
    """
    try:
        yield
    except IndexError as error:
        raise InputError(str(error)) from error

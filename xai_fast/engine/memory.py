"""Memory: how much is free, how much may be taken, how much was taken, and which errors say that it did not suffice."""

from __future__ import annotations

import os
import resource
import sys

import torch

from xai_fast.errors import InputError, bad_argument

__all__ = [
    "available_bytes",
    "checked_limit",
    "free_bytes",
    "is_out_of_memory",
    "least_limit",
    "peak_memory",
    "reset_peak_memory",
    "too_small",
    "usable_bytes",
]

_SHARE_OF_FREE_MEMORY = 0.5
# Not all of them are a torch.OutOfMemoryError: the libraries of CUDA allocate for themselves.
_SIGNS_OF_MEMORY = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "not enough memory",
)


def free_bytes(device: torch.device) -> int:
    """Return how much memory of a device is free; 4 GiB where a system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 1 << 32


def available_bytes(device: torch.device) -> int:
    """Return how much memory a computation may take where the user does not say: half of what is free."""
    if device.type == "cuda":
        return int(free_bytes(device) * _SHARE_OF_FREE_MEMORY)
    return max(1 << 26, int(free_bytes(device) * _SHARE_OF_FREE_MEMORY))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS_OF_MEMORY)


def checked_limit(memory_limit: int | None, device: torch.device) -> int:
    """Check the argument, and give the number of bytes that it stands for."""
    if memory_limit is None:
        return available_bytes(device)
    if isinstance(memory_limit, bool) or not isinstance(memory_limit, int) or memory_limit < 1:
        raise bad_argument("memory_limit", "a positive number of bytes, or None", repr(memory_limit))
    return memory_limit


def too_small(limit: int, least: int) -> InputError:
    """Build the error for a memory limit that cannot be kept."""
    return bad_argument("memory_limit", f"at least {least} bytes for one item and one row at a time", f"{limit}")


def usable_bytes(limit: int) -> int:
    """Leave a sixteenth to what shapes do not tell: workspaces of convolutions, fragments, Python itself."""
    return limit - limit // 16


def least_limit(needed: int) -> int:
    """Return the smallest limit of which so many bytes are usable."""
    limit = needed * 16 // 15 - 1  # a step below, since one byte more is not always one more to use
    while usable_bytes(limit) < needed:
        limit += 1
    return limit


def reset_peak_memory(device: torch.device) -> int:
    """Begin to measure a device's peak anew where the system can do that; give the bytes in use now."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:  # no Linux, or not allowed: the peak of the whole process is then an upper bound
        pass
    return peak_memory(device)


def peak_memory(device: torch.device) -> int:
    """Tell the most bytes of a device that were in use; for a CPU, those of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale

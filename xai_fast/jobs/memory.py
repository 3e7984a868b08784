"""Memory: what a worker took, and what to do where it did not suffice."""

from __future__ import annotations

import os
import resource
import sys

import torch

from xai_fast.taylor.planner import is_out_of_memory

__all__ = ["lacks_memory", "last_resort", "peak_memory"]


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory did not suffice, so that fewer rows at once may help."""
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_out_of_memory(error))


def last_resort(error: BaseException, device: torch.device) -> str:
    """Say what a user can change where a single row does not fit."""
    return (
        f"one row at a time does not fit into the memory of {device} ({_free(device)} are free): {error}. What helps: "
        "fewer workers, a method with fewer points or a smaller memory_limit, a smaller input, or another device"
    )


def peak_memory(device: torch.device) -> int:
    """Give the most memory that was in use."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # no Linux
        pass
    # It begins with that of the process that started this one.
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _free(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{torch.cuda.mem_get_info(device)[0] >> 20} MiB"
    try:
        return f"{os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20} MiB"
    except (ValueError, OSError):
        return "unknown amounts"

"""What to say where memory does not suffice for a single row."""

from __future__ import annotations

import torch

from xai_fast.engine.memory import free_bytes

__all__ = ["last_resort"]


def last_resort(error: BaseException, device: torch.device) -> str:
    """Say what a user can change where a single row does not fit."""
    free = f"{free_bytes(device) >> 20} MiB"
    return (
        f"one row at a time does not fit into the memory of {device} ({free} are free): {error}. What helps: fewer "
        "workers, a method with fewer points or a smaller memory_limit, a smaller input, or another device"
    )

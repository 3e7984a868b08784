"""Work on a stream that is busy, so that what is launched on any other comes too early."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

__all__ = ["on_another_stream", "synchronize"]

_CYCLES = 20_000_000  # some ten milliseconds


@contextlib.contextmanager
def on_another_stream(device: torch.device) -> Iterator[None]:
    """Make a stream the current one that begins with a pause; nothing happens on the CPU."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(_CYCLES)
        yield


def synchronize(device: torch.device) -> None:
    """Wait until a device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""SIGTERM ends a run as Ctrl-C does: workers are told, claims are released."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["ends_on_sigterm"]


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise `SystemExit` with the exit code that shells give it, where this is the main thread.

    Schedulers send it before they take a machine away.

    Yields:
        Nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> None:
    del frame
    raise SystemExit(128 + number)

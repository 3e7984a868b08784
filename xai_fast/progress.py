"""A progress bar on standard error, with rate and time left; lines, or nothing, where that is no terminal."""

from __future__ import annotations

import math
import sys
import time
from types import TracebackType

from xai_fast.terminal import say

__all__ = ["Progress", "duration"]

_WIDTH = 24


def duration(seconds: float) -> str:
    """Give a time as "4.2 s", "1:05" or "2:03:07"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Count items; as a context manager, show a bar where standard error is a terminal, and remove it at the end.

    Args:
        total: items.
        what: a word before the bar.
        lines: seconds between lines of text where there is no bar; None for no lines.

    Attributes:
        note: further text, after rate and time left.
    """

    def __init__(self, total: int, what: str = "explaining", *, lines: float | None = None) -> None:
        self.total = total
        self.what = what
        self.done = 0
        self.note = ""
        self._kept = 0
        self._started = time.perf_counter()
        self._visible = sys.stderr.isatty()
        self._lines, self._next_line = lines, -math.inf

    def __enter__(self) -> Progress:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._visible:
            print(f"\r{'':78}\r", end="", file=sys.stderr, flush=True)

    def advance(self, items: int, *, kept: bool = False) -> None:
        """Count items that are done; those ``kept`` from an earlier run do not count in the rate."""
        self.done += items
        self._kept += items if kept else 0
        if self._visible:
            filled = _WIDTH * self.done // max(1, self.total)
            bar = "#" * filled + "." * (_WIDTH - filled)
            line = f"{self.what} [{bar}] {self.done}/{self.total} {self._after()}"
            print(f"\r{line:78.78}", end="", file=sys.stderr, flush=True)
        elif self._lines is not None and time.perf_counter() >= self._next_line:
            self._next_line = time.perf_counter() + self._lines
            say("; ".join(filter(None, (f"{self.done:,} of {self.total:,} items done", self._after()))), error=True)

    def speed(self) -> str:
        """Give the rate and the time left, or "" as long as nothing was computed."""
        computed = self.done - self._kept
        if computed <= 0:
            return ""
        rate = computed / max(time.perf_counter() - self._started, 1e-9)
        left = duration((self.total - self.done) / rate)
        return f"{rate:.2f}/s, {left} left" if rate < 10 else f"{rate:.0f}/s, {left} left"

    def _after(self) -> str:
        return ", ".join(filter(None, (self.speed(), self.note)))

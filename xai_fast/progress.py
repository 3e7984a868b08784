"""A progress bar on standard error, with rate and time left; lines, or nothing, where that is no terminal."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from types import TracebackType
from typing import Any

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
    """Count items; as a context manager, show a bar and remove it at the end.

    The bar is drawn with rich where it is installed, else as one plain line; not at all where standard error is no
    terminal.

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
        self._rich: Any = None

    def __enter__(self) -> Progress:
        self._started = time.perf_counter()
        if self._visible and importlib.util.find_spec("rich") is not None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn(self.what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
            self._rich = Bar(*columns, console=Console(stderr=True), transient=True)
            self._task = self._rich.add_task(self.what, total=self.total, speed="")
            self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._rich is not None:
            self._rich.stop()
        elif self._visible:
            print(f"\r{'':78}\r", end="", file=sys.stderr, flush=True)

    def advance(self, items: int, *, kept: bool = False) -> None:
        """Count items that are done; those ``kept`` from an earlier run do not count in the rate."""
        self.done += items
        self._kept += items if kept else 0
        if self._rich is not None:
            self._rich.update(self._task, completed=self.done, speed=self._after())
        elif self._visible:
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

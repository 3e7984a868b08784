"""Progress that counts receipts, so that it is right after a restart and whoever does the work."""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType

from xai_fast.errors import XaiFastError
from xai_fast.jobs.observe.receipts import Tally
from xai_fast.jobs.store.layout import Layout
from xai_fast.progress import Progress
from xai_fast.terminal import printable, say

__all__ = ["JobProgress"]

_INTERVAL = 0.5
_INTERVAL_OF_LINES = 30.0
_SHARE = 0.02
_logger = logging.getLogger(__name__)


class JobProgress:
    """A progress bar on standard error while a job runs, as a context manager; a line now and then for a log file.

    Items that were done before count, but say nothing about the rate. A thread looks for new receipts twice a second,
    or less often where a look takes long: it uses at most 2 % of a core.

    Args:
        layout: of the store.
        items: in the job.
        visible: True for a bar, False for nothing; None for a bar where standard error is a terminal, and elsewhere
            for a line at the beginning and then one every 30 seconds.
    """

    def __init__(self, layout: Layout, items: int, *, visible: bool | None = None) -> None:
        self._lines = visible is None and not sys.stderr.isatty()
        self._visible = not self._lines and visible is not False
        self._folder = layout.root
        self._items = items
        self._tally = Tally(layout)
        self._bar = Progress(items)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> JobProgress:
        if self._visible:
            self._bar.__enter__()
        if self._visible or self._lines:
            self.look(kept=True)
            if self._lines:
                self._say(f"look from another shell with: xai-fast jobs status {printable(str(self._folder))}")
            self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._end.set()
            self._thread.join()
        if self._visible:
            self._bar.__exit__(kind, error, trace)

    def _follow(self) -> None:
        interval = _INTERVAL_OF_LINES if self._lines else _INTERVAL
        wait = interval
        while not self._end.wait(wait):
            began = time.perf_counter()
            try:
                self.look()
                if self._lines:
                    self._say(self._bar.speed())
            except (XaiFastError, OSError) as error:
                # A bar is no reason to end a job; the same fault meets whoever does the work, and is told there.
                _logger.warning("no more progress is shown: %s", error)
                return
            wait = max(interval, (time.perf_counter() - began) / _SHARE)

    def _say(self, more: str) -> None:
        note = f", {self._bar.note}" if self._bar.note else ""
        line = f"{self._bar.done:,} of {self._items:,} items done{note}{'; ' + more if more else ''}"
        say(line, error=True)

    def look(self, *, kept: bool = False) -> None:
        """Read the receipts that are new, and draw.

        Args:
            kept: they are of an earlier run.
        """
        self._tally.update()
        failed = self._tally.failures
        self._bar.note = f"{failed:,} failed" if failed else ""
        self._bar.advance(self._tally.items - self._bar.done, kept=kept)

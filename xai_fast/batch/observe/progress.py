"""A progress bar that counts receipts, so that it is right after a restart and whoever does the work."""

from __future__ import annotations

import logging
import sys
import threading
import time
from types import TracebackType

from xai_fast.batch.observe.receipts import Tally
from xai_fast.batch.store.layout import Layout
from xai_fast.errors import XaiFastError
from xai_fast.progress import Progress

__all__ = ["JobProgress"]

_INTERVAL = 0.5
_SHARE = 0.02
_logger = logging.getLogger(__name__)


class JobProgress:
    """A progress bar on standard error while a job runs, as a context manager; nothing where nobody looks.

    Items that were done before count, but say nothing about the rate. A thread looks for new receipts twice a second,
    or less often where a look takes long: it uses at most 2 % of a core.

    Args:
        layout: of the store.
        items: in the job.
        visible: draw it; by default where standard error is a terminal.
    """

    def __init__(self, layout: Layout, items: int, *, visible: bool | None = None) -> None:
        self._visible = sys.stderr.isatty() if visible is None else visible
        self._tally = Tally(layout)
        self._bar = Progress(items)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> JobProgress:
        if self._visible:
            self._bar.__enter__()
            self.look(kept=True)
            self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._end.set()
            self._thread.join()
            self._bar.__exit__(kind, error, trace)

    def _follow(self) -> None:
        wait = _INTERVAL
        while not self._end.wait(wait):
            began = time.perf_counter()
            try:
                self.look()
            except (XaiFastError, OSError) as error:
                # A bar is no reason to end a job; the same fault meets whoever does the work, and is told there.
                _logger.warning("no more progress is shown: %s", error)
                return
            wait = max(_INTERVAL, (time.perf_counter() - began) / _SHARE)

    def look(self, *, kept: bool = False) -> None:
        """Read the receipts that are new, and draw.

        Args:
            kept: they are of an earlier run.
        """
        self._tally.update()
        failed = self._tally.failures
        self._bar.note = f"{failed:,} failed" if failed else ""
        self._bar.advance(self._tally.items - self._bar.done, kept=kept)

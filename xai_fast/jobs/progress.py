"""Progress of a job: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from xai_fast.jobs.job import Job
from xai_fast.jobs.work import ShardDone
from xai_fast.progress import Progress
from xai_fast.terminal import printable, say

__all__ = ["JobProgress"]

_INTERVAL = 30.0


class JobProgress:
    """Counts the shards that a run does, as a context manager; items that were done before say nothing of the rate.

    Args:
        job: the job.
        visible: show something.
        again: only failed items are done, of which nobody knows the number.
    """

    def __init__(self, job: Job, *, visible: bool = True, again: bool = False) -> None:
        self._job = job
        self._bar = Progress(len(job.items))
        self._shown = visible and not again
        self._terminal = sys.stderr.isatty()
        self._failed = 0
        self._last = 0.0

    def __enter__(self) -> JobProgress:
        if self._shown:
            done = sum(len(self._job.shards.span(shard)) for shard in self._job.shards.all_done())
            if self._terminal:
                self._bar.__enter__()
            self._bar.advance(done, kept=True)
            if not self._terminal:
                self._say(f"look from another shell with: xai-fast jobs status {printable(str(self._job.path))}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._terminal:
            self._bar.__exit__(kind, error, trace)

    def __call__(self, done: ShardDone) -> None:
        """Count a shard."""
        if not self._shown:
            return
        self._failed += done.failed
        self._bar.note = f"{self._failed:,} failed" if self._failed else ""
        self._bar.advance(done.items)
        if not self._terminal and time.monotonic() - self._last > _INTERVAL:
            self._say(self._bar.speed())

    def _say(self, more: str) -> None:
        self._last = time.monotonic()
        note = f", {self._bar.note}" if self._bar.note else ""
        say(f"{self._bar.done:,} of {self._bar.total:,} items done{note}{'; ' + more if more else ''}", error=True)

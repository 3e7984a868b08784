"""Structured logs: what a worker did, a JSON object a line."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import threading
import time

from xai_fast.errors import StoreError
from xai_fast.jobs.store.layout import Layout

__all__ = ["Log"]

_LONGEST = 4000
_logger = logging.getLogger(__name__)


class Log:
    """The log of one worker, ``logs/<worker>.jsonl``; several threads may write to it.

    A line is written by one call on a file that is opened for appending, so that lines of processes that share a name
    do not mix. A log that cannot be written (a full disk, a store that is read-only) is said once through `logging`,
    and the work goes on.

    Args:
        layout: of the store.
        worker: name of the worker, any text.
    """

    def __init__(self, layout: Layout, worker: str) -> None:
        self.path = layout.logs / f"{_file_name(worker)}.jsonl"
        self._layout = layout
        self._worker = worker
        self._lock = threading.Lock()
        self._broken = False

    def event(self, kind: str, **fields: object) -> None:
        """Write a line ``{"time": unix seconds, "worker", "pid", "event": kind, ...}``.

        Args:
            kind: what happened, such as "shard_finished".
            fields: what else is to be known; what JSON has no form for is written as text, and long text is cut.
        """
        content = {"time": round(time.time(), 3), "worker": self._worker, "pid": os.getpid(), "event": kind}
        content |= {name: _plain(value) for name, value in fields.items()}
        line = json.dumps(content, allow_nan=False).encode("ascii") + b"\n"
        with self._lock:
            if self._broken:
                return
            try:
                self._append(line)
            except (StoreError, OSError) as error:
                self._broken = True
                _logger.warning("no more log of %s: %s", self._worker, error)

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._layout.folder(self.path.parent.name, create=True) as folder:
            file = os.open(self.path.name, flags, 0o666, dir_fd=folder.fd)
            try:
                if os.write(file, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(file)


def _file_name(worker: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", worker)[:100]
    return name if name.strip(".") else "worker"


def _plain(value: object) -> object:
    """Give a value as JSON has it: numbers that are not finite, paths, errors and the like become text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    text = str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + f"... ({len(text)} characters)"

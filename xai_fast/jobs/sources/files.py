"""Files that must not change while a job is about them: compared by content, where times only spare the hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from xai_fast.errors import JobError

__all__ = ["HASHED", "SourceChanged", "WatchedFile", "short_hash"]

HASHED = 2 << 30
"""Bytes of a source that are hashed as a whole, so that a job starts within seconds."""
_BLOCK = 1 << 20
_MOST_BLOCKS = 256
_FEWEST_BLOCKS = 2


class SourceChanged(JobError):
    """The data is not what it was when the job began, or is gone."""


def short_hash(data: bytes) -> int:
    """Give 64 bits of the sha256 of some bytes as a signed integer, never 0."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True) or 1


class WatchedFile:
    """One file of a source.

    Of large files, blocks of a megabyte at even distances are hashed, at most 256 in all files together, at least two
    of each. So another array is told apart, and one that was touched, copied or mounted elsewhere is the same.

    Args:
        path: of the file.
        known: its `mark` when the job began; None to take it now.
        files: of the source, which share the bytes that are hashed.

    Attributes:
        mark: "bytes", "mtime_ns" and "sha256".

    Raises:
        SourceChanged: it is not what it was.
        OSError: it cannot be read, and there was no mark.
    """

    def __init__(self, path: str, known: Mapping[str, Any] | None = None, files: int = 1) -> None:
        self.path, self._files = path, files
        if known is None:
            status = os.stat(path)
            known = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": self._hash(status.st_size)}
        self.mark = dict(known)
        self._time = self.mark.get("mtime_ns")
        self.check()

    def check(self) -> None:
        """Compare the file with what it was."""
        try:
            status = os.stat(self.path)
            if status.st_size == self.mark.get("bytes"):
                if status.st_mtime_ns == self._time:
                    return
                if self._hash(status.st_size) == self.mark.get("sha256"):
                    self._time = status.st_mtime_ns
                    return
        except OSError as error:
            raise SourceChanged(f"source: {self.path} is gone: {error.strerror}") from error
        was = f"{self.mark.get('bytes')} bytes then, {status.st_size} now"
        what = was if status.st_size != self.mark.get("bytes") else "its content is another"
        raise SourceChanged(f"the source is not what it was when the job began: {self.path}: {what}")

    def _hash(self, size: int) -> str:
        state = hashlib.sha256(str(size).encode())
        with open(self.path, "rb", buffering=0) as file:
            if size <= HASHED // self._files:
                while block := file.read(_BLOCK):
                    state.update(block)
                return state.hexdigest()
            count = min(_MOST_BLOCKS, max(_FEWEST_BLOCKS, 4 * _MOST_BLOCKS // self._files))
            for number in range(count):
                state.update(os.pread(file.fileno(), _BLOCK, number * (size - _BLOCK) // (count - 1)))
        return state.hexdigest()

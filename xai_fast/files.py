"""Files: written whole or not at all, and opened only where they are regular files."""

from __future__ import annotations

import errno
import os
import stat
from io import FileIO
from pathlib import Path

__all__ = ["open_regular", "write_whole"]

_READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | os.PathLike[str]) -> FileIO:
    """Open a file for reading, unbuffered; an `OSError` where it is none, since pipes block and devices act on it."""
    if stat.S_ISREG(os.stat(path).st_mode):
        descriptor = os.open(path, _READ_ONLY)  # not blocking, for something else may have taken its name since
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return os.fdopen(descriptor, "rb", buffering=0)
        os.close(descriptor)
    raise OSError(errno.EINVAL, "not a file, but a folder, a pipe, a socket or a device", os.fspath(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name first, so that whoever looks finds the old one, the new one, or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

"""Files: written whole or not at all, and opened only where they are regular files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_regular", "write_whole"]

_READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading, unbuffered; a pipe would block, and a device may act on being opened.

    Args:
        path: the file, or a link to it.

    Returns:
        The open file.

    Raises:
        OSError: there is no such file, it cannot be read, or it is something else, which is not opened.
    """
    if stat.S_ISREG(os.stat(path).st_mode):
        # Not blocking, for something else may have taken its name since.
        file = open(path, "rb", buffering=0, opener=lambda name, _flags: os.open(name, _READ_ONLY))
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file
        file.close()
    raise OSError(errno.EINVAL, "not a file, but a folder, a pipe, a socket or a device", os.fspath(path))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file under another name first, so that whoever looks finds the old one, the new one, or none.

    Args:
        path: where to; folders are made, and a file that is there is replaced.
        data: the content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

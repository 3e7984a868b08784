"""Files of a store: opened without leaving the store, written so that a crash leaves the old state or the new one.

Folders are descriptors that were opened step by step from the store's root without following symbolic links, so a store
that somebody else made cannot lead a reader or a writer to a file outside of it. A file is written under a temporary
name, flushed, linked to its name (which fails if the name is taken: the first writer wins), and the folder is flushed.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from xai_fast.errors import StoreError
from xai_fast.values import unique

__all__ = ["TEMPORARY", "Folder", "dump_json", "load_json"]

TEMPORARY = ".tmp-"
"""What the names of unfinished files begin with."""
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Folder:
    """An open folder of a store; its root may be reached through symbolic links, what is below may not."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        with _named(path, "open the folder"):
            if create:
                path.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)

    def folder(self, name: str, *, create: bool = False) -> Folder:
        """Open a folder in this one, which must not be a symbolic link."""
        found = Folder.__new__(Folder)
        found.path = self.path / name
        with _named(found.path, "open the folder"):
            try:
                found._fd = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=self._fd)
            except FileNotFoundError:
                if not create:
                    raise
                with suppress(FileExistsError):  # another process was faster
                    os.mkdir(name, dir_fd=self._fd)
                os.fsync(self._fd)
                found._fd = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=self._fd)
        return found

    def names(self) -> list[str]:
        """List what is in it, in no order."""
        with _named(self.path, "list"):
            return os.listdir(self._fd)

    def exists(self, name: str) -> bool:
        """Tell whether there is something of this name, which may be ``folder/file``."""
        return self.changed(name) is not None

    def changed(self, name: str) -> float | None:
        """Give the time at which something was last written, in unix seconds; None where it is not there."""
        with _named(self.path / name, "look at"):
            try:
                return os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mtime
            except (FileNotFoundError, NotADirectoryError):
                return None

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """Open a regular file for reading."""
        with _named(self.path / name, "read"):
            # Without O_NONBLOCK, opening a pipe would wait for ever.
            fd = os.open(name, _OPEN | os.O_NONBLOCK, dir_fd=self._fd)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise StoreError(f"{self.path / name}: expected a regular file, got something else")
            yield fd
        finally:
            os.close(fd)

    def read(self, name: str, limit: int) -> bytes:
        """Read a small file."""
        with self.opened(name) as fd, _named(self.path / name, "read"), os.fdopen(os.dup(fd), "rb") as file:
            size = os.fstat(fd).st_size
            if size > limit:
                raise StoreError(f"{self.path / name}: expected at most {limit} bytes, got {size}")
            return file.read(size)

    def write(self, name: str, data: bytes, *, replace: bool = False) -> bool:
        """Write a whole file and force it to the disk; nothing is left behind where this raises."""
        temporary = f"{TEMPORARY}{name}-{secrets.token_hex(6)}"
        with _named(self.path / name, "write"):
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=self._fd)
            try:
                _write_all(fd, data)
                os.fsync(fd)
                if replace:
                    os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
                elif not self._link(fd, temporary, name):
                    return False
                os.fsync(self._fd)
            finally:
                os.close(fd)
                if not replace or self.exists(temporary):
                    os.unlink(temporary, dir_fd=self._fd)
        return True

    def _link(self, fd: int, temporary: str, name: str) -> bool:
        try:
            os.link(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            # Over NFS the answer to a link that was made can be lost, and the repeated request fails; the number of
            # names that the file has tells the truth.
            if os.fstat(fd).st_nlink > 1:
                return True
            if error.errno == errno.EEXIST:
                return False
            raise
        return True

    def remove(self, name: str) -> bool:
        """Remove a file."""
        with _named(self.path / name, "remove"):
            try:
                os.unlink(name, dir_fd=self._fd)
            except FileNotFoundError:
                return False
            return True

    def remove_folder(self, name: str) -> None:
        """Remove a folder of files that belongs to nobody."""
        folder = self.folder(name)
        for file in folder.names():
            folder.remove(file)
        with _named(self.path / name, "remove"):
            os.rmdir(name, dir_fd=self._fd)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while len(rest):
        rest = rest[os.write(fd, rest) :]


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: cannot {what}: {error.strerror or error}") from error


def dump_json(document: object) -> bytes:
    """Write plain values as JSON: sorted keys, no NaN, so that equal documents are equal bytes."""
    return (json.dumps(document, sort_keys=True, allow_nan=False) + "\n").encode()


def load_json(data: bytes | str, name: object) -> dict[str, Any]:
    """Read a JSON object that somebody else may have written."""
    try:
        text = data if isinstance(data, str) else data.decode()
        document = json.loads(text, object_pairs_hook=unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{name}: expected JSON, got {error}") from error
    if not isinstance(document, dict):
        raise StoreError(f"{name}: expected a JSON object, got {type(document).__name__}")
    return document


def _refuse(constant: str) -> float:
    raise ValueError(constant)

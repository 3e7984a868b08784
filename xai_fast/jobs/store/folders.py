"""Files of a store: opened without leaving the store, written so that a crash leaves the old state or the new one.

Everything goes through the descriptor of a folder that was opened step by step from the store's root without following
symbolic links. So a store that somebody else made cannot lead a reader, or a cleaner, to a file outside of it.

A file becomes visible in this order, and each step is there for one kind of crash:

1. written under a temporary name: a killed process leaves a file that nobody reads;
2. ``fsync`` of the file: after a power failure the name could otherwise be there without the content;
3. ``rename`` (replaces) or ``link`` (fails if the name is taken; this is how the first of several writers wins);
4. ``fsync`` of the folder: the name itself lives in the folder, and is lost with the power until that is on the disk.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from xai_fast.errors import StoreError

__all__ = ["Folder", "dump_json", "is_temporary", "load_json", "unique_name"]

TEMPORARY = ".tmp-"
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


def unique_name() -> str:
    """Return 16 hexadecimal digits that no other attempt has, on whichever machine it runs."""
    return secrets.token_hex(8)


def is_temporary(name: str) -> bool:
    """Return whether a file was being written under this name."""
    return name.startswith(TEMPORARY)


class Folder:
    """A folder of a store, open as a descriptor; a context manager.

    Args:
        root: the store.
        names: the folders to go down, none of them a symbolic link.
        create: make what is missing.

    Raises:
        StoreError: it is not there, not a folder, or cannot be made.
    """

    def __init__(self, root: Path, *names: str, create: bool = False) -> None:
        self.path = root.joinpath(*names)
        with _named(self.path, "open the folder"):
            if create:
                root.mkdir(parents=True, exist_ok=True)
            # The root may be reached through a symbolic link: where the store lies is the user's own choice.
            self.fd = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
            for name in names:
                self._go_down(name, create)

    def _go_down(self, name: str, create: bool) -> None:
        above, self.fd = self.fd, -1
        try:
            try:
                self.fd = os.open(name, _READ | os.O_DIRECTORY, dir_fd=above)
            except FileNotFoundError:
                if not create:
                    raise
                _make(name, above)
                os.fsync(above)
                self.fd = os.open(name, _READ | os.O_DIRECTORY, dir_fd=above)
        finally:
            os.close(above)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self.fd)

    def names(self) -> list[str]:
        """Return the names of what is in it, in no order."""
        with _named(self.path, "list"):
            return os.listdir(self.fd)

    def exists(self, name: str) -> bool:
        """Return whether there is something of this name, be it a dangling link."""
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ESTALE:
                return False
            raise _error(self.path / name, "look at", error) from error
        return True

    def open_file(self, name: str) -> int:
        """Open a regular file for reading.

        Args:
            name: in this folder.

        Returns:
            The descriptor; the caller closes it.

        Raises:
            StoreError: it is not there, is a link, a pipe or a device, or cannot be read.
        """
        with _named(self.path / name, "read"):
            # Without O_NONBLOCK, opening a pipe that somebody put there would wait for ever.
            fd = os.open(name, _READ | os.O_NONBLOCK, dir_fd=self.fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise StoreError(f"{self.path / name}: expected a regular file, got something else")
        return fd

    def read(self, name: str, limit: int) -> bytes:
        """Read a small file.

        Args:
            name: in this folder.
            limit: the largest size, in bytes, that is read.

        Returns:
            The content.

        Raises:
            StoreError: it cannot be read or is larger.
        """
        fd = self.open_file(name)
        with _named(self.path / name, "read"), os.fdopen(fd, "rb") as file:
            size = os.fstat(fd).st_size
            # No more than it has: Python makes room for as much as is asked for.
            data = file.read(size) if size <= limit else None
        if data is None:
            raise StoreError(f"{self.path / name}: expected at most {limit} bytes, got {size}")
        return data

    def write_temporary(self, chunks: Iterable[bytes | memoryview]) -> str:
        """Write a file under a temporary name and force it to the disk.

        Args:
            chunks: the content.

        Returns:
            The temporary name; nothing is left behind where this raises.

        Raises:
            StoreError: it cannot be written, such as when the disk is full.
        """
        name = TEMPORARY + unique_name()
        with _named(self.path, "write to"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(name, flags, 0o666, dir_fd=self.fd)
            try:
                try:
                    for chunk in chunks:
                        _write_all(fd, chunk)
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except BaseException:
                self.remove(name)
                raise
        return name

    def rename(self, temporary: str, name: str) -> None:
        """Give a file its name, replacing what has it, and force that to the disk.

        Args:
            temporary: the name it has.
            name: the name it gets.

        Raises:
            StoreError: it cannot be done.
        """
        with _named(self.path / name, "write"):
            os.rename(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
            os.fsync(self.fd)

    def link(self, temporary: str, name: str) -> bool:
        """Give a file its name unless that is taken, and force that to the disk; the temporary name goes either way.

        Args:
            temporary: the name it has.
            name: the name it gets.

        Returns:
            True where it got the name, False where another file had it.

        Raises:
            StoreError: it cannot be done, such as on a file system without hard links.
        """
        try:
            won = self._try_link(temporary, name)
            if won:
                with _named(self.path, "write to"):
                    os.fsync(self.fd)
        finally:
            self.remove(temporary)
        return won

    def _try_link(self, temporary: str, name: str) -> bool:
        try:
            os.link(temporary, name, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)
        except OSError as error:
            # Over NFS the answer to a link that was made can be lost and the repeated request fail;
            # the number of names that the file has tells the truth.
            with _named(self.path / name, "write"):
                if os.stat(temporary, dir_fd=self.fd, follow_symlinks=False).st_nlink > 1:
                    return True
            if error.errno == errno.EEXIST:
                return False
            raise _error(self.path / name, "link (a store needs a file system with hard links)", error) from error
        return True

    def write_first(self, name: str, data: bytes) -> bool:
        """Write a whole file unless there is one.

        Args:
            name: in this folder.
            data: the content.

        Returns:
            True where this call wrote it.
        """
        return self.link(self.write_temporary([data]), name)

    def replace(self, name: str, data: bytes) -> None:
        """Write a whole file in place of the one that is there, if any.

        Args:
            name: in this folder.
            data: the content.
        """
        temporary = self.write_temporary([data])
        try:
            self.rename(temporary, name)
        finally:
            self.remove(temporary)

    def remove(self, name: str) -> bool:
        """Remove a file.

        Args:
            name: in this folder.

        Returns:
            False where there was none.

        Raises:
            StoreError: it cannot be removed.
        """
        with _named(self.path / name, "remove"):
            try:
                os.unlink(name, dir_fd=self.fd)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ESTALE):
                    raise
                return False
        return True

    def sync(self) -> None:
        """Force the names in this folder to the disk."""
        with _named(self.path, "write to"):
            os.fsync(self.fd)


def _make(name: str, parent: int) -> None:
    with suppress(FileExistsError):  # another process was faster
        os.mkdir(name, dir_fd=parent)


def _write_all(fd: int, chunk: bytes | memoryview) -> None:
    rest = memoryview(chunk)
    while len(rest):
        rest = rest[os.write(fd, rest) :]


def _error(path: Path, what: str, error: OSError) -> StoreError:
    return StoreError(f"{path}: cannot {what}: {error.strerror or error}")


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ESTALE:
            # What a file server says of a folder that another machine has removed while it was open here.
            raise _error(path, what, error) from FileNotFoundError(errno.ENOENT, error.strerror)
        raise _error(path, what, error) from error


def dump_json(document: object) -> bytes:
    """Write plain values as JSON: sorted keys, no NaN, so that equal documents are equal bytes.

    Args:
        document: mappings, lists, strings, numbers, booleans and None.

    Returns:
        UTF-8, with a newline at the end.

    Raises:
        StoreError: something in it is not a plain value.
    """
    try:
        return (json.dumps(document, sort_keys=True, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise StoreError(f"document: expected plain values for JSON, got {error}") from error


def load_json(data: bytes, name: object, check: Callable[[Any], bool] = lambda document: True) -> Any:
    """Read JSON that somebody else may have written.

    Args:
        data: UTF-8, of a size that was limited before.
        name: the file, for the message.
        check: what the whole must be.

    Returns:
        The document.

    Raises:
        StoreError: it is not JSON, nested too deep, has NaN or a key twice, or the check fails.
    """
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{name}: expected JSON, got {error}") from error
    if not check(document):
        raise StoreError(f"{name}: expected what xai_fast writes there, got another JSON document")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key twice")
    return made


def _refuse(constant: str) -> float:
    raise ValueError(constant)

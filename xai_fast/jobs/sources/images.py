"""Picture files: a folder with its subfolders, or a list of files."""

from __future__ import annotations

import os
import stat
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.sources.base import FrozenItems, ItemError, Read, Source, Stamp, no_such_path
from xai_fast.jobs.sources.decoding import make_decoder
from xai_fast.jobs.sources.describe import PICTURE_SUFFIXES
from xai_fast.jobs.sources.names import PackedNames
from xai_fast.jobs.store.layout import Status

__all__ = ["ImageSource", "picture_names"]

_MISSING: Stamp = (-1, -1)
_READ_ONLY = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class ImageSource(Source):
    """Picture files, called after their place below the folder (or below what the files of a list have in common).

    In folders, files are known by their suffix (any case of `PICTURE_SUFFIXES`), sorted by name folder by folder; names
    that begin with a dot are left out, and links to folders are not followed.

    Args:
        described: "path", a folder, a file, or a list of both; "labels", which may be "folders": the class of a picture
            is then the place of its topmost folder in the alphabet of them.
        decoder: "pillow", or ``package.module:function``.
        items: the frozen list; None to look for the files.

    Raises:
        InputError: a path does not exist, or there is no picture.
    """

    kind = "images"

    def __init__(
        self, described: Mapping[str, object], *, decoder: str = "pillow", items: FrozenItems | None = None
    ) -> None:
        self._decode = make_decoder(decoder)
        # Pictures are brought to the size of the model; what another decoder gives nobody knows.
        self.regular = decoder == "pillow"
        paths = _paths(described)
        self._by_folder = _checked_labels(described.get("labels"))
        self._root = _common_folder(paths)
        self._items = items
        self._names, self._stamps = PackedNames(), array("q")
        self._folders: dict[str, int] | None = None
        self._lock = threading.Lock()
        if items is None:
            self._search(paths)
        else:
            _check_there(paths)

    def __len__(self) -> int:
        return len(self._names) if self._items is None else len(self._items)

    def ids(self) -> Sequence[str] | range:
        """Return the files' places below the folder, with "/" between folders."""
        return self._names if self._items is None else PackedNames(self._name(i) for i in range(len(self)))

    def stamps(self) -> NDArray[np.int64] | None:
        """Return the files' sizes and times, -1 for what cannot be looked at."""
        if self._items is None:
            return np.frombuffer(self._stamps, dtype=np.int64).reshape(-1, 2)
        return np.array([self._items.stamp(i) or _MISSING for i in range(len(self))], dtype=np.int64).reshape(-1, 2)

    def identity(self) -> dict[str, object]:
        """Return the number of files; whether a file has changed is found when it is read."""
        return {"kind": self.kind, "count": len(self)}

    def read(self, index: int, stamp: Stamp | None = None) -> Read:
        """Read and decode a file; the stamp is that of the very file that is read."""
        data, now = _content(self._path(index))
        if stamp is not None and now != tuple(stamp):
            raise ItemError(Status.CHANGED, f"the file is not what it was when the job began: {_told(stamp, now)}")
        return Read(self._decode(data), self.label(index))

    def label(self, index: int, column: str | None = None) -> int | None:
        """Give the class of a file by its topmost folder."""
        del column
        if not self._by_folder:
            return None
        with self._lock:
            if self._folders is None:
                names = {top for top in (_top(self._name(i)) for i in range(len(self))) if top is not None}
                self._folders = {name: number for number, name in enumerate(sorted(names))}
        top = _top(self._name(index))
        return None if top is None else self._folders[top]

    def check_column(self, column: str) -> None:
        """Check that there are labels."""
        super().check_column(column)
        if not self._by_folder:
            raise bad_argument("target", 'a source with labels: {..., "labels": "folders"}', repr(column))

    def _name(self, index: int) -> str:
        return self._names[index] if self._items is None else self._items.id(index)

    def _path(self, index: int) -> str:
        name = self._name(index)
        parts = name.split("/")
        # The list in a store may come from anybody.
        if os.path.isabs(name) or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ItemError(Status.UNREADABLE, f"expected the name of a file below the folder, got {name!r}")
        return os.path.join(self._root, *parts)

    def _search(self, paths: Sequence[str]) -> None:
        for name, file in _found(paths, self._root):
            self._names.append(name)
            self._stamps.extend(_stamp(file))
        if not len(self._names):
            where = ", ".join(map(repr, paths[:3]))
            raise bad_argument("source", f"at least one picture ({', '.join(PICTURE_SUFFIXES)})", f"none in {where}")


def picture_names(described: Mapping[str, object]) -> Iterator[str]:
    """List the pictures of a source as they are now, without looking at any of them.

    Args:
        described: of the source.

    Yields:
        What `ImageSource.ids` would give.

    Raises:
        InputError: a path does not exist, or cannot be read.
    """
    paths = _paths(described)
    for name, _ in _found(paths, _common_folder(paths)):
        yield name


def _paths(described: Mapping[str, object]) -> list[str]:
    given = described["path"]
    return [str(path) for path in given] if isinstance(given, list) else [str(given)]


def _found(paths: Sequence[str], root: str) -> Iterator[tuple[str, str | os.DirEntry[str]]]:
    for path in paths:
        if os.path.isdir(path):
            start = os.path.relpath(path, root)
            yield from _walk(path, "" if start == "." else start.replace(os.sep, "/") + "/")
        elif os.path.exists(path):
            yield os.path.relpath(path, root).replace(os.sep, "/"), path
        else:
            raise no_such_path("folders and pictures that exist", path)


def _checked_labels(labels: object) -> bool:
    if labels not in (None, "folders"):
        raise bad_argument("source.labels", '"folders" for pictures', repr(labels))
    return labels == "folders"


def _check_there(paths: Sequence[str]) -> None:
    """Check that folders of a job are still there; a single file that is gone is the trouble of its item."""
    for path in paths:
        if not os.path.exists(path) and (len(paths) == 1 or not path.lower().endswith(PICTURE_SUFFIXES)):
            raise no_such_path("a folder that exists", path)


def _common_folder(paths: Sequence[str]) -> str:
    return os.path.commonpath([path if os.path.isdir(path) else os.path.dirname(path) for path in paths])


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give the pictures in a folder and its subfolders with their names, sorted; an object for each only by and by."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"source: the folder {folder!r} cannot be read: {error.strerror}") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.name.lower().endswith(PICTURE_SUFFIXES) and not entry.is_dir():
            yield prefix + entry.name, entry


def _stamp(file: str | os.DirEntry[str]) -> Stamp:
    try:
        status = os.stat(file) if isinstance(file, str) else file.stat()
    except OSError:  # a link to nowhere: an item that cannot be read, and is told as such
        return _MISSING
    return status.st_size, status.st_mtime_ns


def _content(path: str) -> tuple[bytes, Stamp]:
    try:
        # Not blocking, for something else than a file may have taken its name, such as a pipe.
        descriptor = os.open(path, _READ_ONLY)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ItemError(Status.UNREADABLE, "not a file")
            return file.read(), (status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ItemError(Status.UNREADABLE, error.strerror or str(error)) from error


def _told(was: Stamp, now: Stamp) -> str:
    if was[0] != now[0]:
        return f"{was[0]} bytes then, {now[0]} now"
    return "it was written to since"


def _top(name: str) -> str | None:
    top, slash, _ = name.partition("/")
    return top if slash else None

"""Picture files: a folder with its subfolders, or a list of files."""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar

from xai_fast.errors import InputError, bad_argument
from xai_fast.files import open_regular
from xai_fast.jobs.sources.base import (
    HASHED,
    Listing,
    Read,
    Source,
    SourceChanged,
    no_such_path,
    paths_of,
    short_hash,
)
from xai_fast.jobs.sources.describe import PICTURE_SUFFIXES
from xai_fast.jobs.sources.pictures import make_decoder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import JOB, ItemError, Status, is_ours
from xai_fast.jobs.store.shards import SHARDS

__all__ = ["MARKS", "ImageSource", "marks_of"]

MARKS = ("size", "time", "hash")
"""What the frozen list has of each file."""
_LOOKED_AT = 16


class ImageSource(Source):
    """Picture files, called after their place below the folder (or below what the files of a list have in common).

    In folders, files are known by their suffix (any case of `PICTURE_SUFFIXES`), sorted by name folder by folder; names
    that begin with a dot, and results of jobs, are left out, and links to folders are not followed. A file is the same
    as when the job began if its size is, and its time or its hash; of more than 2 GiB of pictures no hashes are taken,
    so that a job starts within seconds, and the size decides. With "labels": "folders" the class of a picture is the
    place of its topmost folder in the alphabet of them.
    """

    kind = "images"
    columns: ClassVar[tuple[str, ...]] = (*MARKS, "label")

    def __init__(self, described: Mapping[str, Any], decoder: str) -> None:
        self._decode, self._paths = make_decoder(decoder), paths_of(described)
        labels = described.get("labels")
        if labels not in (None, "folders"):
            raise bad_argument("source.labels", '"folders" for pictures', repr(labels))
        self.labelled = labels == "folders"
        # Whether files are there is seen later: of the files of a list, each that is gone is the trouble of its item.
        known = [
            os.path.dirname(path) if path.lower().endswith(PICTURE_SUFFIXES) or os.path.isfile(path) else path
            for path in self._paths
        ]
        self._root = os.path.commonpath(known)

    def listing(self) -> Listing:
        """List the files' places below the folder, with "/" between folders."""
        if next(self._files(), None) is None:
            where = ", ".join(map(repr, self._paths[:3]))
            raise bad_argument("source", f"at least one picture ({', '.join(PICTURE_SUFFIXES)})", f"none in {where}")
        return self._rows()

    def use(self, items: Items, identity: Mapping[str, Any]) -> None:
        """Check that the files are still there."""
        super().use(items, identity)
        self._check_there()

    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Read and decode a file."""
        return Read(self._picture(index, as_it_is=as_it_is), self.label(index))

    def path(self, index: int, side: str = "") -> str:
        """Give the place of a file; ``side`` is that of a pair, as its columns begin."""
        del side
        name = self.items.id(index)
        parts = name.split("/")
        if os.path.isabs(name) or "\0" in name or any(part in ("", ".", "..") for part in parts):
            raise ItemError(Status.UNREADABLE, f"expected the name of a file below the folder, got {name!r}")
        return os.path.join(self._root, *parts)

    def _picture(self, index: int, side: str = "", *, as_it_is: bool) -> Any:
        """Read and decode a file; what is compared is the very file that is read."""
        try:
            with open_regular(self.path(index, side)) as file:
                data, status = file.read(), os.fstat(file.fileno())
        except OSError as error:
            self._check_there()
            raise ItemError(Status.UNREADABLE, error.strerror or str(error)) from error
        size, time = status.st_size, status.st_mtime_ns
        was, then, known = (self.items.value(side + mark, index) for mark in MARKS)
        if not as_it_is and size != was:
            raise ItemError(Status.CHANGED, f"the file is not what it was: {was} bytes then, {size} now")
        if not as_it_is and known and time != then and short_hash(data) != known:
            raise ItemError(Status.CHANGED, "the file is not what it was when the job began: it has another content")
        return self._decode(data)

    def _check_there(self) -> None:
        """Tell a file that is gone, which concerns its item, from a folder that is gone, which concerns the job."""
        step = max(1, len(self.items) // _LOOKED_AT)
        if not any(self._is_there(index) for index in range(0, len(self.items), step)):
            raise SourceChanged(f"source: the pictures in {self._root} are gone; a run goes on when they are back")

    def _is_there(self, index: int) -> bool:
        try:
            return os.path.lexists(self.path(index))
        except ItemError:
            return False

    def _rows(self) -> Iterator[tuple[str, Sequence[int]]]:
        folders = sorted({top for name, _ in self._files() if (top := _top(name))}) if self.labelled else []
        numbers = {name: number for number, name in enumerate(folders)}
        hashed = self._is_small()
        for name, file in self._files():
            yield name, (*marks_of(file, hashed=hashed), numbers.get(_top(name) or "", -1))

    def _is_small(self) -> bool:
        sizes = itertools.accumulate(max(0, marks_of(file)[0]) for _, file in self._files())
        return all(total <= HASHED for total in sizes)

    def _files(self) -> Iterator[tuple[str, str | os.DirEntry[str]]]:
        for path in self._paths:
            if os.path.isdir(path):
                start = os.path.relpath(path, self._root)
                yield from _walk(path, "" if start == "." else start.replace(os.sep, "/") + "/")
            elif os.path.exists(path):
                yield os.path.relpath(path, self._root).replace(os.sep, "/"), path
            else:
                raise no_such_path("folders and pictures that exist", path)


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Give the pictures in a folder and its subfolders with their names, sorted."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"source: the folder {folder!r} cannot be read: {error.strerror}") from error
    results = {JOB, SHARDS} <= {entry.name for entry in entries}
    for entry in entries:
        if entry.name.startswith(".") or (results and is_ours(entry.name)):
            continue  # results are no inputs
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.name.lower().endswith(PICTURE_SUFFIXES) and not entry.is_dir():
            yield prefix + entry.name, entry


def marks_of(file: str | os.DirEntry[str], *, hashed: bool = False) -> tuple[int, int, int]:
    """Give size, time of the last change, and hash; -1 and 0 for what is no file, or cannot be read."""
    size = time = -1
    with suppress(OSError):  # such as a link to nowhere: an item that cannot be read, and is told as such
        status = os.stat(file) if isinstance(file, str) else file.stat()
        if stat.S_ISREG(status.st_mode):
            size, time = status.st_size, status.st_mtime_ns
            if hashed:
                with open_regular(file) as opened:
                    return size, time, short_hash(opened.read())
    return size, time, 0


def _top(name: str) -> str | None:
    top, slash, _ = name.partition("/")
    return top if slash else None

"""Samples in tar files, in webdataset's convention: ``0001.jpg`` and ``0001.cls`` side by side make one sample."""

from __future__ import annotations

import functools
import glob
import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from xai_fast.errors import InputError, bad_argument
from xai_fast.files import open_regular
from xai_fast.jobs.sources.base import Listing, Read, Source, names_of, no_such_path, paths_of
from xai_fast.jobs.sources.describe import PICTURE_SUFFIXES
from xai_fast.jobs.sources.pictures import make_decoder
from xai_fast.jobs.store.job_file import ItemError, Status

__all__ = ["WebDatasetSource"]

_FIELDS = (*(suffix[1:] for suffix in PICTURE_SUFFIXES), "npy")
_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")
_LABEL = "cls"
_LONGEST_LABEL = 32
_OPEN_AT_ONCE = 4
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LARGEST_RANGE = 1_000_000
_Members = dict[str, tarfile.TarInfo]


class WebDatasetSource(Source):
    """Samples of tar files: a picture or an array (``.npy``), with its class in a file ``.cls`` where there is one.

    Where the samples lie in their tars is part of the frozen list, so each is read at its place; nothing is extracted.
    An item is called after its tar and its key, such as ``train-000012.tar/0001``. "path" may have a range
    ``train-{000000..000099}.tar``; "field" is the suffix of the picture or array, or a list in order of preference.
    """

    kind = "webdataset"
    watches_late = True
    columns = ("tar", "offset", "size", "npy", "label")

    def __init__(self, described: Mapping[str, Any], decoder: str) -> None:
        self._decode = make_decoder(decoder)
        named = names_of("field", described.get("field"), "the suffix of the picture or array, such as jpg")
        self._fields = tuple(name.lower().lstrip(".") for name in named) or _FIELDS
        paths = _expanded(paths_of(described))
        root = os.path.commonpath([os.path.dirname(path) for path in paths])
        self.files = {os.path.relpath(path, root).replace(os.sep, "/"): path for path in paths}
        self._tar = functools.lru_cache(_OPEN_AT_ONCE)(self._opened)  # items come in the order of their tars

    def listing(self) -> Listing:
        """List the tar and the key of each sample."""
        if next(self._rows(), None) is None:
            raise bad_argument("source", "at least one sample", f"none in {', '.join(list(self.files)[:3])}")
        return self._rows()

    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Read a sample at its place in its tar."""
        del as_it_is
        tar, offset, size, npy = (self.items.value(column, index) for column in self.columns[:4])
        if tar is None or offset is None or size is None or not 0 <= tar < len(self._marks):
            raise ItemError(Status.UNREADABLE, "expected a place in one of the tars, got none")
        if size < 0:
            raise ItemError(Status.UNREADABLE, f"expected a file {' or '.join(self._fields)} in the sample")
        data = self._tar(list(self._marks)[tar]).content(offset, size)
        if len(data) != size:
            raise ItemError(Status.UNREADABLE, "the tar ends within the sample")
        return Read(_array(data) if npy else self._decode(data), self.label(index))

    def _rows(self) -> Iterator[tuple[str, Sequence[int]]]:
        for number, (name, path) in enumerate(self.files.items()):
            for key, members in _samples(path):
                field = next((field for field in self._fields if field in members), None)
                label = _label(path, members.get(_LABEL))
                place = (-1, -1) if field is None else (members[field].offset_data, members[field].size)
                yield f"{name}/{key}", (number, *place, int((field or "").rpartition(".")[2] == "npy"), label)

    def _opened(self, name: str) -> _Tar:
        """Open a tar, and compare its content."""
        if name not in self._watched:
            self.watch(name)
        return _Tar(self.files[name])


class _Tar:
    """An open tar, read from at any place by any thread."""

    def __init__(self, path: str) -> None:
        self._file = open_regular(path)
        self._size = os.fstat(self._file.fileno()).st_size

    def content(self, offset: int, size: int) -> bytes:
        whole = 0 <= offset <= offset + size <= self._size
        return os.pread(self._file.fileno(), size, offset) if whole else b""

    def __del__(self) -> None:
        # By the last thread that reads from it, after it has left the cache.
        if hasattr(self, "_file"):
            self._file.close()


def _samples(path: str) -> Iterator[tuple[str, _Members]]:
    """Give the plain files that stand side by side and have the same name up to the first dot, by their suffixes."""
    key, members = "", _Members()
    for member in _files(path):
        matched = _KEY.fullmatch(_checked(path, member.name))
        if matched is None:
            continue
        if matched[1] != key and members:
            yield key, members
            members = {}
        key = matched[1]
        members[matched[2].lower()] = member
    if members:
        yield key, members


def _files(path: str) -> Iterator[tarfile.TarInfo]:
    last = -1
    try:
        with open_regular(path) as file, tarfile.open(fileobj=io.BufferedReader(file), mode="r:") as archive:
            while (member := archive.next()) is not None:
                if member.size < 0 or member.offset <= last:  # of some releases of Python it would lead in a circle
                    raise tarfile.ReadError(f"a header with a negative size, {member.name!r}")
                last = member.offset
                archive.members = []  # type: ignore[attr-defined]  # else an object for each stays
                if member.isreg() and not member.issparse():
                    yield member
    except (tarfile.TarError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
        compressed = "; a compressed one has to be unpacked first" if _is_compressed(path) else ""
        raise InputError(f"source: {path} is no tar file that can be read: {error}{compressed}") from error
    except OSError as error:
        raise InputError(f"source: {path} cannot be read: {error.strerror or error}") from error


def _is_compressed(path: str) -> bool:
    with open_regular(path) as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _checked(path: str, name: str) -> str:
    name = name.removeprefix("./")
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise InputError(f"source: expected names of files inside {path}, got {name!r}")
    return name


def _label(path: str, member: tarfile.TarInfo | None) -> int:
    if member is None:
        return -1
    with open_regular(path) as file:
        file.seek(member.offset_data)
        text = file.read(min(member.size, _LONGEST_LABEL)).strip()
    return int(text) if text.isdigit() and len(text) <= 18 else -1


def _expanded(patterns: Sequence[str]) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        found = [p for text in _ranges(pattern) for p in ([text] if os.path.isfile(text) else sorted(glob.glob(text)))]
        if not found:
            raise no_such_path("tar files that exist", pattern)
        paths += found
    missing = next((path for path in paths if not path.lower().endswith(".tar")), None)
    if missing is not None:
        raise bad_argument("source", "files that end in .tar", repr(missing))
    return list(dict.fromkeys(paths))


def _ranges(pattern: str) -> Iterator[str]:
    matched = _RANGE.search(pattern)
    if matched is None:
        yield pattern
        return
    low, high = int(matched[1]), int(matched[2])
    if not low <= high < low + _LARGEST_RANGE or _RANGE.search(pattern, matched.end()):
        raise bad_argument("source", f"one range, that rises by less than {_LARGEST_RANGE}", pattern)
    for number in range(low, high + 1):
        yield f"{pattern[: matched.start()]}{number:0{len(matched[1])}}{pattern[matched.end() :]}"


def _array(data: bytes) -> Any:
    try:
        return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise ItemError(Status.UNREADABLE, f"no array that numpy can read: {error}") from error

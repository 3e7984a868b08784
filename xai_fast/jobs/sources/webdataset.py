"""Samples in tar files, in webdataset's convention: ``0001.jpg`` and ``0001.cls`` side by side make one sample."""

from __future__ import annotations

import glob
import io
import os
import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xai_fast.errors import bad_argument
from xai_fast.jobs.sources.base import FrozenItems, ItemError, Read, Source, Stamp, no_such_path
from xai_fast.jobs.sources.decoding import make_decoder
from xai_fast.jobs.sources.describe import PICTURE_SUFFIXES
from xai_fast.jobs.sources.names import PackedNames
from xai_fast.jobs.sources.tar_index import Member, TarFile, samples
from xai_fast.jobs.store.layout import Status

__all__ = ["WebDatasetSource"]

_FIELDS = (*(suffix[1:] for suffix in PICTURE_SUFFIXES), "npy")
_LABEL = "cls"
_OPEN_AT_ONCE = 4
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_LARGEST_RANGE = 1_000_000


class WebDatasetSource(Source):
    """Samples of tar files: a picture or an array (``.npy``), with its class in a file ``.cls`` where there is one.

    The samples are read at their place in the tar; nothing is extracted. An item is called after its tar and its key,
    such as ``train-000012.tar/0001``.

    Args:
        described: "path", a tar, a glob or a list of these, also with a range ``train-{000000..000099}.tar``; "field",
            the suffix of the picture or array, or a list of them in order of preference.
        decoder: of pictures.
        items: the frozen list; None to read the headers of all tars.

    Raises:
        InputError: there is no tar, one cannot be read, or there is no sample.
    """

    kind = "webdataset"
    regular = False

    def __init__(
        self, described: Mapping[str, object], *, decoder: str = "pillow", items: FrozenItems | None = None
    ) -> None:
        self._decode = make_decoder(decoder)
        self._fields = _checked_fields(described.get("field"))
        given = described["path"]
        paths = _expanded([str(path) for path in given] if isinstance(given, list) else [str(given)])
        self._root = os.path.commonpath([os.path.dirname(path) for path in paths])
        self._tars = {os.path.relpath(path, self._root).replace(os.sep, "/"): path for path in paths}
        self._items = items
        self._names, self._stamps = PackedNames(), array("q")
        self._open: OrderedDict[str, TarFile] = OrderedDict()
        self._lock = threading.Lock()
        if items is None:
            self._search()

    def __len__(self) -> int:
        return len(self._names) if self._items is None else len(self._items)

    def ids(self) -> Sequence[str] | range:
        """Return the tar and the key of each sample."""
        return self._names if self._items is None else PackedNames(self._items.id(i) for i in range(len(self)))

    def stamps(self) -> NDArray[np.int64] | None:
        """Return the size of each sample's picture or array, and the time of the last change of its tar."""
        if self._items is not None:
            found = [self._items.stamp(i) or (-1, -1) for i in range(len(self))]
            return np.array(found, dtype=np.int64).reshape(-1, 2)
        return np.frombuffer(self._stamps, dtype=np.int64).reshape(-1, 2)

    def identity(self) -> dict[str, object]:
        """Return the numbers of samples and tars; whether a tar has changed is found when it is read."""
        return {"kind": self.kind, "count": len(self), "tars": len(self._tars)}

    def read(self, index: int, stamp: Stamp | None = None) -> Read:
        """Read a sample at its place in its tar."""
        name = self._names[index] if self._items is None else self._items.id(index)
        tar = self._tar(name)
        members = tar.samples.get(name[len(_relative(tar.path, self._root)) + 1 :])
        if stamp is not None and tar.mark[2] != stamp[1]:
            raise ItemError(Status.CHANGED, f"{tar.path} is not what it was when the job began")
        if members is None:
            raise ItemError(Status.UNREADABLE, f"no such sample in {tar.path}")
        field, member = self._chosen(members)
        if member is None:
            there = ", ".join(sorted(members))
            raise ItemError(Status.UNREADABLE, f"expected a file {' or '.join(self._fields)}, got {there}")
        data = _whole(tar, member)
        value = _array(data) if field.rpartition(".")[2] == "npy" else self._decode(data)
        return Read(value, _label(_whole(tar, members[_LABEL])) if _LABEL in members else None)

    def _chosen(self, members: Mapping[str, Member]) -> tuple[str, Member | None]:
        field = next((field for field in self._fields if field in members), "")
        return field, members.get(field)

    def _search(self) -> None:
        for name, path in self._tars.items():
            changed = os.stat(path).st_mtime_ns
            for sample in samples(path):
                member = self._chosen(sample.members)[1]
                self._names.append(f"{name}/{sample.key}")
                self._stamps.extend((-1 if member is None else member.size, changed))
        if not len(self._names):
            raise bad_argument("source", "at least one sample", f"none in {', '.join(list(self._tars)[:3])}")

    def _tar(self, name: str) -> TarFile:
        """Give the open tar of an item; few are open at once, and items come in the order of their tars."""
        end = name.find("/")
        while end >= 0 and name[:end] not in self._tars:
            end = name.find("/", end + 1)
        if end < 0:
            raise ItemError(Status.UNREADABLE, f"expected an item of one of {len(self._tars)} tars, got {name!r}")
        path = self._tars[name[:end]]
        try:
            status = os.stat(path)
        except OSError as error:
            raise ItemError(Status.UNREADABLE, f"{path}: {error.strerror}") from error
        mark = (status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            tar = self._open.pop(path, None)
            if tar is None or tar.mark != mark:
                tar = TarFile(path)
            self._open[path] = tar
            if len(self._open) > _OPEN_AT_ONCE:
                self._open.popitem(last=False)
            return tar


def _relative(path: str, root: str) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


def _checked_fields(fields: object) -> tuple[str, ...]:
    if fields is None:
        return _FIELDS
    named = [fields] if isinstance(fields, str) else fields
    if not isinstance(named, list) or not named or not all(isinstance(f, str) and f for f in named):
        raise bad_argument("source.field", "the suffix of the picture or array, such as jpg", repr(fields))
    return tuple(str(field).lower().lstrip(".") for field in named)


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


def _whole(tar: TarFile, member: Member) -> bytes:
    data = tar.content(member)
    if len(data) != member.size:
        raise ItemError(Status.UNREADABLE, f"{tar.path} ends within the sample")
    return data


def _array(data: bytes) -> Any:
    try:
        return torch.from_numpy(np.load(io.BytesIO(data), allow_pickle=False))
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise ItemError(Status.UNREADABLE, f"no array that numpy can read: {error}") from error


def _label(data: bytes) -> int | None:
    text = data[:32].strip()
    return int(text) if text.isdigit() else None

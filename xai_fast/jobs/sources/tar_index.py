"""Where the samples of a tar file are. Nothing is ever extracted to the disk."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from xai_fast.errors import InputError
from xai_fast.jobs.sources.tar_headers import plain_files

__all__ = ["Member", "Sample", "TarFile", "samples"]

_KEY = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)")


class Member(NamedTuple):
    """A file in the tar: where its bytes begin, and how many there are."""

    offset: int
    size: int


@dataclass(frozen=True)
class Sample:
    """Files that stand side by side and have the same name up to the first dot.

    Attributes:
        key: the name up to the dot.
        members: what comes after the dot, in lower case, to the file.
    """

    key: str
    members: dict[str, Member]


def samples(path: str) -> Iterator[Sample]:
    """Read the headers of a tar file, in webdataset's convention.

    Only plain files count: links, devices and sparse files are passed over, as are hidden files and those without a
    suffix.

    Args:
        path: of an uncompressed tar file.

    Yields:
        Its samples, in their order.

    Raises:
        InputError: it is no tar file, is compressed or truncated, or a name in it leads out of it.
    """
    try:
        key, members = "", dict[str, Member]()
        for name, offset, size in plain_files(path):
            matched = _KEY.fullmatch(_checked(path, name))
            if matched is None:
                continue
            if matched[1] != key and members:
                yield Sample(key, members)
                members = {}
            key = matched[1]
            members[matched[2].lower()] = Member(offset, size)
        if members:
            yield Sample(key, members)
    except tarfile.ReadError as error:
        hint = ""
        if tarfile_is_compressed(path):
            hint = " (it is compressed, so that no item can be found without reading all before it; unpack it first)"
        raise InputError(f"source: {path} is no tar file that can be read: {error}{hint}") from error
    except OSError as error:
        raise InputError(f"source: {path} cannot be read: {error.strerror or error}") from error


class TarFile:
    """An open tar file, read from at any place by any thread.

    Args:
        path: of the file.

    Raises:
        InputError: it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise InputError(f"source: {path} cannot be read: {error.strerror}") from error
        status = os.fstat(self._descriptor)
        self.mark = (status.st_ino, status.st_size, status.st_mtime_ns)
        try:
            self.samples = {sample.key: sample.members for sample in samples(path)}
        except BaseException:
            os.close(self._descriptor)
            raise

    def content(self, member: Member) -> bytes:
        """Read a file in the tar; fewer bytes than it should have where the tar was cut off."""
        if not 0 <= member.size <= self.mark[1] - member.offset:
            return b""
        return os.pread(self._descriptor, member.size, member.offset)

    def __del__(self) -> None:
        # By the last thread that reads from it, after it has left the cache.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def tarfile_is_compressed(path: str) -> bool:
    """Tell whether a file begins like one of gzip, bzip2, xz or zstd."""
    with open(path, "rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))


def _checked(path: str, name: str) -> str:
    name = name.removeprefix("./")
    if name.startswith("/") or "\0" in name or ".." in name.split("/"):
        raise InputError(f"source: expected names of files inside {path}, got {name!r}")
    return name

"""The headers of a tar file, one after the other, at a few microseconds each.

The standard library's `tarfile` makes an object of some twenty fields for each header, which takes minutes for a few
million samples. Here only name, place and size of plain files are read; where a header is of a kind that is rare in
data sets (global PAX records, sparse files, types that nobody knows), the rest is left to `tarfile`.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["PlainFile", "plain_files"]

_BLOCK = 512
_LONGEST_RECORDS = 1 << 20
_PLAIN = frozenset(b"07\0")
_WITHOUT_DATA = frozenset(b"123456")
_FORGET_AFTER = 1000
_OCTAL = re.compile(rb"[0-7]*")


class PlainFile(NamedTuple):
    """A plain file in a tar: its name, where its bytes begin, and how many there are."""

    name: str
    offset: int
    size: int


class _Unusual(Exception):
    """A header that `tarfile` reads better."""


def plain_files(path: str) -> Iterator[PlainFile]:
    """Read the headers of an uncompressed tar file. Links, folders, devices and sparse files are passed over.

    Args:
        path: of the file.

    Yields:
        Its plain files, in their order.

    Raises:
        OSError: it cannot be read.
        tarfile.ReadError: it is no tar file, or truncated.
    """
    count = 0
    try:
        with open(path, "rb", buffering=0) as file:
            for found in _quickly(file.fileno(), os.fstat(file.fileno()).st_size):
                count += 1
                yield found
        return
    except _Unusual:
        pass
    for number, found in enumerate(_thoroughly(path)):
        if number >= count:
            yield found


def _quickly(descriptor: int, length: int) -> Iterator[PlainFile]:
    position = 0
    longer: dict[str, str] = {}
    while True:
        block = os.pread(descriptor, _BLOCK, position)
        if not position and not block.strip(b"\0"):
            raise _Unusual  # `tarfile` tells an empty archive from an empty file
        if len(block) < _BLOCK or not block.strip(b"\0"):
            if position > length or 0 < len(block) < _BLOCK:
                raise tarfile.ReadError("unexpected end of data")
            return
        _check_sum(block)
        position += _BLOCK
        kind, size = block[156], _number(block[124:136])
        if kind in b"xL":
            longer |= _records(os.pread(descriptor, _checked_length(size), position), size, kind)
        elif kind in _WITHOUT_DATA or (not kind and block[:100].rstrip(b"\0").endswith(b"/")):
            longer = {}  # the latter is how old archives write folders
            continue
        elif kind in _PLAIN:
            size = int(longer.get("size", size))
            name = longer.get("path") or _name(block)
            longer = {}
            if position + size > length:
                raise tarfile.ReadError("unexpected end of data")
            yield PlainFile(name, position, size)
        elif kind != ord("K"):
            raise _Unusual
        position += -(-size // _BLOCK) * _BLOCK


def _thoroughly(path: str) -> Iterator[PlainFile]:
    last = -1
    try:
        with tarfile.open(path, "r:") as archive:
            for count, member in enumerate(archive, 1):
                if member.size < 0 or member.offset <= last:  # of some releases of Python it would lead in a circle
                    raise tarfile.ReadError(f"a header with a negative size, {member.name!r}")
                last = member.offset
                if count % _FORGET_AFTER == 0:
                    archive.members.clear()  # type: ignore[attr-defined]  # else an object for each stays
                if member.isreg() and not member.issparse():
                    yield PlainFile(member.name, member.offset_data, member.size)
    except (ValueError, LookupError, ArithmeticError, RecursionError) as error:  # it checks little of what it reads
        raise tarfile.ReadError(f"a header that makes no sense: {error}") from error


def _check_sum(block: bytes) -> None:
    # The sum of all bytes, the field of the sum itself counted as eight spaces.
    if _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 32:
        raise _Unusual  # very old archives count bytes as signed


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU's form for what eight octal digits cannot hold
        raise _Unusual
    digits = field.split(b"\0", 1)[0].strip()
    if not _OCTAL.fullmatch(digits):  # `int` takes signs too, and a negative size leads back to the same header
        raise _Unusual
    return int(digits or b"0", 8)


def _checked_length(size: int) -> int:
    if size > _LONGEST_RECORDS:
        raise _Unusual
    return size


def _name(block: bytes) -> str:
    name, prefix = (block[start:stop].split(b"\0", 1)[0] for start, stop in ((0, 100), (345, 500)))
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _records(data: bytes, size: int, kind: int) -> dict[str, str]:
    """Read what is said of the next header: GNU's long name, or PAX records ``length key=value``."""
    if len(data) < size:
        raise tarfile.ReadError("unexpected end of data")
    if kind == ord("L"):
        return {"path": data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")}
    found = {}
    while data.strip(b"\0"):
        digits, space, _ = data.partition(b" ")
        if not space or not digits.isdigit() or not len(digits) + 2 < int(digits) <= len(data):
            raise _Unusual
        record, data = data[len(digits) + 1 : int(digits)], data[int(digits) :]
        key, equals, value = record[:-1].partition(b"=")
        if not equals or record[-1:] != b"\n" or key.startswith((b"GNU.sparse", b"hdrcharset")):
            raise _Unusual
        if key in (b"path", b"size"):
            text = value.decode("utf-8", "surrogateescape")
            found[key.decode()] = text.rstrip("/") if key == b"path" else text
    if not found.get("size", "0").isdecimal():
        raise _Unusual
    return found

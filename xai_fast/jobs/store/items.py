"""The frozen, ordered list of the items of a job; a million of them stay in a memory map."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import struct
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from xai_fast.arguments import check_integer
from xai_fast.errors import InputError, StoreError, bad_argument
from xai_fast.jobs.store.folders import Folder, dump_json, load_json, unique_name
from xai_fast.jobs.store.layout import (
    FORMAT,
    MAXIMUM_ITEMS,
    Layout,
    frozen_digest,
    is_digest,
    is_whole,
    read_job,
)

__all__ = ["Items"]

_DESCRIPTION = "items.json"
_LIMIT = 1 << 16
_BLOCK = 1 << 16
_NO_OFFSETS = np.zeros(1, dtype="<u8")


class Items:
    """The items of a job: their ids, in an order that never changes.

    Args:
        count: the number of items.
        sha256: of the list.
        ids: the UTF-8 of all ids, one after the other, or None where an id is the number of its item.
        offsets: (count + 1,) uint64, where each id begins and ends.
        stamps: (count, 2) int64: size in bytes and time of change in nanoseconds of each file, or None.
        where: the folder, for messages.
    """

    def __init__(
        self,
        count: int,
        sha256: str,
        ids: mmap.mmap | bytes | None = None,
        offsets: np.ndarray = _NO_OFFSETS,
        stamps: np.ndarray | None = None,
        where: object = "items",
    ) -> None:
        self.sha256 = sha256
        self._count, self._ids, self._offsets, self._stamps, self._where = count, ids, offsets, stamps, where

    @staticmethod
    def freeze(layout: Layout, ids: Iterable[str] | range, stamps: np.ndarray | None = None) -> Items:
        """Write the list, once.

        Args:
            layout: the store.
            ids: all different; ``range(n)`` where the items are numbered only.
            stamps: (n, 2) integers: size and time of change (nanoseconds) of each item's file.

        Returns:
            The list. Where one was written before, it has to be the same, unless it belongs to no job: a run that was
            killed before it wrote ``job.json`` leaves such a list, which is replaced.

        Raises:
            InputError: an id comes twice, or the stamps do not fit.
            StoreError: it cannot be written, or there is another list.
        """
        layout.create()
        name = f".tmp-items-{unique_name()}"
        try:
            with layout.folder(name, create=True) as folder:
                frozen = _write(folder, ids, stamps)
            with layout.folder() as root:
                if not _move(root, name, layout.items.name) and frozen_digest(layout) != frozen and not layout.exists:
                    _exchange(layout, root, name, frozen)
        finally:
            shutil.rmtree(layout.root / name, ignore_errors=True)
        items = Items.open(layout)
        if items.sha256 != frozen:
            raise StoreError(f"{layout.items}: expected the list of items of this job, got another")
        return items

    @staticmethod
    def open(layout: Layout) -> Items:
        """Open the list.

        Args:
            layout: the store.

        Returns:
            The list.

        Raises:
            StoreError: there is none, or it is not what it should be.
        """
        with layout.folder(layout.items.name) as folder:
            document = load_json(folder.read(_DESCRIPTION, _LIMIT), layout.items / _DESCRIPTION, _is_description)
            count, sha256 = document["count"], document["sha256"]
            if document["kind"] == "range":
                return Items(count, sha256, where=layout.items)
            offsets = _map_array(folder, "offsets.npy", "<u8", (count + 1,))
            stamps = _map_array(folder, "stamps.npy", "<i8", (count, 2)) if document["stamps"] else None
            return Items(count, sha256, _map(folder, "ids.bin", int(offsets[-1])), offsets, stamps, layout.items)

    def __len__(self) -> int:
        return self._count

    @property
    def numbered(self) -> bool:
        """Whether items have no names but their numbers."""
        return self._ids is None

    def __iter__(self) -> Iterator[str]:
        return map(self.id, range(self._count))

    def id(self, i: int) -> str:
        """Return the id of an item.

        Args:
            i: its number.

        Returns:
            The id.

        Raises:
            StoreError: the list is damaged there.
        """
        if self._ids is None:
            return str(self._check(i))
        return self._bytes(self._ids, i).decode("utf-8", "surrogateescape")

    def item_id(self, i: int) -> int:
        """Return the number that the random points of an item depend on.

        Args:
            i: its number in the job.

        Returns:
            The first 8 bytes of the sha256 of its id, halved, so that it depends on the id only; in a range, i itself.

        Raises:
            StoreError: the list is damaged there.
        """
        if self._ids is None:
            return self._check(i)
        return _hash(self._bytes(self._ids, i)) >> 1

    def index(self, id: str) -> int:
        """Find an item.

        Args:
            id: of the item.

        Returns:
            Its number.

        Raises:
            InputError: there is none.
            StoreError: the list is damaged.
        """
        if self._ids is None:
            found = self._find_number(id)
        else:
            found = self._find(self._ids, id.encode("utf-8", "surrogateescape"))
        if found is None:
            raise bad_argument("id", f"one of the {self._count} items of the job", repr(id)[:200])
        return found

    def stamp(self, i: int) -> tuple[int, int] | None:
        """Return the size and the time of change (nanoseconds) of an item's file, or None.

        Args:
            i: the item's number.

        Returns:
            Both as they were when the list was frozen.
        """
        self._check(i)
        return None if self._stamps is None else (int(self._stamps[i, 0]), int(self._stamps[i, 1]))

    def digest(self) -> str:
        """Compute the sha256 of the list anew, from what is on the disk.

        Returns:
            Hexadecimal digits, equal to ``sha256`` unless it is damaged.
        """
        return _digest(self._count, self._ids or b"", self._offsets, self._stamps)

    def _check(self, i: int) -> int:
        return check_integer("i", i, 0, self._count - 1)

    def _bytes(self, ids: mmap.mmap | bytes, i: int) -> bytes:
        self._check(i)
        begin, end = int(self._offsets[i]), int(self._offsets[i + 1])
        if not begin <= end <= len(ids):
            raise StoreError(f"{self._where}: expected the place of id {i} within the file, got {begin}-{end}")
        return ids[begin:end]

    def _find_number(self, id: str) -> int | None:
        number = int(id) if id.isascii() and id.isdigit() and len(id) < 16 else self._count
        return number if str(number) == id and number < self._count else None

    def _find(self, ids: mmap.mmap | bytes, wanted: bytes) -> int | None:
        content = np.frombuffer(ids, dtype=np.uint8)
        for first in range(0, self._count, _BLOCK):
            edges = self._offsets[first : min(first + _BLOCK, self._count) + 1]
            inside = (edges[1:] - edges[:-1] == len(wanted)) & (edges[1:] <= len(content))
            candidates = np.flatnonzero(inside & (edges[1:] >= edges[:-1]))
            places = edges[candidates].astype(np.int64)
            for k, byte in enumerate(wanted):  # ids differ in few of their bytes, so the candidates thin out quickly
                same = content[places + k] == byte
                candidates, places = candidates[same], places[same]
            if len(candidates):
                return first + int(candidates[0])
        return None


def _is_description(document: Any) -> bool:
    return (
        isinstance(document, dict)
        and document.get("format") == FORMAT
        and document.get("kind") in ("range", "list")
        and is_whole(document.get("count"))
        and is_digest(document.get("sha256"))
        and isinstance(document.get("stamps"), bool)
    )


def _write(folder: Folder, ids: Iterable[str] | range, stamps: np.ndarray | None) -> str:
    """Write the files of a list; returns its sha256."""
    if isinstance(ids, range):
        if ids.start != 0 or ids.step != 1 or len(ids) > MAXIMUM_ITEMS:
            raise bad_argument("ids", "range(n), or ids that are strings", repr(ids))
        if stamps is not None:
            raise bad_argument("stamps", "None where items are only numbered", "an array")
        count, sha256 = len(ids), _digest(len(ids), b"", _NO_OFFSETS, None)
    else:
        count, sha256 = _write_list(folder, ids, stamps)
    kind = "range" if isinstance(ids, range) else "list"
    document = {"format": FORMAT, "kind": kind, "count": count, "sha256": sha256, "stamps": stamps is not None}
    folder.replace(_DESCRIPTION, dump_json(document))
    return sha256


def _write_list(folder: Folder, ids: Iterable[str], stamps: np.ndarray | None) -> tuple[int, str]:
    offsets, hashes = array("Q", [0]), array("Q")
    folder.rename(folder.write_temporary(_encode(ids, offsets, hashes)), "ids.bin")
    count = len(hashes)
    edges = np.frombuffer(offsets, dtype=np.uint64).astype("<u8")
    checked = None if stamps is None else np.ascontiguousarray(stamps, dtype="<i8")
    if checked is not None and checked.shape != (count, 2):
        raise bad_argument("stamps", f"({count}, 2) integers", str(checked.shape))
    content = _map(folder, "ids.bin", int(edges[-1]))
    _check_unique(np.frombuffer(hashes, dtype=np.uint64), edges, content)
    _write_array(folder, "offsets.npy", edges)
    if checked is not None:
        _write_array(folder, "stamps.npy", checked)
    return count, _digest(count, content, edges, checked)


def _encode(ids: Iterable[str], offsets: array[int], hashes: array[int]) -> Iterator[bytes]:
    """Yield the ids in blocks, and note where each of them ends."""
    block: list[bytes] = []
    end = 0
    for id in ids:
        if not isinstance(id, str):
            raise bad_argument("ids", "strings", repr(id)[:200])
        # File names need not be UTF-8; Python keeps their odd bytes as surrogates.
        text = id.encode("utf-8", "surrogateescape")
        end += len(text)
        offsets.append(end)
        hashes.append(_hash(text))
        block.append(text)
        if len(block) == _BLOCK:
            yield b"".join(block)
            block.clear()
    yield b"".join(block)


def _check_unique(hashes: np.ndarray, edges: np.ndarray, content: mmap.mmap | bytes) -> None:
    order = np.argsort(hashes, kind="stable")
    for place in np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]]):
        first, second = int(order[place]), int(order[place + 1])
        one, other = (content[int(edges[i]) : int(edges[i + 1])] for i in (first, second))
        if one == other:
            name = one.decode("utf-8", "replace")
            raise InputError(f"ids: expected all different, got {name[:200]!r} as items {first} and {second}")


def _move(root: Folder, name: str, final: str) -> bool:
    """Give the folder of the list its name; a list that is there stays. Returns whether it got the name."""
    try:
        # Unlike a file, a folder with something in it is never replaced, so the first one wins.
        os.rename(name, final, src_dir_fd=root.fd, dst_dir_fd=root.fd)
        os.fsync(root.fd)
    except OSError as error:
        if not root.exists(final):
            raise StoreError(f"{root.path / final}: cannot write: {error.strerror}") from error
        return False
    return True


def _exchange(layout: Layout, root: Folder, name: str, frozen: str) -> None:
    """Put a list in the place of one that belongs to no job.

    The other list may yet be of a run that is just about to write ``job.json``. `create_job` looks at the list after
    it wrote that file, as this looks for the file after it moved the list: at least one of both sees the other.
    """
    old = f".tmp-items-{unique_name()}"
    try:
        _rename(root, layout.items.name, old)
        _move(root, name, layout.items.name)
        if layout.exists and read_job(layout)["items"]["sha256"] != frozen:
            _rename(root, layout.items.name, name)
            _move(root, old, layout.items.name)
    finally:
        shutil.rmtree(layout.root / old, ignore_errors=True)


def _rename(root: Folder, name: str, other: str) -> None:
    try:
        os.rename(name, other, src_dir_fd=root.fd, dst_dir_fd=root.fd)
    except FileNotFoundError:  # another run has just done so
        pass
    except OSError as error:
        raise StoreError(f"{root.path / name}: cannot rename: {error.strerror}") from error


def _hash(text: bytes) -> int:
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def _digest(count: int, ids: mmap.mmap | bytes, offsets: np.ndarray, stamps: np.ndarray | None) -> str:
    digest = hashlib.sha256(struct.pack("<Q?", count, stamps is not None))
    for content in (ids, offsets, stamps):
        if content is not None and len(content):
            digest.update(content.data.cast("B") if isinstance(content, np.ndarray) else content)
    return digest.hexdigest()


def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Return the one header that such an array has here; a reader compares, so that he need not parse what came."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + text.ljust(117).encode() + b"\n"


def _write_array(folder: Folder, name: str, values: np.ndarray) -> None:
    header = _npy_header(values.dtype.str, values.shape)
    folder.rename(folder.write_temporary([header, values.data.cast("B") if values.size else b""]), name)


def _map_array(folder: Folder, name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    header = _npy_header(dtype, shape)
    values = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object))
    content = _map(folder, name, len(header) + values)
    if content[: len(header)] != header:
        raise StoreError(f"{folder.path / name}: expected an array {dtype} {shape}, got something else")
    return np.frombuffer(content, dtype=dtype, offset=len(header)).reshape(shape)


def _map(folder: Folder, name: str, size: int) -> mmap.mmap | bytes:
    fd = folder.open_file(name)
    try:
        found = os.fstat(fd).st_size
        if found != size:
            raise StoreError(f"{folder.path / name}: expected {size} bytes, got {found}")
        return mmap.mmap(fd, size, access=mmap.ACCESS_READ) if size else b""
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder.path / name}: cannot map it into memory: {error}") from error
    finally:
        os.close(fd)

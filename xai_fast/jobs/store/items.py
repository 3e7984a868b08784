"""The frozen, ordered list of the items of a job, in safetensors files of a million items each.

Items that are numbered need no list. Others have a name, and columns of what their source has to know of each: the size
of a file, its hash, its place in a tar. Only what is looked at is read.
"""

from __future__ import annotations

import functools
import hashlib
import re
import secrets
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.job_file import is_whole
from xai_fast.jobs.store.shards import content_hash, load_tensors

__all__ = ["Items"]

_PER_FILE = 1 << 20
_FOLDER = re.compile("items-[0-9a-f]{1,64}")
_NAMES, _ENDS, _COLUMN = "names", "ends", "column."


class Items:
    """The items of a job, in an order that never changes; made from what `freeze` gave, as ``job.json`` holds it."""

    def __init__(self, root: Folder, described: Mapping[str, Any]) -> None:
        folder, count = described.get("folder"), described.get("count")
        if not is_whole(count) or not (folder is None or _FOLDER.fullmatch(str(folder))):
            raise StoreError(f"{root.path}: expected the description of a list of items, got {dict(described)}")
        self._count = int(described["count"])
        self._folder = None if folder is None else root.folder(folder)
        self._sha256 = described.get("sha256")
        self._piece = functools.lru_cache(maxsize=8)(self._load)

    @staticmethod
    def freeze(root: Folder, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[int]]]) -> dict[str, Any]:
        """Write a list."""
        name = f"items-{secrets.token_hex(6)}"
        folder = root.folder(name, create=True)
        whole, seen, count = hashlib.sha256(), array("q"), 0
        piece = _Piece(columns)
        for item, values in rows:
            seen.append(hash(item))
            piece.add(item, values)
            count += 1
            if len(piece) == _PER_FILE:
                whole.update(piece.write(folder, count).encode())
                piece = _Piece(columns)
        if len(piece):
            whole.update(piece.write(folder, count).encode())
        described = {"count": count, "folder": name, "sha256": whole.hexdigest()}
        _check_different(Items(root, described), np.frombuffer(seen, np.int64))
        return described

    def __len__(self) -> int:
        return self._count

    @property
    def numbered(self) -> bool:
        """Whether items have no names but their numbers."""
        return self._folder is None

    def id(self, i: int) -> str:
        """Return the name of an item: its number where items are only numbered."""
        if not 0 <= i < self._count:
            raise IndexError(f"item {i} of {self._count}")
        if self._folder is None:
            return str(i)
        piece, row = self._piece(i // _PER_FILE), i % _PER_FILE
        ends, names = piece[_ENDS], piece[_NAMES]
        start, stop = int(ends[row - 1]) if row else 0, int(ends[row])
        if not 0 <= start <= stop <= len(names):
            raise StoreError(f"{self._folder.path}: expected the name of item {i}, got none")
        return names[start:stop].numpy().tobytes().decode("utf-8", "surrogateescape")

    def value(self, column: str, i: int) -> int | None:
        """Return what a column says of an item; None where there is no such column."""
        if self._folder is None or not 0 <= i < self._count:
            return None
        values = self._piece(i // _PER_FILE).get(_COLUMN + column)
        return None if values is None else int(values[i % _PER_FILE])

    def check(self) -> None:
        """Read the whole list and compare its hash."""
        if self._folder is None:
            return
        state = hashlib.sha256()
        for number in range(-(-self._count // _PER_FILE)):
            state.update(content_hash({}, self._load(number)).encode())
        if state.hexdigest() != self._sha256:
            raise StoreError(f"{self._folder.path}: the list of items is not what was written: the sha256 is another")

    def _load(self, number: int) -> dict[str, Tensor]:
        assert self._folder is not None
        name = f"{number:06d}.safetensors"
        tensors = load_tensors(self._folder, name)[1]
        rows = min(_PER_FILE, self._count - number * _PER_FILE)
        ends, names = tensors.get(_ENDS), tensors.get(_NAMES)
        columns = [value for key, value in tensors.items() if key.startswith(_COLUMN)]
        if (
            ends is None
            or names is None
            or (names.ndim, names.dtype) != (1, torch.uint8)
            or any((value.ndim, len(value), value.dtype) != (1, rows, torch.int64) for value in [ends, *columns])
        ):
            raise StoreError(f"{self._folder.path / name}: expected the names of {rows} items, got something else")
        return tensors


class _Piece:
    """A million items on their way to a file."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._names, self._ends = bytearray(), array("q")
        self._columns = {column: array("q") for column in columns}

    def __len__(self) -> int:
        return len(self._ends)

    def add(self, name: str, values: Sequence[int]) -> None:
        self._names += name.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._names))
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def write(self, folder: Folder, count: int) -> str:
        """Write the file that ends with this number of items; return its hash."""
        tensors = {
            _NAMES: torch.frombuffer(self._names or bytearray(1), dtype=torch.uint8),
            _ENDS: torch.frombuffer(self._ends, dtype=torch.int64),
            **{_COLUMN + name: torch.frombuffer(values, dtype=torch.int64) for name, values in self._columns.items()},
        }
        folder.write(f"{(count - 1) // _PER_FILE:06d}.safetensors", save(tensors, {}))
        return content_hash({}, tensors)


def _check_different(items: Items, hashes: np.ndarray) -> None:
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    for i, j in zip(order[same].tolist(), order[same + 1].tolist(), strict=True):
        if items.id(i) == items.id(j):
            raise bad_argument("source", "items with different names", f"{items.id(i)!r} twice")

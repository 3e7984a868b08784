"""The file of a shard: the safetensors format, written in a stream and read through a memory map.

The file says nothing that the receipt does not say too, but for the length of the error texts. So a reader builds the
header that belongs to the receipt and compares: there is no header that could claim other offsets, types or sizes.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import StoreError
from xai_fast.jobs.store.codecs import CODECS
from xai_fast.jobs.store.fields import EXACT, Field
from xai_fast.jobs.store.folders import Folder, load_json
from xai_fast.jobs.store.layout import Status, is_whole
from xai_fast.jobs.store.rows import Rows

__all__ = ["Measured", "ShardFile", "write_rows"]

_CODES = {
    torch.int64: "I64",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_HEADER_LIMIT = 8 << 20
_ALIGNMENT = 64
_NOTHING = memoryview(b"")
_BLOCK = 16 << 20  # bytes of maps that are encoded at a time


class _Tensors:
    """Where each tensor of a shard lies; in the order of the safetensors library, widest numbers first, then names."""

    def __init__(self, fields: Mapping[str, Field], rows: int, text: int) -> None:
        shapes: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {
            "status": (torch.uint8, (rows,)),
            "error_offsets": (torch.int64, (rows + 1,)),
            "error_text": (torch.uint8, (text,)),
        }
        for name, field in fields.items():
            shapes[name] = (field.stored_dtype, (rows, *field.shape))
            if field.scaled:
                shapes[f"{name}.scale"] = (torch.float32, (rows,))
        self.places: dict[str, tuple[torch.dtype, tuple[int, ...], int]] = {}
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in sorted(shapes, key=lambda name: (-shapes[name][0].itemsize, name)):
            dtype, shape = shapes[name]
            begin, end = end, end + dtype.itemsize * _count(shape)
            self.places[name] = dtype, shape, begin
            header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
        text_of_header = json.dumps(header, separators=(",", ":")).encode()
        # Spaces at the end, as the format allows, so that the numbers begin at a multiple of 64 bytes.
        self.header = text_of_header + b" " * (-(8 + len(text_of_header)) % _ALIGNMENT)
        self.start = 8 + len(self.header)
        self.size = self.start + end


def _count(shape: Iterable[int]) -> int:
    count = 1
    for length in shape:
        count *= length
    return count


class Measured:
    """Passes chunks on and keeps their size and sha256.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, chunks: Iterable[bytes | memoryview]) -> None:
        self._chunks = chunks
        self._digest = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes | memoryview]:
        for chunk in self._chunks:
            self._digest.update(chunk)
            self.size += len(chunk)
            yield chunk

    @property
    def sha256(self) -> str:
        """Of all chunks so far, in hexadecimal digits."""
        return self._digest.hexdigest()


def write_rows(rows: Rows, fields: Mapping[str, Field]) -> Iterator[bytes | memoryview]:
    """Write the results of items as safetensors; equal results are equal bytes.

    Args:
        rows: the results.
        fields: how each of them is stored.

    Yields:
        The file, in pieces.
    """
    texts = ["" if reason is None else reason for reason in rows.reasons]
    encoded = [text.encode("utf-8", "backslashreplace") for text in texts]
    offsets = torch.tensor([0, *map(len, encoded)], dtype=torch.int64).cumsum(0)
    text = b"".join(encoded)
    tensors = _Tensors(fields, rows.count, len(text))
    scales = {f"{name}.scale": _scales(rows.fields[name], field) for name, field in fields.items() if field.scaled}
    small = {"status": rows.statuses, "error_offsets": offsets, **scales}
    yield len(tensors.header).to_bytes(8, "little") + tensors.header
    for name in tensors.places:
        if name == "error_text":
            yield text
        elif name in small:
            yield _bytes(small[name])
        else:
            yield from _encoded(rows.fields[name], fields[name], scales.get(f"{name}.scale"))


def _scales(values: Tensor, field: Field) -> Tensor:
    return torch.cat([torch.empty(0), *(CODECS[field.codec].scales(block) for block in _blocks(values))])


def _encoded(values: Tensor, field: Field, scales: Tensor | None) -> Iterator[memoryview]:
    first = 0
    for block in _blocks(values):
        if field.codec == EXACT:
            yield _bytes(block)
        else:
            beside = torch.ones(len(block)) if scales is None else scales[first : first + len(block)]
            yield _bytes(CODECS[field.codec].encode(block, beside))
        first += len(block)


def _blocks(values: Tensor) -> Iterator[Tensor]:
    """Split rows so that the memory for encoding stays small."""
    row = max(1, values[:1].numel() * values.element_size())
    step = max(1, _BLOCK // row)
    for first in range(0, len(values), step):
        yield values[first : first + step]


def _bytes(values: Tensor) -> memoryview:
    return memoryview(values.contiguous().reshape(-1).view(torch.uint8).numpy().data) if values.numel() else _NOTHING


class ShardFile:
    """The file of a shard, mapped into memory.

    Args:
        folder: where it is.
        name: its name there.
        rows: the number of items.
        fields: what is in it.
        size: its size in bytes, as the receipt says.

    Attributes:
        statuses: (rows,) uint8.

    Raises:
        StoreError: it is not there, or not the file that belongs to these fields.
    """

    def __init__(self, folder: Folder, name: str, rows: int, fields: Mapping[str, Field], size: int) -> None:
        self.path = folder.path / name
        self.rows, self.fields = rows, fields
        fd = folder.open_file(name)
        try:
            found = os.fstat(fd).st_size
            if found != size or size < 8:
                raise StoreError(f"{self.path}: expected {size} bytes as in the receipt, got {found}")
            # A private mapping: pages are shared until somebody writes to a tensor, and the file is never changed.
            self._map = mmap.mmap(fd, size, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.path}: cannot map it into memory: {error}") from error
        finally:
            os.close(fd)
        self._tensors = self._check_header(size)
        self.statuses: np.ndarray = self._tensor("status").numpy()
        self._offsets: np.ndarray = self._tensor("error_offsets").numpy()
        self._check_numbers()
        self._raw = {name: self._tensor(name) for name in fields}
        self._scales = {name: self._tensor(f"{name}.scale") for name, field in fields.items() if field.scaled}

    def _check_header(self, size: int) -> _Tensors:
        length = int.from_bytes(self._map[:8], "little")
        if length > min(_HEADER_LIMIT, size - 8):
            raise StoreError(f"{self.path}: expected a header within the file, got one of {length} bytes")
        header = self._map[8 : 8 + length]
        document = load_json(header, self.path, lambda found: isinstance(found, dict))
        entry = document.get("error_text")
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or len(shape) != 1 or not is_whole(shape[0], 0, size):
            raise StoreError(f"{self.path}: expected error_text of one dimension, got {repr(shape)[:100]}")
        tensors = _Tensors(self.fields, self.rows, shape[0])
        if tensors.header != header or tensors.size != size:
            raise StoreError(f"{self.path}: expected the header that belongs to its receipt, got another")
        return tensors

    def _check_numbers(self) -> None:
        if len(self.statuses) and self.statuses.max() > max(Status):
            raise StoreError(f"{self.path}: expected statuses up to {max(Status):d}, got {self.statuses.max()}")
        text = self._tensors.places["error_text"][1][0]
        if self._offsets[0] != 0 or self._offsets[-1] != text or (self._offsets[1:] < self._offsets[:-1]).any():
            raise StoreError(f"{self.path}: expected growing offsets of error texts up to {text}, got others")

    def _tensor(self, name: str) -> Tensor:
        dtype, shape, begin = self._tensors.places[name]
        # A byte that is neither 0 nor 1 is no boolean for torch, so they are read as bytes.
        dtype = torch.uint8 if dtype == torch.bool else dtype
        if not _count(shape):
            return torch.empty(shape, dtype=dtype)
        flat = torch.frombuffer(self._map, dtype=dtype, count=_count(shape), offset=self._tensors.start + begin)
        return flat.reshape(shape)

    def error(self, row: int) -> str | None:
        """Return why an item failed, or None."""
        begin, end = int(self._offsets[row]), int(self._offsets[row + 1])
        if begin == end:
            return None
        start = self._tensors.start + self._tensors.places["error_text"][2]
        return self._map[start + begin : start + end].decode("utf-8", "replace")

    def raw(self, name: str) -> tuple[Tensor, Tensor | None]:
        """Return a field as it is stored.

        Args:
            name: of the field.

        Returns:
            (rows, ...) in the stored dtype, a view of the memory map, and (rows,) float32 scales or None.
        """
        return self._raw[name], self._scales.get(name)

    def decode(self, name: str, rows: slice | Tensor, into: Tensor | None = None) -> Tensor:
        """Read a field of some items.

        Args:
            name: of the field.
            rows: a slice or (b,) int64.
            into: (b, ...) to be filled; None for a new tensor.

        Returns:
            (b, ...), a copy: float32 for all floats, else the field's dtype.
        """
        stored = self._raw[name][rows]
        field = self.fields[name]
        filled = torch.empty(stored.shape, dtype=field.torch_dtype) if into is None else into
        if field.dtype == "bool":
            return torch.ne(stored, 0, out=filled)
        if field.codec == EXACT:
            return filled.copy_(stored)
        scales = self._scales.get(name)
        return CODECS[field.codec].decode(stored, None if scales is None else scales[rows], filled)

    def to_rows(self) -> Rows:
        """Read everything, such as to write it again.

        Returns:
            The results.
        """
        rows = Rows(self.rows)
        rows.statuses = torch.from_numpy(self.statuses).clone()
        rows.reasons = [self.error(row) for row in range(self.rows)]
        rows.fields = {name: self.decode(name, slice(None)) for name in self.fields}
        return rows

"""The rows of a numpy or safetensors array, read from the file's pages without copying the rest."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.sources.base import FrozenItems, Read, Source, Stamp, file_identity, no_such_path
from xai_fast.jobs.values import nearest

__all__ = ["ArraySource"]

_LARGEST_HEADER = 100 << 20
_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class ArraySource(Source):
    """Rows of an array (N, ...).

    Args:
        described: "path" of a .npy or .safetensors file; "key" of the tensor in the latter (may be left out where there
            is one); "labels", the path of another .npy file or the key of another tensor, integers (N,).
        decoder: not used.
        items: not used; rows are numbered.

    Raises:
        InputError: the file cannot be read as an array with rows.
    """

    kind = "array"

    def __init__(
        self, described: Mapping[str, object], *, decoder: str = "pillow", items: FrozenItems | None = None
    ) -> None:
        del decoder, items
        self._path = str(described["path"])
        self._key = described.get("key")
        self._labels_from = described.get("labels")
        self._rows = _open(self._path, self._key)
        if self._rows.ndim < 1 or not len(self._rows):
            raise bad_argument("source", "an array (N, ...) with at least one row", f"shape {tuple(self._rows.shape)}")
        self._labels = self._open_labels()

    def __len__(self) -> int:
        return len(self._rows)

    def identity(self) -> dict[str, object]:
        """Return shape, dtype, size and time of the last change."""
        identity: dict[str, object] = {
            "kind": self.kind,
            "shape": list(self._rows.shape),
            "dtype": str(self._rows.dtype),
            **file_identity(self._path),
        }
        if self._labels_from is not None and str(self._labels_from).endswith(".npy"):
            identity["labels"] = file_identity(str(self._labels_from))
        return identity

    def read(self, index: int, stamp: Stamp | None = None) -> Read:
        """Read a row; it has no stamp of its own, `identity` tells whether the file has changed."""
        del stamp
        row = self._rows[index]
        # A copy: the item shall not change with the file while it is explained.
        value = row.clone() if isinstance(row, Tensor) else torch.from_numpy(np.array(row, order="C"))
        return Read(value, self.label(index))

    def label(self, index: int, column: str | None = None) -> int | None:
        """Look up the label of a row."""
        del column
        return None if self._labels is None else int(self._labels[index])

    def check_column(self, column: str) -> None:
        """Check that there are labels."""
        super().check_column(column)
        if self._labels is None:
            raise bad_argument("target", 'a source with labels: {"kind": "array", ..., "labels": ...}', repr(column))

    def _open_labels(self) -> Any:
        if self._labels_from is None:
            return None
        wanted = str(self._labels_from)
        labels = _open(wanted, None) if wanted.endswith(".npy") else _open(self._path, wanted)
        integers = labels.dtype.kind in "iu" if isinstance(labels, np.ndarray) else not labels.is_floating_point()
        if tuple(labels.shape) != (len(self._rows),) or not integers:
            expected = f"integers ({len(self._rows)},), one a row"
            raise bad_argument("source.labels", expected, f"{labels.dtype} {tuple(labels.shape)}")
        return labels


def _open(path: str, key: object) -> Any:
    if not os.path.isfile(path):
        raise no_such_path("a file that exists", path)
    if path.lower().endswith(".safetensors"):
        return _safetensors(path, key)
    if key is not None:
        raise bad_argument("source.key", "none for a .npy file", repr(key))
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"source: {path} is no array that numpy can map: {error}") from error
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiub" or rows.dtype.itemsize > 8:
        got = str(rows.dtype) if isinstance(rows, np.ndarray) else "an archive of arrays"
        raise bad_argument("source", "an array of numbers of up to 64 bits", got)
    return rows if rows.dtype.isnative else rows.astype(rows.dtype.newbyteorder("="))


def _safetensors(path: str, key: object) -> Tensor:
    """Map a tensor of a safetensors file; the header is checked here, so that no other package is needed."""
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
            if not isinstance(header, dict):
                raise ValueError(f"a header that is a {type(header).__name__}")
        names = [name for name in header if name != "__metadata__"]
    except (ValueError, OSError, TypeError, RecursionError) as error:
        raise InputError(f"source: {path} is no safetensors file: {error}") from error
    if key is None and len(names) == 1:
        key = names[0]
    if key not in names:
        raise bad_argument("source.key", nearest(key, names), repr(key))
    try:
        entry = header[key]
        dtype, shape = _DTYPES[entry["dtype"]], [int(side) for side in entry["shape"]]
        start, stop = (int(offset) for offset in entry["data_offsets"])
        entries = math.prod(shape)
        width = torch.empty(0, dtype=dtype).element_size()
        if min(shape, default=0) < 0 or not 0 <= start <= stop <= size - 8 - length or stop - start != entries * width:
            raise ValueError(f"the offsets {start} to {stop} do not fit {shape} of {entry['dtype']}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"source: the tensor {key!r} in {path} cannot be read: {error}") from error
    if not entries:
        return torch.empty(shape, dtype=dtype)
    pages = np.memmap(path, np.uint8, "r", offset=8 + length + start, shape=(stop - start,))
    return _as_tensor(pages, dtype).reshape(shape)


def _as_tensor(pages: np.memmap, dtype: torch.dtype) -> Tensor:
    """View mapped bytes as a tensor. It is only read from, which torch cannot be told."""
    import warnings

    if pages.ctypes.data % max(1, torch.empty(0, dtype=dtype).element_size()):
        # Rare: a header that was not padded. Numbers that are not aligned cannot be viewed in place.
        return torch.from_numpy(np.array(pages)).view(dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(pages).view(dtype)

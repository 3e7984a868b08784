"""The rows of a numpy or safetensors array, read from the file's pages without copying the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.sources.base import Listing, Read, Source, no_such_path
from xai_fast.values import nearest

__all__ = ["ArraySource"]


class ArraySource(Source):
    """Rows of an array (N, ...): "path" of a .npy or .safetensors file, "key" of a tensor in the latter, "labels".

    The labels are integers (N,): the path of another .npy file, or the key of another tensor.
    """

    kind = "array"

    def __init__(self, described: Mapping[str, Any], decoder: str) -> None:
        del decoder
        self._rows = _open(str(described["path"]), described.get("key"))
        if self._rows.ndim < 1 or not len(self._rows):
            raise bad_argument("source", "an array (N, ...) with at least one row", f"shape {tuple(self._rows.shape)}")
        self.files = {"array": str(described["path"])}
        self._labels = None
        labels = described.get("labels")
        if labels is not None:
            other = str(labels).endswith(".npy")
            if other:
                self.files["labels"] = str(labels)
            self._labels = _open(str(labels), None) if other else _open(self.files["array"], labels)
            kind = self._labels.dtype
            integers = not kind.is_floating_point if isinstance(kind, torch.dtype) else kind.kind in "iu"
            if tuple(self._labels.shape) != (len(self._rows),) or not integers:
                got = f"{kind} {tuple(self._labels.shape)}"
                raise bad_argument("source.labels", f"integers ({len(self._rows)},), one per row", got)
        self.labelled = self._labels is not None
        self.form = {"shape": list(self._rows.shape), "dtype": str(self._rows.dtype)}

    def listing(self) -> Listing:
        """Return the number of rows."""
        return len(self._rows)

    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Read a row."""
        del as_it_is  # rows have no marks of their own
        row = self._rows[index]
        # A copy: the item shall not change with the file while it is explained.
        value = row.clone() if isinstance(row, Tensor) else torch.from_numpy(np.array(row, order="C"))
        return Read(value, self.label(index))

    def label(self, index: int, column: str = "label") -> int | None:
        """Look up the label of a row."""
        del column
        return None if self._labels is None else int(self._labels[index])


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
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            if key is None and len(names) == 1:
                key = names[0]
            if key not in names:
                raise bad_argument("source.key", nearest(key, names), repr(key))
            rows: Tensor = file.get_tensor(key)  # a view of the mapped file
            return rows
    except (SafetensorError, OSError) as error:
        raise InputError(f"source: {path} is no safetensors file: {error}") from error

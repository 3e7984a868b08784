"""The rows of a CSV or Parquet table, as numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.sources.base import FrozenItems, Read, Source, Stamp, file_identity, no_such_path
from xai_fast.jobs.sources.names import PackedNames
from xai_fast.jobs.values import nearest

if TYPE_CHECKING:
    import pandas

__all__ = ["TableSource"]


class TableSource(Source):
    """Rows of a table: (D,) float64, one number a column. A missing value is NaN, and its row fails as not finite.

    The table is read as a whole, as one array of numbers. Categories are not encoded here: what numbers a network was
    trained on for them only its author knows, so write the table as the network takes it (``xai-fast t-nid`` does).

    Args:
        described: "path" of the table; "columns" that the model takes, in its order, by default all that are not named
            otherwise; "ignore", columns to leave out; "label", the column with the class of a row; "id", the column
            with the name of a row.
        decoder: not used.
        items: not used.

    Raises:
        InputError: the table cannot be read, there is no such column, or one holds no numbers.
    """

    kind = "table"

    def __init__(
        self, described: Mapping[str, object], *, decoder: str = "pillow", items: FrozenItems | None = None
    ) -> None:
        del decoder, items
        self._path = str(described["path"])
        self._label_column = _one("label", described.get("label"))
        self._id_column = _one("id", described.get("id"))
        frame = _read(self._path)
        if not len(frame):
            raise bad_argument("source", "a table with at least one row", f"none in {self._path}")
        names = [str(name) for name in frame.columns]
        ignored = _several("ignore", described.get("ignore"))
        for option, wanted in (("ignore", ignored), ("label", [self._label_column]), ("id", [self._id_column])):
            _check_known(option, wanted, names)
        left_out = {*ignored, self._label_column, self._id_column}
        self.columns = _several("columns", described.get("columns")) or [n for n in names if n not in left_out]
        _check_known("columns", self.columns, names)
        if not self.columns:
            raise bad_argument("source.columns", "at least one column for the model", "none")
        self._values = np.stack([_numbers(frame, name) for name in self.columns], axis=1)
        self._names = None if self._id_column is None else PackedNames(str(name) for name in frame[self._id_column])
        self._classes: dict[str, NDArray[np.int64]] = {}
        if self._label_column is not None:
            self._classes["label"] = _integers(frame, self._label_column)

    def __len__(self) -> int:
        return len(self._values)

    def ids(self) -> Sequence[str] | range:
        """Return the names of the rows, where a column has them."""
        return range(len(self)) if self._names is None else self._names

    def identity(self) -> dict[str, object]:
        """Return columns, rows, size and time of the last change."""
        return {"kind": self.kind, "columns": self.columns, "rows": len(self), **file_identity(self._path)}

    def read(self, index: int, stamp: Stamp | None = None) -> Read:
        """Give a row; it has no stamp of its own, `identity` tells whether the file has changed."""
        del stamp
        return Read(torch.from_numpy(self._values[index].copy()), self.label(index))

    def label(self, index: int, column: str | None = None) -> int | None:
        """Look up the class of a row, in any column of whole numbers."""
        classes = self._classes.get(column or "label")
        return None if classes is None else int(classes[index])

    def check_column(self, column: str) -> None:
        """Check that there is such a column of whole numbers, and remember it."""
        if column in self._classes:
            return
        frame = _read(self._path)
        if column not in frame.columns:
            known = [*(["label"] if self._label_column else []), *map(str, frame.columns)]
            raise bad_argument("target", f"a column of the table, {nearest(column, known)}", repr(column))
        self._classes[column] = _integers(frame, column)


def _read(path: str) -> pandas.DataFrame:
    from xai_fast.cli.table_file import read_table_file

    if not os.path.isfile(path):
        raise no_such_path("a table that exists", path)
    try:
        return read_table_file(Path(path))
    except InputError as error:
        # The command line has another name for it.
        raise InputError(str(error).replace("TABLE:", "source:", 1)) from error


def _one(option: str, name: object) -> str | None:
    if name is not None and not isinstance(name, str):
        raise bad_argument(f"source.{option}", "the name of a column", repr(name))
    return name


def _several(option: str, names: object) -> list[str]:
    if names is None:
        return []
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise bad_argument(f"source.{option}", "names of columns", repr(names))
    return list(listed)


def _check_known(option: str, wanted: Sequence[str | None], names: Sequence[str]) -> None:
    for name in wanted:
        if name is not None and name not in names:
            raise bad_argument(f"source.{option}", f"a column of the table, {nearest(name, names)}", repr(name))


def _numbers(frame: pandas.DataFrame, name: str) -> NDArray[np.float64]:
    from pandas.api import types

    column = frame[name]
    if not (types.is_numeric_dtype(column.dtype) or types.is_bool_dtype(column.dtype)) or types.is_complex_dtype(
        column.dtype
    ):
        raise InputError(
            f'source: the column {name!r} holds {column.dtype}, no numbers; leave it out with "ignore", or write it as '
            "the numbers that the model takes"
        )
    return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))


def _integers(frame: pandas.DataFrame, name: str) -> NDArray[np.int64]:
    """Give a column of classes; -1 stands for a missing one."""
    values = _numbers(frame, name)
    known = np.where(np.isnan(values), -1.0, values)
    if not np.isfinite(known).all() or (known != np.rint(known)).any() or (np.abs(known) > 2**53).any():
        raise bad_argument("target", f"whole numbers in the column {name!r}", "others")
    return known.astype(np.int64)

"""The rows of a CSV or Parquet table, as numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.sources.base import Listing, Read, Source, names_of, no_such_path
from xai_fast.values import check_keys, nearest

if TYPE_CHECKING:
    import pandas

__all__ = ["TableSource"]


class TableSource(Source):
    """Rows of a table: (D,) float64, one number per column. A missing value is NaN, and its row fails as not finite.

    The table is read as a whole. Categories are not encoded here: what numbers a network was trained on for them only
    its author knows, so write the table as the network takes it (``xai-fast t-nid`` does). "columns" are those that the
    model takes, in its order, by default all that are not named otherwise; "ignore" are left out; "label" has the class
    of a row, "id" its name.
    """

    kind = "table"

    def __init__(self, described: Mapping[str, Any], decoder: str) -> None:
        del decoder
        self.files = {"table": str(described["path"])}
        self._label_column, self._id_column = described.get("label"), described.get("id")
        frame = _read(self.files["table"])
        if not len(frame):
            raise bad_argument("source", "a table with at least one row", "none")
        names = [str(name) for name in frame.columns]
        ignored = names_of("ignore", described.get("ignore"), "names of columns")
        for option, wanted in (("ignore", ignored), ("label", [self._label_column]), ("id", [self._id_column])):
            check_keys(f"source.{option}", [name for name in wanted if name is not None], names)
        left_out = {*ignored, self._label_column, self._id_column}
        self.names = names_of("columns", described.get("columns"), "names of columns") or [
            n for n in names if n not in left_out
        ]
        check_keys("source.columns", self.names, names)
        if not self.names:
            raise bad_argument("source.columns", "at least one column for the model", "none")
        self._values = np.stack([_numbers(frame, name) for name in self.names], axis=1)
        self._names = None if self._id_column is None else frame[self._id_column].astype(str)
        self.form = {"columns": self.names, "rows": len(self._values)}
        self._classes: dict[str, NDArray[np.int64]] = {}
        if self._label_column is not None:
            self._classes["label"] = _integers(frame, self._label_column)

    def listing(self) -> Listing:
        """Return the names of the rows where a column has them, else their number."""
        return len(self._values) if self._names is None else ((name, ()) for name in self._names)

    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Give a row."""
        del as_it_is  # rows have no marks of their own
        return Read(torch.from_numpy(self._values[index].copy()), self.label(index))

    def label(self, index: int, column: str = "label") -> int | None:
        """Look up the class of a row, in any column of whole numbers."""
        classes = self._classes.get(column)
        return None if classes is None else int(classes[index])

    def check_column(self, column: str) -> None:
        """Check that there is such a column of whole numbers, and remember it."""
        if column in self._classes:
            return
        frame = _read(self.files["table"])
        if column not in frame.columns:
            known = [*(["label"] if self._label_column else []), *map(str, frame.columns)]
            raise bad_argument("target", f"a column of the table, {nearest(column, known)}", repr(column))
        self._classes[column] = _integers(frame, column)


def _read(path: str) -> pandas.DataFrame:
    from xai_fast.tables.file import read_table_file

    if not os.path.isfile(path):
        raise no_such_path("a table that exists", path)
    return read_table_file(Path(path), "source")


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

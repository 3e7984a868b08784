"""Reading tables from CSV and Parquet files."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from xai_fast.errors import InputError, bad_argument
from xai_fast.terminal import printable

if TYPE_CHECKING:
    import pandas

__all__ = ["read_table_file"]

_SEPARATORS = (",", ";", "\t", "|")
_PARQUET = (".parquet", ".pq")


def read_table_file(path: Path, role: str = "TABLE") -> pandas.DataFrame:
    """Read a CSV or Parquet file.

    The separator of a CSV file is that of ``, ; | `` and the tab which its first line has most often. The suffix
    ``.parquet`` or ``.pq`` tells a Parquet file.

    Args:
        path: the file.
        role: what the messages call it.

    Returns:
        The table, all columns with names that are text.

    Raises:
        InputError: the file cannot be read as a table, a name stands over two columns, rows have more fields than
            there are names, or what reads it is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise InputError("tables need pandas, which is not installed; pip install 'xai-fast[table]'") from error
    if not path.is_file():
        raise bad_argument(role, "a CSV or Parquet file that exists", printable(os.fspath(path)))
    parquet = path.suffix.lower() in _PARQUET
    header: list[str] = []
    try:
        if parquet:
            frame = pandas.read_parquet(path)
        else:
            separator, header = _header(path)
            frame = pandas.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False)
    except ImportError as error:
        raise InputError("Parquet needs pyarrow, which is not installed; pip install 'xai-fast[table]'") from error
    except (ValueError, OSError, csv.Error) as error:
        # pandas' and pyarrow's errors of parsing and decoding are ValueErrors
        reason = str(error).strip().splitlines() or ["it is empty"]
        raise InputError(f"{role}: {printable(os.fspath(path))} cannot be read: {reason[0]}") from error
    frame.columns = [str(name) for name in frame.columns]
    # pandas renames the second of two equal names in a CSV file; columns without a name get different ones.
    names = list(frame.columns) if parquet else [name for name in header if name]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise bad_argument(role, "columns with different names", f"{twice[0]!r} twice")
    if not parquet and len(frame) and not isinstance(frame.index, pandas.RangeIndex):
        # pandas takes the first fields for names of the rows, and every column would have the values of the next.
        raise bad_argument(role, f"rows of {len(frame.columns)} fields, as many as names", "rows with more")
    return frame


def _header(path: Path) -> tuple[str, list[str]]:
    """Find the separator of a CSV file, and the names as they are written in it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Empty lines before the names are passed over, as pandas does.
        first = next((line for line in file if line.strip("\r\n")), "")
        separator = max(_SEPARATORS, key=first.count)
        file.seek(0)
        return separator, next((row for row in csv.reader(file, delimiter=separator) if row), [])

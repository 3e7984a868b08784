"""Tables in files: CSV and Parquet."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from xai_fast.errors import InputError, bad_argument

if TYPE_CHECKING:
    import pandas

__all__ = ["read_table_file"]

_SEPARATORS = (",", ";", "\t", "|")
_PARQUET = (".parquet", ".pq")


def read_table_file(path: str | os.PathLike[str], argument: str = "TABLE") -> pandas.DataFrame:
    """Read a CSV or Parquet file.

    The separator of a CSV file is that of ``, ; |`` and the tab which its first line has most often. The suffix
    ``.parquet`` or ``.pq`` tells a Parquet file.

    Args:
        path: the file.
        argument: what the caller calls it, for messages.

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
    file, shown = Path(path), os.fsencode(path).decode("utf-8", "replace")
    if not file.is_file():
        raise bad_argument(argument, "a CSV or Parquet file that exists", shown)
    parquet = file.suffix.lower() in _PARQUET
    try:
        frame = pandas.read_parquet(file) if parquet else _read_csv(file, argument)
    except InputError:
        raise
    except ImportError as error:
        raise InputError("Parquet needs pyarrow, which is not installed; pip install 'xai-fast[table]'") from error
    except (ValueError, OSError) as error:  # pandas' and pyarrow's errors of parsing and decoding are ValueErrors
        reason = str(error).strip().splitlines() or ["it is empty"]
        raise InputError(f"{argument}: {shown} cannot be read: {reason[0]}") from error
    frame.columns = [str(name) for name in frame.columns]
    _check_names(list(frame.columns), argument)
    return frame


def _read_csv(file: Path, argument: str) -> pandas.DataFrame:
    import pandas

    with file.open(encoding="utf-8-sig") as lines:
        first = next((line for line in lines if line.strip("\r\n")), "")  # pandas passes over empty lines as well
    how = {"sep": max(_SEPARATORS, key=first.count), "encoding": "utf-8-sig"}
    # As they are written: among the columns the second of two equal names is another one, and there is none without.
    names = pandas.read_csv(file, header=None, nrows=1, dtype=str, keep_default_na=False, **how)
    _check_names([name for name in names.iloc[0] if name], argument)
    frame = pandas.read_csv(file, low_memory=False, **how)
    if len(frame) and not isinstance(frame.index, pandas.RangeIndex):
        # pandas takes the first fields for names of the rows, and every column would have the values of the next.
        raise bad_argument(argument, f"rows of {len(frame.columns)} fields, as many as names", "rows with more")
    return frame


def _check_names(names: list[str], argument: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise bad_argument(argument, "columns with different names", f"{twice[0]!r} twice")

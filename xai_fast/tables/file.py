"""Tables in files: CSV and Parquet."""

from __future__ import annotations

import csv
import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_fast.errors import InputError, bad_argument, needs

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    DataFrame = Any  # the command line evaluates the annotations of what it offers, also without pandas

__all__ = ["read_table_file"]

_SEPARATORS = ";\t|,"  # of several that divide the lines alike the first: commas stand in texts as well
_PARQUET = (".parquet", ".pq")
_LOOKED_AT = 100


def read_table_file(
    path: str | os.PathLike[str],
    argument: str = "TABLE",
    *,
    separator: str | None = None,
    decimal: str | None = None,
    encoding: str | None = None,
    skip_rows: int = 0,
    na: str | Sequence[str] | None = None,
) -> DataFrame:
    """Read a CSV or Parquet file.

    The suffix ``.parquet`` or ``.pq`` tells a Parquet file; a named index of it is a column as well.

    Args:
        path: the file.
        argument: what the caller calls it, for messages.
        separator: of the columns of a CSV file; None for that of ``; | ,`` and the tab that divides most lines alike.
        decimal: the decimal mark of a CSV file; None for the point.
        encoding: of a CSV file; None for UTF-8, or UTF-16 where it begins with its mark.
        skip_rows: lines of a CSV file above the names.
        na: words of a CSV file that stand for a missing value, beside empty cells; None for those of pandas.

    Returns:
        The table, all columns with names that are text. Columns of a CSV file without name and values are left out.

    Raises:
        InputError: the file cannot be read as a table, a name stands over two columns, rows have more fields than
            there are names, or what reads it is not installed.
    """
    pandas = needs("pandas", "a table", "'xai-fast[table]'")
    file, shown = Path(path), os.fsencode(path).decode("utf-8", "replace")
    if not file.is_file():
        raise bad_argument(argument, "a CSV or Parquet file that exists", shown)
    words = {} if na is None else {"keep_default_na": False, "na_values": ["", *([na] if isinstance(na, str) else na)]}
    try:
        if file.suffix.lower() not in _PARQUET:
            how = {"decimal": decimal or ".", "encoding": encoding, "skiprows": skip_rows, **words}
            frame = _read_csv(file, argument, separator, how)
        elif separator or encoding or skip_rows or na:
            raise bad_argument(argument, "a CSV file, where separator, encoding, skip_rows or na are given", shown)
        else:
            frame = pandas.read_parquet(file)
            frame = frame.reset_index([name for name in frame.index.names if name is not None]).reset_index(drop=True)
    except InputError:
        raise
    except ImportError as error:
        raise InputError("Parquet needs pyarrow, which is not installed; pip install 'xai-fast[table]'") from error
    except (ValueError, OSError, TypeError, LookupError, csv.Error) as error:  # also pandas' and pyarrow's own
        reason = str(error).strip().splitlines() or ["it is empty"]
        hint = "; if its encoding is another one, such as latin-1, say so" if isinstance(error, UnicodeError) else ""
        raise InputError(f"{argument}: {shown} cannot be read: {reason[0]}{hint}") from error
    frame.columns = [str(name) for name in frame.columns]
    _check_names(list(frame.columns), argument)
    return frame


def _read_csv(file: Path, argument: str, separator: str | None, how: dict[str, Any]) -> DataFrame:
    import pandas

    with file.open("rb") as start:
        marked = start.read(2) in (b"\xff\xfe", b"\xfe\xff")
    how["encoding"] = how["encoding"] or ("utf-16" if marked else "utf-8-sig")
    with file.open(encoding=how["encoding"], newline="") as lines:
        head = list(itertools.islice(lines, how["skiprows"], how["skiprows"] + _LOOKED_AT))
    first, width, how["sep"] = _fields(head, _SEPARATORS if separator is None else [separator])
    names = dict(enumerate([*map(str.strip, first), *[""] * (width - len(first))]))
    frame = pandas.read_csv(file, header=0, names=list(names), skipinitialspace=True, low_memory=False, **how)
    frame = frame.drop(columns=[i for i in frame if not names[i] and frame[i].isna().all()])
    if any(i >= len(first) for i in frame) or (len(frame) and not isinstance(frame.index, pandas.RangeIndex)):
        # Fields without a name; pandas takes the first ones for names of the rows, which shifts all columns.
        expected, title = f"rows of {len(first)} fields, as many as names", f"is {first[0]!r} a title above the names?"
        raise bad_argument(argument, expected, f"rows with more ({title} skip_rows leaves it out)")
    return frame.rename(columns={i: name or f"Unnamed: {i}" for i, name in names.items()})


def _fields(head: list[str], marks: Sequence[str]) -> tuple[list[str], int, str]:
    """Give the first fields of a CSV file, how many most lines have, and the mark that divides most lines alike."""
    found: dict[tuple[bool, int, int], tuple[list[str], int, str]] = {}
    for mark in marks:
        first, *rest = [record for record in csv.reader(head, delimiter=mark, skipinitialspace=True) if record] or [[]]
        [(width, count)] = Counter(map(len, rest or [first])).most_common(1)
        found.setdefault((len(first) == width > 1, count * (width > 1), width), (first, max(width, len(first)), mark))
    return found[max(found)]


def _check_names(names: list[str], argument: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise bad_argument(argument, "columns with different names", f"{twice[0]!r} twice")

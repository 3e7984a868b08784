"""Tables as a network takes them: numbers, with categories as one-hot columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xai_fast.arguments import check_choice
from xai_fast.errors import InputError, bad_argument
from xai_fast.values import nearest

if TYPE_CHECKING:
    import pandas

__all__ = ["MISSING", "MOST_CATEGORIES", "EncodedTable", "encode", "has_decimal_comma"]

MISSING = ("refuse", "drop", "impute")
"""What is done with missing values: refuse the table, leave out such rows, or put in the median or a category."""

MOST_CATEGORIES = 100
"""A column with more different values is a name or a text, not a category."""

_NONE = "(missing)"

_NEARLY_ALL = 0.9
_MISSING = ("-", "--", "\u2013", "\u2014", "?", ".", "*", "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "null", "none")
_SPACES = "' \u2019\u00a0\u202f"
_SYMBOLS = "%\u2030\u00b0\u20ac$\u00a3\u00a5\u20b9/"
_CODES = "EUR|USD|GBP|CHF|JPY|CNY|INR|CAD|AUD|BRL|MXN|KRW|SEK|NOK|DKK|PLN|CZK|HUF|RUB|TRY|ZAR"
_CELL = (
    rf"^(?P<sign>[-+]?)(?P<before>[{_SYMBOLS}]?|(?:{_CODES})\s)\s*"
    rf"(?P<body>[-+]?[0-9.,{_SPACES}]*[0-9][.,]?(?:[eE][-+]?[0-9]+)?)(?P<after>\s*(?:[{_SYMBOLS}]|[^\W\d_])*)$"
)


@dataclass(frozen=True, eq=False)
class EncodedTable:
    """A table as a network takes it: ``values`` (N, D) float64, finite, with the names of the D ``columns``.

    ``groups`` is a feature of categories to its one-hot columns, counted once in ``features``. ``labels`` (N,) are the
    target: numbers, booleans or strings. ``notes`` say how the table was read, sentence by sentence.
    """

    values: NDArray[np.float64]
    columns: tuple[str, ...]
    groups: dict[str, list[str]]
    features: int
    labels: NDArray[Any]
    notes: tuple[str, ...]


def encode(
    frame: pandas.DataFrame,
    target: str,
    *,
    categorical: Sequence[str] = (),
    ignore: Sequence[str] = (),
    missing: str = "refuse",
    decimal: str | None = None,
) -> EncodedTable:
    """Return a table as numbers.

    Columns of numbers stay as they are, and text that is numbers is read as such; other text, truth values and columns
    named in ``categorical`` become one-hot columns, one per value, and a group that is one feature. Columns with a
    single value are left out. A missing target is never filled in: such rows are left out, or refused. A target named
    in ``categorical`` has classes. ``missing`` is one of `MISSING`. ``decimal`` is the mark, "." or ",", of numbers in
    text that have two meanings; None refuses them.

    An `InputError` says that there is no such column, a value is missing or infinite, a column is neither numbers nor
    categories, or nothing is left.
    """
    check_choice("--missing", missing, MISSING)
    names = [str(name) for name in frame.columns]
    for option, wanted in {"--target": [target], "--categorical": categorical, "--ignore": ignore}.items():
        for name in wanted:
            if name not in names:
                raise bad_argument(option, f"a column of the table, {nearest(name, names)}", repr(name))
    if target in ignore:
        raise bad_argument("--ignore", "columns other than the target", repr(target))
    frame = frame[[name for name in names if name not in ignore]]
    read = {name: _read_text(frame[name], name in categorical, decimal) for name in frame.columns}
    frame = frame.assign(**{name: column for name, (column, _) in read.items()})
    said = [] if decimal is None else [f"The decimal mark is {decimal!r}."]
    said += [note for _, notes in read.values() for note in notes]
    gaps = bool(frame[target].isna().any())
    frame, notes = _without_missing(frame, target, missing, said)
    if len(frame) < 10:
        raise bad_argument("TABLE", "at least 10 rows", str(len(frame)))
    columns = _Columns(set(names))
    for name in (name for name in frame.columns if name != target):
        columns.add(name, frame[name], name in categorical)
    features = len(columns.parts) - sum(map(len, columns.groups.values())) + len(columns.groups)
    if features < 2:
        raise bad_argument("TABLE", "at least 2 columns beside the target that are not constant", str(features))
    return EncodedTable(
        values=np.stack(list(columns.parts.values()), axis=1),
        columns=tuple(columns.parts),
        groups=columns.groups,
        features=features,
        labels=_labels(target, frame[target], asked=target in categorical, gaps=gaps),
        notes=(*notes, *columns.notes(ignore)),
    )


def has_decimal_comma(frame: pandas.DataFrame) -> bool:
    """Say whether a column of text has numbers that only a decimal comma explains."""
    columns = (_texts(frame[name]) for name in frame.columns)
    cells = (_Cells(texts.drop_duplicates(), None) for texts in columns if texts is not None)
    return any(one.mark == "," and one.numeric for one in cells)


def _read_text(column: pandas.Series, categories: bool, decimal: str | None) -> tuple[pandas.Series, list[str]]:
    """Read text as numbers if nearly all cells are, else as categories; give what was changed, and may mean another."""
    import pandas

    texts, name = _texts(column), column.name
    if texts is None:
        return column, []
    cells = _Cells(texts, decimal)
    words = f"In {name}, {', '.join(map(repr, cells.missing.unique()))} ({len(cells.missing):,})"
    if categories or not cells.numeric:
        notes = [f"{words} is a category; --na makes it a missing value."] if len(cells.missing) else []
        if (column.astype(object).map(_text, na_action="ignore") != texts)[texts.notna()].any():
            notes.append(f"Spaces around the text of {name} were left out.")
        return texts, notes
    if len(cells.wrong):
        expected = "numbers with one meaning (--decimal names their mark, --na a word that stands for a missing value, "
        got = f"{cells.wrong.iloc[0]!r} in row {cells.wrong.index[0]} (counted from 0)"
        raise bad_argument(f"column {name}", f"{expected}--categorical {name} makes categories of them)", got)
    notes = [f"{words} among numbers counts as a missing value."] if len(cells.missing) else []
    changed = cells.given.notna() & (cells.given != cells.plain)
    if changed.any():
        was, read = cells.given[changed].iloc[0], cells.plain[changed].iloc[0]
        notes.append(f"Numbers were read from the text of {name}, such as {read} from {was!r}.")
    return pandas.to_numeric(cells.plain), notes


def _texts(column: pandas.Series) -> pandas.Series | None:
    """Give a column of text, without spaces around and with empty cells missing; None for any other kind."""
    kinds = set(map(type, column.dropna())) if column.dtype.kind == "O" and column.dtype != "category" else set()
    if kinds <= {bool} or not all(issubclass(kind, str | Number) for kind in kinds):
        return None
    texts = column.astype(object).map(_text, na_action="ignore").str.strip()
    return texts.where(texts != "")


class _Cells:
    """Cells of text, and the numbers in them by the decimal mark that explains most."""

    def __init__(self, texts: pandas.Series, decimal: str | None) -> None:
        absent = texts.str.casefold().isin(_MISSING)
        self.missing, self.given = texts[absent], texts.mask(absent)
        weights = self.given.value_counts(sort=False)
        cells = weights.index.to_series()
        parts = cells.str.replace("\u2212", "-").str.extract(_CELL)
        read = {mark: _plain(parts["sign"] + parts["body"], mark) for mark in ".,"}
        counts = {mark: int(weights[plain.notna()].sum()) for mark, plain in read.items()}
        tie = counts["."] == counts[","]
        self.mark = decimal if tie and decimal else max(counts, key=lambda mark: counts[mark])
        self.plain = self.given.map(read[self.mark])
        units = parts["before"] + parts["after"]
        usual = weights.groupby(units.str.strip()).sum().sort_values().index[-1:]
        good = read[self.mark].notna() & units.str.strip().isin(usual)
        if tie and not decimal and not read["."].equals(read[","]):
            good &= ~cells.str.contains(",")
        self.wrong = self.given[self.given.isin(cells[~good])]
        # As in 1st and 2nd, or 10a and 10b: no units.
        labels = len(self.wrong) > (1 - _NEARLY_ALL) * weights.sum() and units[~good].str.fullmatch(r"[^\W\d_]+").all()
        found = weights[read["."].notna() | read[","].notna()].sum()
        self.numeric = bool(found >= max(1, _NEARLY_ALL * weights.sum()) and not labels)


def _plain(texts: pandas.Series, mark: str) -> pandas.Series:
    """Write numbers with this decimal mark as Python does; missing where a text is none."""
    groups = f"[{_SPACES}{'.,'.replace(mark, '')}]"
    pattern = rf"[-+]?(?:[1-9]\d{{0,2}}({groups})\d{{3}}(?:\1\d{{3}})*|\d+)?(?:[{mark}]\d*)?(?:[eE][-+]?\d+)?"
    fitting = texts.where(texts.str.fullmatch(pattern).eq(True))
    return fitting.str.replace(groups, "", regex=True).str.replace(mark, ".", regex=False)


@dataclass
class _Columns:
    """Columns as numbers, one after the other, with what has to be said about them."""

    taken: set[str]
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    constant: list[str] = field(default_factory=list)
    filled: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, column: pandas.Series, asked: bool) -> None:
        absent = int(column.isna().sum())
        category = _is_category(column, asked)
        if _distinct(column) + (category and absent > 0) < 2:
            self.constant.append(name)
            return
        if category:
            self.groups[name] = self._add_categories(name, column)
        else:
            self.parts[name] = _numbers(name, column)
        if absent:
            self.filled[name] = absent

    def _add_categories(self, name: str, column: pandas.Series) -> list[str]:
        gaps = column.isna()
        texts = np.array([_NONE if absent else _text(v) for v, absent in zip(column, gaps, strict=True)], object)
        values = sorted(set(texts), key=_rank)
        if len(values) > MOST_CATEGORIES:
            expected = f"numbers, or at most {MOST_CATEGORIES} categories (--ignore {name} leaves it out)"
            raise bad_argument(f"column {name}", expected, f"{len(values):,} different values such as {values[0]!r}")
        added = []
        for value in values:
            label = f"{name}={value}"
            while label in self.taken or label in self.parts:
                label += "'"
            self.parts[label] = (texts == value).astype(np.float64)
            added.append(label)
        return added

    def notes(self, ignore: Sequence[str]) -> list[str]:
        notes = []
        if self.groups:
            which = ", ".join(f"{name} ({len(columns)})" for name, columns in self.groups.items())
            notes.append(f"Categories, written as one-hot columns, each column of the table one feature: {which}.")
        if self.filled:
            rules = {name: "a category of their own" if name in self.groups else "the median" for name in self.filled}
            which = ", ".join(f"{name} ({count:,}, {rules[name]})" for name, count in self.filled.items())
            notes.append(f"Missing values were replaced in {which}.")
        if self.constant:
            notes.append(f"Left out, since they have a single value: {', '.join(self.constant)}.")
        if ignore:
            notes.append(f"Left out, as asked: {', '.join(dict.fromkeys(ignore))}.")
        return notes


def _without_missing(
    frame: pandas.DataFrame, target: str, missing: str, said: list[str]
) -> tuple[pandas.DataFrame, list[str]]:
    total = len(frame)
    counts = frame.isna().sum()
    counts = counts[counts > 0]
    notes = [f"{total:,} rows, {frame.shape[1] - 1} columns beside the target {target}.", *said]
    if not len(counts):
        return frame, [*notes, "No value is missing."]
    if missing == "refuse":
        which = ", ".join(f"{name} ({count:,} of {total:,})" for name, count in counts.items())
        raise InputError(
            f"TABLE: values are missing in {which}; --missing drop leaves these rows out, --missing impute puts the "
            "median of a column of numbers in their place and a category of their own into others, --ignore leaves a "
            f"column out. {' '.join(said)}".strip()
        )
    kept = frame.dropna() if missing == "drop" else frame[frame[target].notna()]
    left_out = total - len(kept)
    if left_out:
        why = "that have a missing value" if missing == "drop" else "without a target"
        notes.append(f"Left out: {left_out:,} rows {why}.")
    return kept, notes


def _is_category(column: pandas.Series, asked: bool) -> bool:
    from pandas import CategoricalDtype
    from pandas.api import types

    if asked or types.is_bool_dtype(column.dtype) or isinstance(column.dtype, CategoricalDtype):
        return True
    if types.is_numeric_dtype(column.dtype) and not types.is_complex_dtype(column.dtype):
        return False
    if types.is_string_dtype(column.dtype) or column.dtype == object:
        return True
    expected = "numbers or categories (make numbers of it, or --ignore it)"
    raise bad_argument(f"column {column.name}", expected, str(column.dtype))


def _distinct(column: pandas.Series) -> int:
    """Count different values, missing ones not."""
    try:
        return int(column.nunique())
    except TypeError:  # lists and the like, which Parquet files can hold
        raise bad_argument(f"column {column.name}", "numbers or categories", "values of another kind") from None


def _text(value: object) -> str:
    """Write a value in full, so that different values have different names; 3.0 stands for 3 beside missing values."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(float(value))
    return str(value)


def _rank(value: str) -> tuple[bool, float, str]:
    """Numbers in their order, then text, then what is missing."""
    try:
        return False, float(value), value
    except ValueError:
        return True, float(value == _NONE), value


def _numbers(name: str, column: pandas.Series) -> NDArray[np.float64]:
    given = column.astype(np.float64)
    values = np.array(given.fillna(given.median()))
    infinite = np.isinf(values)
    if infinite.any():
        row = column.index[int(infinite.argmax())]
        got = f"{int(infinite.sum())} that are infinite, the first in row {row} (counted from 0)"
        raise bad_argument(f"column {name}", "finite numbers", got)
    return values


def _labels(target: str, column: pandas.Series, *, asked: bool, gaps: bool) -> NDArray[Any]:
    """Give the target: as classes if asked for, whole numbers as integers where gaps alone had made them floats."""
    if _distinct(column) < 2:
        raise bad_argument("--target", "a column with at least two different values", repr(target))
    if _is_category(column, asked):
        values = np.array([_text(value) for value in column])
        if len(set(values)) > MOST_CATEGORIES:
            raise bad_argument("--target", f"numbers, or at most {MOST_CATEGORIES} classes", repr(target))
        return values
    numbers = _numbers(target, column)
    exact = np.abs(numbers) < 2**53  # larger floats are whole numbers by themselves
    whole = column.dtype.kind in "iu" or (gaps and bool(((numbers == np.rint(numbers)) & exact).all()))
    return numbers.astype(np.int64) if whole else numbers

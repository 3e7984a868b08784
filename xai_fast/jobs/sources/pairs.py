"""Pairs of picture files, as a table lists them."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_fast.errors import InputError, bad_argument
from xai_fast.jobs.sources.base import Listing, Read, no_such_path
from xai_fast.jobs.sources.describe import PICTURE_SUFFIXES
from xai_fast.jobs.sources.images import MARKS, ImageSource, marks_of
from xai_fast.jobs.sources.pictures import make_decoder
from xai_fast.values import check_keys

__all__ = ["PairSource"]

_SIDES = ("x_", "y_")


class PairSource(ImageSource):
    """Pairs (x, y) of pictures: two columns of paths in a CSV or TSV file (UTF-8), relative to its folder.

    "columns" names the two, by default the first ones. A first line of two paths of pictures is a pair, any other has
    the names of the columns. The list is the same as when the job began if its content is; a picture as in
    `ImageSource`. A pair is called after its paths.
    """

    kind = "pairs"
    columns = tuple(side + mark for side in _SIDES for mark in MARKS)
    labelled = False

    def __init__(self, described: Mapping[str, Any], decoder: str) -> None:
        self._decode = make_decoder(decoder)
        path = str(described["path"])
        self.files = {"pairs": path}
        self._root = os.path.dirname(path)
        self._pairs = _read(path, described.get("columns"))

    def listing(self) -> Listing:
        """List the names of the pairs, and the marks of both files."""
        return self._rows()

    def read(self, index: int, *, as_it_is: bool = False) -> Read:
        """Read and decode both files."""
        return Read(tuple(self._picture(index, side, as_it_is=as_it_is) for side in _SIDES))

    def path(self, index: int, side: str = _SIDES[0]) -> str:
        """Give the place of a file of a pair."""
        return os.path.join(self._root, self._pairs[index][_SIDES.index(side)])

    def _rows(self) -> Iterator[tuple[str, Sequence[int]]]:
        hashed = self._is_small()
        marks = {name: marks_of(file, hashed=hashed) for name, file in self._files()}
        for x, y in self._pairs:
            yield f"{x} \N{EN DASH} {y}", (*marks[x], *marks[y])

    def _files(self) -> Iterator[tuple[str, str | os.DirEntry[str]]]:
        for name in dict.fromkeys(name for pair in self._pairs for name in pair):
            yield name, os.path.join(self._root, name)


def _read(path: str, columns: object) -> list[tuple[str, str]]:
    """Read the pairs of paths."""
    if not os.path.isfile(path):
        raise no_such_path("a list of pairs that exists", path)
    if path.lower().endswith((".parquet", ".pq")):
        raise bad_argument("source", "pairs of pictures in a CSV or TSV file", repr(path))
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, delimiter="\t" if path.lower().endswith(".tsv") else ",")
            found = [(rows.line_num, row) for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"source: the pairs in {path} cannot be read: {error}") from error
    places = [0, 1]
    first = found[0][1] if found else []
    if columns is not None or not all(cell.lower().endswith(PICTURE_SUFFIXES) for cell in first[:2]):
        places, found = _places(columns, first), found[1:]
    if not found:
        raise bad_argument("source", "a list of at least one pair", f"none in {path}")
    for line, row in found:
        if len(row) <= max(places) or not all(row[place] and "\0" not in row[place] for place in places):
            raise bad_argument("source", f"two paths of pictures in line {line} of {path}", repr(",".join(row)))
    return [(row[places[0]], row[places[1]]) for _, row in found]


def _places(columns: object, names: Sequence[str]) -> list[int]:
    if columns is None:
        return [0, 1]
    if not isinstance(columns, list) or len(columns) != 2:
        raise bad_argument("source.columns", "the names of two columns", repr(columns))
    check_keys("source.columns", columns, names)
    return [names.index(name) for name in columns]

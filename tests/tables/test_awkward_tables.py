"""Tables as people have them: each file becomes the columns that its owner means, or a message that names the cause."""

from __future__ import annotations

import decimal
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from xai_fast import cli
from xai_fast.cli import tnid
from xai_fast.tables.columns import EncodedTable

pandas = pytest.importorskip("pandas")

NAN = float("nan")


def rows(names: str, *three: str, mark: str = ",", encoding: str = "utf-8") -> bytes:
    """Write lines four times over, each with a number for b and for y after it."""
    lines = [f"{line}{mark}{i % 5}{mark}{i * i}" for i, line in enumerate(three * 4)]
    return "\n".join([mark.join((names, "b", "y")), *lines, ""]).encode(encoding)


def parquet(make: Callable[[Any], Any]) -> bytes:
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": range(12), "b": [i % 5 for i in range(12)], "y": [i * i for i in range(12)]})
    file = io.BytesIO()
    make(frame).to_parquet(file)
    return file.getvalue()


@dataclass(frozen=True)
class Case:
    """A file, and what has to come of it.

    Attributes:
        content: of the file, or a function that makes it.
        options: of the command.
        columns: the first values of columns beside b.
        says: part of the notes, or of the message where the table is refused.
        labels: the first values of the target.
    """

    content: bytes | Callable[[], bytes]
    says: str = ""
    options: tuple[str, ...] = ()
    columns: dict[str, list[float]] | None = None
    labels: list[object] = field(default_factory=lambda: [0, 1, 4])


IMPUTE = ("--missing", "impute")
LONG = [str(number) for number in range(11)]
NAMES_AGREE = "TABLE: expected columns with different names, got 'a' twice"
MORE = "TABLE: expected rows of 4 fields, as many as names, got rows with more"

CASES = {
    "decimal comma": Case(
        rows("a", "1,5", "2,5", "-3,25", mark=";"), "The decimal mark is ','.", (), {"a": [1.5, 2.5, -3.25]}
    ),
    "decimal comma in the target": Case(
        b"a;b;y\n" + b"1;2;0,5\n2;3;1,5\n3;5;2,25\n" * 4, "", (), {"a": [1, 2, 3]}, [0.5, 1.5, 2.25]
    ),
    "points between thousands beside a decimal comma": Case(
        rows("a;c", "0,5;1.234", "1,5;950", "2,5;12.345", mark=";"), "such as 1234 from '1.234'", (),
        {"a": [0.5, 1.5, 2.5], "c": [1234, 950, 12345]},
    ),
    "decimal comma and points": Case(rows("a", "1.234,5", "2,5", "3", mark=";"), "", (), {"a": [1234.5, 2.5, 3]}),
    "commas between thousands": Case(
        rows("a", '"1,234.5"', '"1,234,567"', "3"), "such as 1234.5 from '1,234.5'", (), {"a": [1234.5, 1234567, 3]}
    ),
    "a comma with two meanings": Case(
        rows("a", "950", '"1,234"', "3"), "column a: expected numbers with one meaning (--decimal names their mark, "
        "--na a word that stands for a missing value, --categorical a makes categories of them), got '1,234' in row 1",
    ),
    "a comma said to stand between thousands": Case(
        rows("a", "950", '"1,234"', "3"), "1234 from '1,234'", ("--thousands", ","), {"a": [950, 1234, 3]}
    ),
    "a comma said to be the decimal mark": Case(
        rows("a", "950", '"1,234"', "3"), "The decimal mark is ','.", ("--decimal", ","), {"a": [950, 1.234, 3]}
    ),
    "spaces and quotes between thousands": Case(
        rows("a,c", "1 234,12'345", "2,1'234'567", "3,1"), "such as 1234 from '1 234'", (),
        {"a": [1234, 2, 3], "c": [12345, 1234567, 1]},
    ),
    "a minus sign": Case(rows("a", "\u22121.5", "2", "3"), "", (), {"a": [-1.5, 2, 3]}),
    "dates and times": Case(
        rows("a,c", "12.03.2024,10:30", "13.03.2024,10:45", "14.03.2024,10:30"), "a (3), c (2)", (),
        {"a=12.03.2024": [1, 0, 0], "a=13.03.2024": [0, 1, 0], "a=14.03.2024": [0, 0, 1],
         "c=10:30": [1, 0, 1], "c=10:45": [0, 1, 0]},
    ),
    "question marks among numbers": Case(
        rows("a", "1.5", "?", "3.5"), 
        "--ignore leaves a column out. In a, '?' (4) among numbers counts as a missing value.",
    ),
    "words for missing values among numbers": Case(
        rows("a,c", "1.5,n/a", "-,2", "3.5,4"), "In a, '-' (4) among numbers counts as a missing value.", IMPUTE,
        {"a": [1.5, 2.5, 3.5], "c": [3, 2, 4]},
    ),
    "blanks among numbers": Case(rows("a", "1.5", "   ", "3"), "replaced in a (4", IMPUTE, {"a": [1.5, 2.25, 3]}),
    "a number that stands for a missing value": Case(
        rows("a", "1.5", "-999", "3.5"), "replaced in a (4, the median)", ("--na=-999", *IMPUTE), {"a": [1.5, 2.5, 3.5]}
    ),
    "NUL among numbers": Case(rows("a", *LONG, "1\x002"), "got '1\\x002' in row 11 (counted from 0)"),
    "a letter among numbers": Case(rows("a", *LONG, "1O"), "got '1O' in row 11 (counted from 0)"),
    "a letter among numbers in the target": Case(
        b"a,b,y\n" + b"".join(b"%d,%d,%d\n" % (i, i % 5, i) for i in range(20)) + b"1,2,x7\n",
        "column y: expected numbers with one meaning",
    ),
    "percent": Case(rows("a", "12 %", "3%", "4.5 %"), "such as 12 from '12 %'", (), {"a": [12, 3, 4.5]}),
    "currencies": Case(
        rows("a,c,d", "EUR 3,$5,5 \u20ac", "EUR 4,-$6,6 \u20ac", "EUR 7,$8,7.5 \u20ac"), "such as 3 from 'EUR 3'", (),
        {"a": [3, 4, 7], "c": [5, -6, 8], "d": [5, 6, 7.5]},
    ),
    "percent in the target": Case(
        b"a,b,y\n" + b"1,2,5 %\n2,3,1.5 %\n3,5,2 %\n" * 4, "", (), {"a": [1, 2, 3]}, [5, 1.5, 2]
    ),
    "two units": Case(rows("a", "12 kg", "500 g", "3 kg"), "got '500 g' in row 1 (counted from 0)"),
    "two currencies": Case(rows("a", "EUR 3", "USD 3", "EUR 4"), "got 'USD 3' in row 1 (counted from 0)"),
    "labels that begin with numbers": Case(
        rows("a", "1st", "2nd", "1st"), "a (2)", (), {"a=1st": [1, 0, 1], "a=2nd": [0, 1, 0]}
    ),
    "labels that end with numbers": Case(rows("a", "Q1", "Q2", "Q1"), "", (), {"a=Q1": [1, 0, 1], "a=Q2": [0, 1, 0]}),
    "numbers that are categories": Case(
        rows("a", "12 %", "?", "12 %"), "In a, '?' (4) is a category; --na makes it a missing value.",
        ("--categorical", "a"), {"a=12 %": [1, 0, 1], "a=?": [0, 1, 0]},
    ),
    "None and NA as categories": Case(
        rows("a", "None", "NA", "some"), "In a, 'None', 'NA' (8) is a category", (),
        {"a=NA": [0, 1, 0], "a=None": [1, 0, 0], "a=some": [0, 0, 1]},
    ),
    "NA said to be missing": Case(
        rows("a", "None", "NA", "some"), "a (4, a category of their own)", ("--na", "NA", *IMPUTE),
        {"a=None": [1, 0, 0], "a=some": [0, 0, 1], "a=(missing)": [0, 1, 0]},
    ),
    "spaces around text": Case(
        rows("a", "A ", "A", " B"), "Spaces around the text of a were left out.", (),
        {"a=A": [1, 1, 0], "a=B": [0, 0, 1]},
    ),
    "spaces after separators": Case(rows(" a, c ", '1, "x, z"', "2, v", "3, v"), "", (),
        {"a": [1, 2, 3], "c=v": [0, 1, 1], "c=x, z": [1, 0, 0]},
    ),
    "separators in quoted names": Case(
        rows('"a, in m, net"', "1", "2", "3", mark=";"), "", (), {"a, in m, net": [1, 2, 3]}
    ),
    "commas in names": Case(
        rows("a, net;c, net", "1,5;1", "2;2", "3;3", mark=";"), "", (), {"a, net": [1.5, 2, 3], "c, net": [1, 2, 3]}
    ),
    "semicolons in text": Case(
        rows("a", "x;y;z;w", "u;v;u;v", "u;v;u;v"), "a (2)", (), {"a=u;v;u;v": [0, 1, 1], "a=x;y;z;w": [1, 0, 0]}
    ),
    "tabs": Case(rows("a", "x, y", "z", "z", mark="\t"), "", (), {"a=x, y": [1, 0, 0], "a=z": [0, 1, 1]}),
    "a separator that is said": Case(rows("a", "1", "2", "3", mark=":"), "", ("--separator", ":"), {"a": [1, 2, 3]}),
    "a title": Case(b"Sales of 2024\n" + rows("a", "1", "2", "3"),
        "TABLE: expected rows of 1 fields, as many as names, got rows with more (is 'Sales of 2024' a title above the "
        "names? skip_rows leaves it out)"),
    "a title that is skipped": Case(
        b"# Sales, of 2024\n" + rows("a", "1", "2", "3"), "", ("--skip-rows", "1"), {"a": [1, 2, 3]}
    ),
    "UTF-16": Case(rows("\u00e4", "\u00f6", "x", "x", encoding="utf-16"), "", (),
        {"\u00e4=x": [0, 1, 1], "\u00e4=\u00f6": [1, 0, 0]}),
    "a separator of two characters": Case(rows("a", "1", "2", "3"), "must be a 1-character", ("--separator", "::")),
    "Latin-1": Case(rows("a", "\u00f6", "x", "x", encoding="latin-1"), 
        "byte 0xf6 in position 6: invalid start byte; if its encoding is another one, such as latin-1, say so"),
    "Latin-1 that is said": Case(rows("a", "\u00f6", "x", "x", encoding="latin-1"), "", ("--encoding", "latin-1"),
        {"a=x": [0, 1, 1], "a=\u00f6": [1, 0, 0]}),
    "an encoding that is none": Case(rows("a", "1", "2", "3"), "unknown encoding: klingon", ("--encoding", "klingon")),
    "a comma after each row": Case(b"b,a,y\n" + b"3,1,0,\n5,2,1,\n7,3,4,\n" * 4, "", (), {"a": [1, 2, 3]}),
    "a comma after each line": Case(b"b,a,y,\n" + b"3,1,0,\n5,2,1,\n7,3,4,\n" * 4, "", (), {"a": [1, 2, 3]}),
    "a value too many in each row": Case(b"z,a,b,y\n" + b"1,2,3,4,5\n" * 12, MORE),
    "two values too many in each row": Case(b"z,a,b,y\n" + b"1,2,3,4,5,6\n" * 12, MORE),
    "a value too many in a row": Case(rows("a", "1", "2", "3") + b"1,2,3,4\n", "Expected 3 fields in line 14, saw 4"),
    "a name twice": Case(rows("a,a", "1,2", "2,3", "3,4"), NAMES_AGREE),
    "a name twice behind a byte order mark": Case(b'\xef\xbb\xbf"a";b;a\n' + b"1;2;3\n" * 12, NAMES_AGREE),
    "no names": Case(rows(",", "1,4", "2,5", "3,6"), "", (), {"Unnamed: 0": [1, 2, 3], "Unnamed: 1": [4, 5, 6]}),
    "names like those that pandas makes": Case(
        b"\n\n" + rows("a,a.1", "1,4", "2,5", "3,6"), "", (), {"a": [1, 2, 3], "a.1": [4, 5, 6]}
    ),
    "lines that end as in Windows": Case(
        rows("a", "1", "2", "3").replace(b"\n", b"\r\n"), "No value is missing.", (), {"a": [1, 2, 3]}
    ),
    "only names": Case(b"a,b,y\n", "TABLE: expected at least 10 rows, got 0"),
    "Parquet: decimal numbers": Case(
        lambda: parquet(lambda f: f.assign(a=[decimal.Decimal(i) / 4 for i in f["a"]])), "", (), {"a": [0, 0.25, 0.5]}
    ),
    "Parquet: a named index": Case(lambda: parquet(lambda f: f.set_index("a")), "", (), {"a": [0, 1, 2]}),
    "Parquet: numbers of rows": Case(
        lambda: parquet(lambda f: f.set_axis([2 * i for i in f.index])), "12 rows, 2 columns", (), {"a": [0, 1, 2]}
    ),
    "Parquet: options of CSV files": Case(
        lambda: parquet(lambda f: f), "TABLE: expected a CSV file, where separator, encoding", ("--skip-rows", "1")
    ),
}  # fmt: skip


class Read(BaseException):
    """Ends the command when the table is read."""


@pytest.mark.parametrize("name", CASES)
def test_a_table_is_what_its_owner_means(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(out: Path, name: str, table: EncodedTable, settings: object) -> None:
        raise Read(table)

    case = CASES[name]
    monkeypatch.setattr(tnid, "check_folder", stop)
    monkeypatch.chdir(tmp_path)
    path = "t.parquet" if name.startswith("Parquet") else "t.csv"
    Path(path).write_bytes(case.content if isinstance(case.content, bytes) else case.content())
    if case.columns is None:
        assert cli.main(["t-nid", path, "--target", "y", *case.options]) == 2
        assert case.says in capsys.readouterr().err
        return
    with pytest.raises(Read) as read:
        cli.main(["t-nid", path, "--target", "y", *case.options])
    table: EncodedTable = read.value.args[0]
    got = {column: table.values[:3, i].tolist() for i, column in enumerate(table.columns) if column != "b"}
    assert (got, table.labels[:3].tolist()) == (case.columns, case.labels)
    assert case.says in " ".join(table.notes)
    assert ("Spaces" in " ".join(table.notes)) == (name == "spaces around text")

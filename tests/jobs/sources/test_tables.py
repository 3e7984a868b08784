"""Rows of tables: columns, labels, names of rows, and what is no number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from batch_objects import frozen, ids

from xai_fast.errors import InputError
from xai_fast.jobs.sources import SourceChanged, open_source

pandas = pytest.importorskip("pandas")

FRAME = pandas.DataFrame(
    {
        "name": ["x", "y", "z"],
        "a": [1, 2, 3],
        "b": [0.5, None, 2.5],
        "c": [True, False, True],
        "class": [2, 0, 1],
        "maybe": [1, None, 0],
    }
)


@pytest.fixture(params=["csv", "parquet"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"t.{request.param}"
    if request.param == "csv":
        FRAME.to_csv(path, index=False)
    else:
        pytest.importorskip("pyarrow")
        FRAME.to_parquet(path)
    return path


def table(path: Path, **options: Any) -> dict[str, Any]:
    return {"kind": "table", "path": path, **options}


def test_rows_labels_and_names(path: Path) -> None:
    source = frozen(table(path, ignore=["maybe"], label="class", id="name"))
    assert ids(source) == ["x", "y", "z"]
    assert source.read(2).value.tolist() == [3.0, 2.5, 1.0]
    assert source.read(1).value.dtype == torch.float64
    assert source.read(1).value.isnan().tolist() == [False, True, False]
    assert [source.read(i).label for i in range(3)] == [2, 0, 1]


def test_columns_are_taken_in_the_order_of_the_user(path: Path) -> None:
    source = frozen(table(path, columns=["c", "a"]))
    assert ids(source) == ["0", "1", "2"]
    assert source.read(0).value.tolist() == [1.0, 1.0]
    assert source.label(0) is None


def test_any_column_of_whole_numbers_may_be_the_target(path: Path) -> None:
    source = open_source(table(path, columns=["a"]))
    source.check_column("class")
    assert [source.label(i, "class") for i in range(3)] == [2, 0, 1]
    source.check_column("maybe")
    assert [source.label(i, "maybe") for i in range(3)] == [1, -1, 0]
    with pytest.raises(InputError, match=r"target: expected a column of the table.*did you mean 'class'"):
        source.check_column("clas")
    with pytest.raises(InputError, match="target: expected whole numbers in the column 'b'"):
        source.check_column("b")


MISTAKES = [
    ({}, "the column 'name' holds .*leave it out"),
    ({"columns": ["a", "bb"]}, r"source\.columns: expected one of.*did you mean 'b'"),
    ({"ignore": "nam"}, r"source\.ignore: expected one of.*did you mean 'name'"),
    ({"label": "clas"}, r"source\.label: expected one of.*did you mean 'class'"),
    ({"id": 3}, r"source\.id: expected one of .*got 3"),
    ({"columns": [3]}, r"source\.columns: expected names of columns"),
    ({"columns": ["a"], "label": "b"}, "whole numbers in the column 'b'"),
    ({"ignore": list(FRAME.columns)}, "at least one column for the model"),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_mistakes_are_named(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=message):
        open_source(table(tmp_path / "t.csv", **options))


def test_a_table_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(InputError, match=r"source: expected a table that exists \(did you mean '.*table\.csv'\?\)"):
        open_source(tmp_path / "tabel.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match=r"source: .*cannot be read"):
        open_source(tmp_path / "empty.csv")


def test_another_table_is_noticed(path: Path) -> None:
    options = table(path, columns=["a"])
    source = frozen(options)
    source.check()
    longer = pandas.concat([FRAME, FRAME])
    longer.to_csv(path, index=False) if path.suffix == ".csv" else longer.to_parquet(path)
    with pytest.raises(SourceChanged, match="bytes then"):
        source.check()
    with pytest.raises(SourceChanged, match="is not what it was"):
        open_source(options).use(source.items, source.identity())

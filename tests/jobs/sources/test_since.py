"""What is told of the files of a source since its job began."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_objects import Listed

from xai_fast.jobs.sources import SourceChanged, open_source
from xai_fast.jobs.sources.describe import describe
from xai_fast.jobs.sources.since import changes_since

CHANGES: list[tuple[list[str], list[str], list[str]]] = [
    ([], [], []),
    (["new.png"], [], ["1 file was added since this job began; it is not part of it"]),
    (["x/new.png", "0.PNG"], [], ["2 files were added since this job began; they are not part of it"]),
    (["a.png", "text.txt", ".b.png"], [], []),
    ([], ["a.png"], ["1 file was removed since this job began"]),
    ([], ["a.png", "c/b.png"], ["2 files were removed since this job began"]),
    (
        ["1.png", "2.png", "3.png"],
        ["a.png"],
        ["3 files were added and 1 removed since this job began; they are not part of it"],
    ),
]


@pytest.mark.parametrize(("added", "removed", "lines"), CHANGES, ids=str)
def test_files_that_come_and_go_are_counted(
    added: list[str], removed: list[str], lines: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("PIL")
    write(tmp_path, ["a.png", "c/b.png", "d.png"])
    source = open_source(tmp_path)
    items, identity = Listed(source), source.identity()
    write(tmp_path, added)
    for name in removed:
        (tmp_path / name).unlink()
    assert changes_since(describe(tmp_path), identity, items) == lines


def write(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"picture")


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    write(tmp_path, ["photos/a.png"])
    source = open_source(tmp_path / "photos")
    (tmp_path / "photos" / "a.png").unlink()
    (tmp_path / "photos").rmdir()
    (line,) = changes_since(describe(tmp_path / "photos"), source.identity(), Listed(source))
    assert line.startswith("source: expected folders and pictures that exist")


@pytest.mark.parametrize("which", ["x.npy", "y.npy"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros(9), "had 168 bytes when this job began, and has 200 now"),
        (np.ones(5), "was written to since"),
        (None, "No such"),
    ],
)
def test_arrays_and_labels_are_looked_at(which: str, values: Any, said: str, tmp_path: Path) -> None:
    for name in ("x.npy", "y.npy"):
        np.save(tmp_path / name, np.zeros(5, np.int64))
        os.utime(tmp_path / name, ns=(7, 7))
    described = describe({"kind": "array", "path": tmp_path / "x.npy", "labels": tmp_path / "y.npy"})
    source = open_source(described)
    items, identity = Listed(source), source.identity()
    assert changes_since(described, identity, items) == []
    source.check(identity)
    if values is None:
        (tmp_path / which).unlink()
    else:
        np.save(tmp_path / which, values)
    (line,) = changes_since(described, identity, items)
    assert line.startswith(str(tmp_path / which))
    assert said in line
    with pytest.raises(SourceChanged):
        source.check(identity)


def test_what_has_no_files_is_not_looked_at() -> None:
    source = open_source("batch_objects:pairs")
    assert changes_since(describe("batch_objects:pairs"), source.identity(), Listed(source)) == []

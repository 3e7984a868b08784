"""Pairs of pictures: what a list may say, what the pairs are called, and how both files are watched."""

from __future__ import annotations

from pathlib import Path

import pytest
from batch_objects import frozen, ids

from xai_fast.errors import InputError
from xai_fast.jobs import JobSpec
from xai_fast.jobs.sources import ItemError, SourceChanged
from xai_fast.jobs.store.job_file import Status

Image = pytest.importorskip("PIL.Image")

ROWS = ["pics/a.png,pics/b/ü.png", "pics/b/ü.png,pics/b/ü.png", "pics/a.png,pics/gone.png"]
NAMES = [row.replace(",", " \N{EN DASH} ") for row in ROWS]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pics" / "b").mkdir(parents=True)
    for name, size, color in (("a.png", (6, 4), 9), ("b/ü.png", (3, 5), 90)):
        Image.new("RGB", size, (color, 0, 0)).save(tmp_path / "pics" / name)
    return tmp_path


def written(folder: Path, lines: list[str], name: str = "pairs.csv") -> dict[str, object]:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return {"kind": "pairs", "path": str(folder / name)}


@pytest.mark.parametrize(
    ("lines", "name", "options"),
    [
        (["x,y", *ROWS], "pairs.csv", {}),
        (ROWS, "pairs.csv", {}),
        ([row.replace(",", "\t") for row in ROWS], "pairs.tsv", {}),
        ([f'"{row.replace(",", chr(34) + "," + chr(34))}"' for row in ROWS], "pairs.csv", {}),
        (["same,second,first", *(f"1,{','.join(row.split(',')[::-1])}" for row in ROWS)], "pairs.csv", {"columns": 2}),
    ],
    ids=["names of columns", "none", "tabs", "quotes", "chosen columns"],
)
def test_both_pictures_of_each_row_are_read(folder: Path, lines: list[str], name: str, options: dict) -> None:
    chosen = {"columns": ["first", "second"]} if options else {}
    source = frozen(written(folder, lines, name) | chosen)
    assert ids(source) == NAMES
    assert [part.size for part in source.read(0).value] == [(6, 4), (3, 5)]
    assert [part.getpixel((0, 0))[0] for part in source.read(1).value] == [90, 90]
    with pytest.raises(ItemError, match="No such file") as caught:
        source.read(2)
    assert caught.value.status is Status.UNREADABLE
    assert [picture.size for picture in source.picture(0, 12)] == [(12, 8), (7, 12)]
    assert source.picture(2, 12) is None


def test_what_is_another_than_when_the_job_began_is_told(folder: Path) -> None:
    source = frozen(written(folder, ROWS))
    Image.new("RGB", (3, 5), (1, 2, 3)).save(folder / "pics" / "b" / "ü.png")
    with pytest.raises(ItemError, match="the file is not what it was") as caught:
        source.read(0)
    assert caught.value.status is Status.CHANGED
    assert len(source.read(0, as_it_is=True).value) == 2
    source.check()
    written(folder, ROWS[:2])
    with pytest.raises(SourceChanged, match=r"pairs\.csv"):
        source.check()


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["x,y"], {}, "source: expected a list of at least one pair, got none in"),
        ([*ROWS, "pics/a.png"], {}, r"source: expected two paths of pictures in line 4 of .*, got 'pics/a\.png'"),
        ([*ROWS, "pics/a.png,"], {}, "source: expected two paths of pictures in line 4"),
        (["x,y", *ROWS], {"columns": ["x", "z"]}, r"source\.columns: expected one of x, y, got 'z'"),
        (["x,y", *ROWS], {"columns": ["x"]}, r"source\.columns: expected the names of two columns"),
    ],
)
def test_mistakes_in_the_list_are_named(folder: Path, lines: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        frozen(written(folder, lines) | options)


def test_a_list_that_is_not_there_or_no_text_is_refused(folder: Path) -> None:
    written(folder, ROWS)
    with pytest.raises(InputError, match=r"a list of pairs that exists \(did you mean .*pairs\.csv"):
        frozen({"kind": "pairs", "path": str(folder / "pair.csv")})
    (folder / "pairs.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="source: expected pairs of pictures in a CSV or TSV file"):
        frozen({"kind": "pairs", "path": str(folder / "pairs.parquet")})
    (folder / "pairs.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(InputError, match=r"source: the pairs in .* cannot be read: 'utf-8'"):
        frozen({"kind": "pairs", "path": str(folder / "pairs.csv")})


@pytest.mark.parametrize(
    ("method", "kind"), [("bilrp", "pairs"), (["bilrp"], "pairs"), ("saliency", "table"), ("a.b:Own", "table")]
)
def test_a_table_is_a_list_of_pairs_for_a_method_of_pairs(method: object, kind: str) -> None:
    assert JobSpec("pairs.csv", method, model="a.b:c").source["kind"] == kind
    assert JobSpec({"kind": "pairs", "path": "pairs.csv"}, method, model="a.b:c").source["kind"] == "pairs"

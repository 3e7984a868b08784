from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from xai_fast.cli.files import content_id, find_pictures, output_file, shown
from xai_fast.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def names(*paths: Path, out: Path = Path("nowhere")) -> list[str]:
    return [picture.name for picture in find_pictures(paths, leave_out=out)]


def test_a_folder_is_searched_to_any_depth_in_order(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.PNG", "a/z.jpg", "a/b/c/d.webp", "c.jpeg", "notes.txt", ".hidden.png", ".cache/x.png", "a.png.txt"
    )
    assert names(tmp_path) == ["a/b/c/d.webp", "a/z.jpg", "b.PNG", "c.jpeg"]


def test_results_in_the_searched_folder_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "out/overlays/a.png.png", "sub/out/b.png")
    assert names(tmp_path, out=tmp_path / "out") == ["a.png", "sub/out/b.png"]


def test_files_are_taken_as_named_and_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "sub/b.png", "strange.xyz")
    assert names(tmp_path / "strange.xyz", tmp_path / "a.png") == ["strange.xyz", "a.png"]
    assert names(tmp_path / "sub" / "b.png", tmp_path, tmp_path) == ["b.png", f"{tmp_path.name}/a.png"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("x/p/a.png", "y/p/a.png"), ["p/a.png", "p/a (2).png"]),
        (("x/p/a.png", "y/p/A.PNG", "y/p/a (2).png"), ["p/a.png", "p/A (2).PNG", "p/a (2) (2).png"]),
        (("x/p/\u00fc.png", "y/p/u\u0308.png"), ["p/\u00fc.png", "p/u\u0308 (2).png"]),
        (("x/p/a.png", "y/p/a.jpg"), ["p/a.png", "p/a.jpg"]),
    ],
)
def test_names_do_not_collide(files: tuple[str, ...], expected: list[str], tmp_path: Path) -> None:
    touch(tmp_path, *files)
    assert names(tmp_path / "x" / "p", tmp_path / "y" / "p") == expected


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^paths: expected folders and pictures that exist, got .*gone.png"):
        names(tmp_path, tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"^paths: expected at least one picture .*, got none in "):
        names(tmp_path)


def test_results_are_called_after_the_whole_name() -> None:
    folder = Path("maps")
    assert output_file(folder, "a/cat.png", ".npz") == folder / "a" / "cat.png.npz"
    long = output_file(folder, "a/" + "\u00fc" * 120 + ".png", ".npz")
    other = output_file(folder, "a/" + "\u00fc" * 120 + ".jpg", ".npz")
    assert long != other
    for path in (long, other):
        assert path.parent == folder / "a"
        assert len(os.fsencode(path.name)) < 150


def test_identity_is_that_of_the_content() -> None:
    ids = {content_id(bytes([value])) for value in range(200)}
    assert len(ids) == 200
    assert all(0 <= number < 2**53 for number in ids)
    assert max(ids) > 2**50
    # A constant: maps of earlier runs stay valid.
    assert content_id(b"xai_fast") == 5099363960055520


def test_names_that_are_no_text_can_be_shown() -> None:
    name = os.fsdecode(b"caf\xe9.png")
    assert shown(name) == "caf\ufffd.png"
    assert str(PurePosixPath(shown("\u00fc.png"))) == "\u00fc.png"

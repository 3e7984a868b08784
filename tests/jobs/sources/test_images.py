"""Picture files: which are found, what they are called, and how each is watched."""

from __future__ import annotations

import io
import os
import socket
import struct
import threading
import zlib
from pathlib import Path

import pytest
import torch
from batch_objects import frozen, ids

from xai_fast.errors import InputError
from xai_fast.images import open_image
from xai_fast.jobs.sources import ItemError, SourceChanged, open_source
from xai_fast.jobs.store.job_file import Status

Image = pytest.importorskip("PIL.Image")


def picture(path: Path, color: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (color, 0, 0)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.png", "b/10.PNG", "a.png", "b.jpg", "c/d/e.webp", ".hidden/x.png", ".x.png", "b/text.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(("txt", "hidden")):
            (tmp_path / name).write_text("text")
        else:
            picture(tmp_path / name)
    return tmp_path


def test_folders_are_searched_in_order(folder: Path) -> None:
    source = frozen(folder)
    assert ids(source) == ["a.png", "b/10.PNG", "b/2.png", "b.jpg", "c/d/e.webp"]
    assert len(source) == 5
    for index, name in enumerate(ids(source)):
        status = (folder / name).stat()
        found = source.items.value("size", index), source.items.value("time", index)
        assert found == (status.st_size, status.st_mtime_ns)
    assert source.read(1).value.size == (6, 4)


def test_results_are_no_inputs(folder: Path) -> None:
    """The folder of a job, in the folder of its pictures."""
    for place in (folder / "out", folder):
        picture(place / "report-data" / "map.png")
        (place / "shards").mkdir()
        (place / "job.json").touch()
    assert len(frozen(folder)) == 5


def test_lists_keep_their_order(folder: Path) -> None:
    source = frozen([folder / "b" / "2.png", folder / "a.png", folder / "c"])
    assert ids(source) == ["b/2.png", "a.png", "c/d/e.webp"]
    assert source.read(1).value.size == (6, 4)
    assert ids(frozen(folder / "b" / "2.png")) == ["2.png"]
    with pytest.raises(InputError, match="folders and pictures that exist"):
        frozen([folder / "a.png", folder / "z.png"])


def test_nothing_found_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"at least one picture \(\.png"):
        frozen(tmp_path)
    with pytest.raises(InputError, match="folders and pictures that exist"):
        frozen(tmp_path / "photo")
    with pytest.raises(InputError, match=r'source.labels: expected "folders"'):
        frozen({"kind": "images", "path": tmp_path, "labels": "folder"})


class Hostile:
    """A frozen list that somebody else made."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __len__(self) -> int:
        return 1

    def id(self, index: int) -> str:
        return self.name

    def value(self, column: str, index: int) -> None:
        return None


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "a/../../x.png", "", "a//b.png", "./a.png", "a\0b"])
def test_names_that_lead_out_of_the_folder_are_refused(name: str, folder: Path) -> None:
    picture(folder.parent / "secret.png")
    source = open_source(folder / "b")
    source.items = Hostile(name)  # type: ignore[assignment]
    with pytest.raises(ItemError, match="expected the name of a file below the folder"):
        source.read(0)


def test_a_change_of_a_file_is_noticed_by_its_content(folder: Path) -> None:
    source = frozen(folder)
    data = (folder / "a.png").read_bytes()
    os.utime(folder / "a.png", ns=(5, 5))
    assert source.read(0).value.size == (6, 4), "touched, and the same"
    (folder / "a.png").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for message, content in (("another content", None), ("bytes then", data + b"more")):
        if content:
            (folder / "a.png").write_bytes(content)
        with pytest.raises(ItemError, match=f"the file is not what it was.*{message}") as caught:
            source.read(0)
        assert caught.value.status is Status.CHANGED
    assert source.read(0, as_it_is=True).value.size == (6, 4)


def test_large_folders_are_not_hashed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_fast.jobs.sources.images.HASHED", 100)
    source = frozen(folder)
    assert source.items.value("hash", 0) == 0
    os.utime(folder / "a.png", ns=(5, 5))
    assert source.read(0).value.size == (6, 4)


def test_a_folder_that_vanishes_concerns_the_job(folder: Path) -> None:
    source = frozen(folder)
    (folder / "a.png").rename(folder / "z.png")
    with pytest.raises(ItemError, match="No such file"):
        source.read(0)
    folder.rename(folder.with_name("elsewhere"))
    for _ in range(2):
        with pytest.raises(SourceChanged, match=r"the pictures in .* are gone"):
            source.read(1)
        folder.mkdir(exist_ok=True)  # as where something was mounted


def broken(kind: str, path: Path) -> str:
    good = path.read_bytes()
    path.unlink()
    if kind == "gone":
        return "No such file"
    if kind == "text":
        path.write_text("no picture")
        return "not a picture"
    if kind == "half":
        path.write_bytes(good[: len(good) // 2])
        return "truncated|damaged|broken|not a picture"
    if kind == "pipe":
        os.mkfifo(path)
        return "not a file"
    if kind == "link to nowhere":
        path.symlink_to("nowhere.png")
        return "No such file"
    path.mkdir()
    return "directory|not a file"


@pytest.mark.parametrize("kind", ["gone", "text", "half", "pipe", "link to nowhere", "folder"])
def test_what_cannot_be_read_is_told_with_the_item(kind: str, folder: Path) -> None:
    source = frozen(folder)
    message = broken(kind, folder / "a.png")
    with pytest.raises(ItemError, match=message) as caught:
        source.read(0, as_it_is=True)
    assert caught.value.status is Status.UNREADABLE
    assert source.picture(0, 10) is None
    assert source.read(1).value.size == (6, 4)


def special(kind: str, path: Path) -> None:
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("name", ["p.png", "p.tar", "p.npy", "p.csv", "p.safetensors"])
def test_what_is_no_file_is_never_opened(
    name: str, kind: str, linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "source" / name
    path.parent.mkdir()
    special(kind, tmp_path / "target" if linked else path)
    if linked:
        path.symlink_to(tmp_path / "target")

    def refuse(opened: object, *_rest: object, **_more: object) -> None:
        raise AssertionError(f"{opened} is opened")

    if name.endswith("csv"):
        pytest.importorskip("pandas")
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("tarfile.bltn_open", refuse)
    if not name.endswith("png"):
        with pytest.raises(InputError, match=r"not a file, but|that exist"):
            open_source(path).listing()
        return
    source = open_source(path.parent)
    assert list(source.listing()) == [(name, (-1, -1, 0, -1))]  # type: ignore[arg-type]
    source.items = Hostile(name)  # type: ignore[assignment]
    with pytest.raises(ItemError, match="not a file, but a folder, a pipe"):
        source.read(0, as_it_is=True)
    with pytest.raises(OSError, match="not a file, but"):
        open_image(path)


def test_a_link_to_nowhere_is_an_item(folder: Path) -> None:
    (folder / "z.png").symlink_to("nowhere.png")
    (folder / "y").symlink_to(folder)
    source = frozen(folder)
    assert ids(source)[-1] == "z.png"
    assert source.items.value("size", 5) == -1


def test_labels_are_the_places_of_folders(tmp_path: Path) -> None:
    for name in ("cats/1.png", "birds/1.png", "cats/x/2.png", "top.png"):
        picture(tmp_path / name)
    source = frozen({"kind": "images", "path": tmp_path, "labels": "folders"})
    assert {name: source.label(i) for i, name in enumerate(ids(source))} == {
        "birds/1.png": 0,
        "cats/1.png": 1,
        "cats/x/2.png": 1,
        "top.png": None,
    }
    with pytest.raises(InputError, match="target: expected a source with labels"):
        open_source(tmp_path).check_column("label")


def test_a_decoder_of_the_user_gets_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bytes(range(10)))
    source = frozen(tmp_path, decoder="batch_objects:read_header")
    assert torch.equal(source.read(0).value, torch.arange(6.0))
    with pytest.raises(InputError, match="did you mean 'read_header'"):
        open_source(tmp_path, decoder="batch_objects:read_heder")


def test_every_suffix_and_a_file_without_one(tmp_path: Path) -> None:
    for suffix in ("tif", "tiff", "bmp", "gif", "TIF"):
        picture(tmp_path / f"{suffix}.{suffix}")
    Image.new("RGB", (6, 4)).save(tmp_path / "photo", "PNG")
    source = frozen(tmp_path)
    assert ids(source) == ["TIF.TIF", "bmp.bmp", "gif.gif", "tif.tif", "tiff.tiff"]
    assert {source.read(i).value.size for i in range(5)} == {(6, 4)}
    assert frozen(tmp_path / "photo").read(0).value.size == (6, 4)


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    for number in range(20):
        picture(tmp_path / f"{number // 5}" / f"{number:02}.png", number)
    source = frozen({"kind": "images", "path": tmp_path, "labels": "folders"})
    found: list[tuple[int, int, int | None]] = []

    def read(start: int) -> None:
        for index in range(start, 20, 4):
            item = source.read(index)
            found.append((index, item.value.getpixel((0, 0))[0], item.label))

    threads = [threading.Thread(target=read, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [(i, i, i // 5) for i in range(20)]


def test_pictures_for_people_show_what_the_model_sees(tmp_path: Path) -> None:
    from xai_fast.images import ImageModel

    wide = Image.new("RGB", (40, 20))
    wide.paste((255, 255, 255), (10, 0, 30, 20))
    wide.save(tmp_path / "wide.png")
    source = frozen(tmp_path)
    whole = source.picture(0, 20)
    assert whole is not None
    assert whole.size == (20, 10)
    assert whole.getpixel((1, 5)) == (0, 0, 0)
    seen = source.picture(0, 20, ImageModel(torch.nn.Identity(), "square", (16, 16), margin=0))
    assert seen is not None
    assert seen.size == (20, 20)
    assert min(seen.getpixel((3, 10))) > 200


def test_what_a_decoder_chokes_on_is_no_picture(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a PNG whose text unpacks to more than Pillow takes, for which it raises ValueError."""
    data = (folder / "a.png").read_bytes()
    text = b"zTXt" + b"k\0\0" + zlib.compress(b"a" * (4 << 20))
    bomb = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    (folder / "a.png").write_bytes(data[:33] + bomb + data[33:])
    with pytest.raises(ValueError, match="too large"):
        frozen(folder).read(0)
    assert frozen(folder).picture(0, 20) is None
    source = frozen(folder, decoder="batch_objects:read_header")
    monkeypatch.setattr(source, "_decode", lambda data: bytearray(1 << 62))
    assert source.picture(1, 20) is None


def test_file_names_need_not_be_text(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (2, 2)).save(data, "PNG")
    path = os.path.join(os.fsencode(tmp_path), b"odd-\xff.png")
    with open(path, "wb") as file:
        file.write(data.getvalue())
    assert frozen(tmp_path).read(0).value.size == (2, 2)

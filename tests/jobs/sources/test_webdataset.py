"""Samples in tar files, read at their place: what counts as one, and what is refused."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_objects import Listed

from xai_fast.errors import InputError
from xai_fast.jobs.sources import open_source
from xai_fast.jobs.sources import webdataset as module
from xai_fast.jobs.sources.base import ItemError
from xai_fast.jobs.store.layout import Status

Image = pytest.importorskip("PIL.Image")


def png(red: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (3, 3), (red, 0, 0)).save(data, "PNG")
    return data.getvalue()


def npy(values: np.ndarray) -> bytes:
    data = io.BytesIO()
    np.save(data, values)
    return data.getvalue()


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for tar in range(3):
        with tarfile.open(tmp_path / f"train-{tar:03}.tar", "w") as archive:
            for sample in range(4):
                number = 4 * tar + sample
                add(archive, f"./deep/{number:04}.jpg", png(number))
                add(archive, f"./deep/{number:04}.cls", f"{number % 3}\n".encode())
                add(archive, f"./deep/{number:04}.json", b"{}")
    return tmp_path


@pytest.mark.parametrize("path", ["train-*.tar", "train-{000..002}.tar", ["train-000.tar", "train-00[12].tar"]])
def test_samples_are_found_in_order(path: str | list[str], folder: Path) -> None:
    given = str(folder / path) if isinstance(path, str) else [str(folder / entry) for entry in path]
    source = open_source(given)
    assert list(source.ids()) == [f"train-{n // 4:03}.tar/deep/{n:04}" for n in range(12)]
    again = open_source(given, items=Listed(source))
    for index in (11, 0, 5, 4, 8, 3):
        stamp = Listed(source).stamp(index)
        for opened in (source, again):
            read = opened.read(index, stamp)
            assert read.value.getpixel((0, 0)) == (index, 0, 0)
            assert read.label == index % 3


def test_few_tars_are_open_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OPEN_AT_ONCE", 1)
    source = open_source(folder / "*.tar")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    assert [source.load(index).getpixel((0, 0))[0] for index in range(12)] == list(range(12))
    assert before is None or len(os.listdir("/proc/self/fd")) == before + 1


def test_links_devices_and_hidden_files_are_no_samples(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "link.png", type=tarfile.SYMTYPE, linkname="/etc/hostname")
        add(archive, "hard.png", type=tarfile.LNKTYPE, linkname="good.png")
        add(archive, "device.png", type=tarfile.CHRTYPE)
        add(archive, "pipe.png", type=tarfile.FIFOTYPE)
        add(archive, "folder.png", type=tarfile.DIRTYPE)
        add(archive, ".hidden.png", png(1))
        add(archive, "suffixless", png(1))
        add(archive, "good.png", png(7))
    source = open_source(tmp_path / "x.tar")
    assert list(source.ids()) == ["x.tar/good"]
    assert source.load(0).getpixel((0, 0)) == (7, 0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar"]


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "a/../../x.png"])
def test_names_that_lead_out_are_refused(name: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, name, png(1))
    with pytest.raises(InputError, match="expected names of files inside"):
        open_source(tmp_path / "x.tar")


def test_arrays_and_the_choice_of_a_field(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, "a.left.npy", npy(np.arange(3.0)))
        add(archive, "a.right.npy", npy(np.arange(4.0)))
        add(archive, "a.PNG", png(2))
        add(archive, "b.npy", npy(np.array([{}], dtype=object)))
        add(archive, "c.txt", b"text")
    assert open_source(tmp_path / "x.tar").load(0).size == (3, 3)
    source = open_source({"kind": "webdataset", "path": tmp_path / "x.tar", "field": ["right.npy", "npy"]})
    assert torch.equal(source.load(0), torch.arange(4.0, dtype=torch.float64))
    with pytest.raises(ItemError, match="no array that numpy can read"):
        source.load(1)
    with pytest.raises(ItemError, match=r"expected a file right.npy or npy, got txt"):
        source.load(2)
    with pytest.raises(InputError, match=r"source\.field: expected the suffix"):
        open_source({"kind": "webdataset", "path": tmp_path / "x.tar", "field": 3})


def test_a_tar_that_changes_is_noticed(folder: Path) -> None:
    source = open_source(folder / "train-000.tar")
    stamp = Listed(source).stamp(0)
    source.read(0, stamp)
    with tarfile.open(folder / "train-000.tar", "w") as archive:
        add(archive, "deep/0000.jpg", png(99))
    os.utime(folder / "train-000.tar", ns=(5, 5))
    with pytest.raises(ItemError, match="is not what it was") as caught:
        source.read(0, stamp)
    assert caught.value.status is Status.CHANGED
    assert source.read(0).value.getpixel((0, 0)) == (99, 0, 0)
    with pytest.raises(ItemError, match="no such sample"):
        source.read(1)
    (folder / "train-000.tar").unlink()
    with pytest.raises(ItemError, match="No such file"):
        source.read(0, stamp)


class Hostile:
    def __len__(self) -> int:
        return 1

    def id(self, index: int) -> str:
        return "../other.tar/deep/0000"


def test_items_of_other_tars_are_refused(folder: Path) -> None:
    source = open_source(folder / "train-000.tar", items=Hostile())  # type: ignore[arg-type]
    with pytest.raises(ItemError, match="expected an item of one of 1 tars"):
        source.read(0)


def test_what_is_no_tar_is_refused(folder: Path) -> None:
    whole = (folder / "train-000.tar").read_bytes()
    cases = {
        "empty.tar": (b"", "no tar file"),
        "text.tar": (b"text" * 1000, "no tar file"),
        "packed.tar": (gzip.compress(whole), "it is compressed"),
        "cut.tar": (whole[:5000], "no tar file that can be read"),
    }
    for name, (data, message) in cases.items():
        (folder / name).write_bytes(data)
        with pytest.raises(InputError, match=message):
            open_source(folder / name)
    with tarfile.open(folder / "none.tar", "w"):
        pass
    with pytest.raises(InputError, match="at least one sample"):
        open_source(folder / "none.tar")
    with pytest.raises(InputError, match="tar files that exist"):
        open_source(folder / "missing.tar")
    with pytest.raises(InputError, match="one range, that rises"):
        open_source(folder / "train-{009..001}.tar")
    with pytest.raises(InputError, match="one range, that rises"):
        open_source(folder / "train-{000..999}{000..999}.tar")


def test_a_tar_that_is_cut_off_while_it_is_read(folder: Path) -> None:
    source = open_source(folder / "train-000.tar")
    tar = source._tar("train-000.tar/deep/0003")
    os.truncate(folder / "train-000.tar", 2000)
    with pytest.raises(ItemError, match="ends within the sample"):
        module._whole(tar, tar.samples["deep/0003"]["jpg"])
    huge = module.Member(512, 1 << 60)
    with pytest.raises(ItemError, match="ends within the sample"):
        module._whole(tar, huge)

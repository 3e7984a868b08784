"""Damage is found, and only what is damaged is done again; what crashes left is removed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from batch_stores import begin, commit, complete, copy, files, opened

from xai_fast.errors import StoreError
from xai_fast.jobs import clean, repair, verify
from xai_fast.jobs import open as open_store

pytestmark = pytest.mark.usefixtures("quick_disk")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return complete(tmp_path_factory.mktemp("store") / "job")


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def data(root: Path, shard: int = 1) -> Path:
    return root / "shards" / "000000" / f"{shard:09d}.safetensors"


DAMAGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "flipped bit in a map": (lambda root: flip(data(root), -40), False),
    "flipped bit in a reason": (lambda root: flip(data(root), data(root).read_bytes().index(b"item 6")), False),
    "flipped bit in a name": (lambda root: flip(data(root), data(root).read_bytes().index(b'"scores"') + 2), True),
    "flipped bit in the length of the header": (lambda root: flip(data(root), 0), True),
    "truncated": (lambda root: os.truncate(data(root), 300), True),
    "empty": (lambda root: os.truncate(data(root), 0), True),
    "longer": (lambda root: data(root).write_bytes(data(root).read_bytes() + b"0"), True),
    "another shard": (lambda root: shutil.copy(data(root, 0), data(root, 1)), True),
    "a folder": (lambda root: (data(root).unlink(), data(root).mkdir()), True),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_only_the_damaged_shard_is_done_again(whole: Path, tmp_path: Path, name: str) -> None:
    root = copy(whole, tmp_path / "job")
    damage, quickly = DAMAGES[name]
    damage(root)
    assert bool(verify(root, deep=False)) == quickly
    found = verify(root)
    assert [one.shard for one in found] == [1]
    if name == "a folder":
        data(root).rmdir()
    else:
        assert repair(root) == found
    assert list(opened(root)[1].missing()) == [1]
    assert commit(root, 1)
    assert verify(root) == []
    wanted, got = open_store(whole)[:], open_store(root)[:]
    assert all((got.fields[n].nan_to_num(7) == wanted.fields[n].nan_to_num(7)).all() for n in wanted.fields)


def test_every_flipped_bit_of_a_shard_is_found(tmp_path: Path) -> None:
    root = complete(tmp_path / "job", 2, 4)
    content = data(root, 0).read_bytes()
    for place in range(len(content)):
        data(root, 0).write_bytes(content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :])
        assert verify(root), place


def test_the_first_shard_does_not_decide_what_is_right(whole: Path, tmp_path: Path) -> None:
    """A field that is called otherwise there: that is the damage, and not all the others."""
    root = copy(whole, tmp_path / "job")
    flip(data(root, 0), data(root, 0).read_bytes().index(b'"scores"') + 2)
    assert [one.shard for one in repair(root)] == [0]
    assert commit(root, 0)
    assert verify(root) == []


@pytest.mark.parametrize("damage", [lambda path: flip(path, -1), lambda path: os.truncate(path, 20), Path.unlink])
def test_items_cannot_be_repaired(whole: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    root = copy(whole, tmp_path / "job")
    damage(next(root.glob("items-*/*")))
    assert [one.shard for one in verify(root)] == [None]
    with pytest.raises(StoreError, match="cannot be repaired, start the job in another folder"):
        repair(root)


def test_progress_of_verify(whole: Path) -> None:
    seen: list[int] = []
    verify(whole, seen=seen.append)
    assert seen == [0, 1, 2]


def test_clean_removes_what_was_left_and_nothing_else(whole: Path, tmp_path: Path) -> None:
    root = copy(whole, tmp_path / "job")
    before = files(root)
    assert clean(root) == []
    left = [".tmp-job.json-0123", "items-0123/000000.safetensors", "shards/000000/.tmp-000000001.safetensors-0123"]
    kept = ["README", "shards/notes.txt", "shards/000000/notes.txt", "report/index.html"]
    for name in left + kept:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text")
    assert clean(root) == [], "a run that has just begun may be writing it"
    then = time.time() - 4000
    for name in (*left, "items-0123"):
        os.utime(root / name, (then, then))
    assert clean(root) == [".tmp-job.json-0123", "items-0123", "shards/000000/.tmp-000000001.safetensors-0123"]
    assert files(root) == sorted(before + kept)
    assert verify(root) == []


def test_clean_needs_a_store(tmp_path: Path) -> None:
    (tmp_path / ".tmp-precious").write_text("text")
    with pytest.raises(StoreError, match=r"expected a folder that .*jobs\.run made, got one without job\.json"):
        clean(tmp_path, force=True)
    begin(tmp_path / "job")
    assert clean(tmp_path / "job", force=True) == []

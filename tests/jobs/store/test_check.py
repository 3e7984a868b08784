"""Damage is found, and only what is damaged is done again; what crashes left is removed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from batch_stores import commit, complete, copy, files

from xai_fast.errors import StoreError
from xai_fast.jobs import journal, store
from xai_fast.jobs.store import check


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return complete(tmp_path_factory.mktemp("store") / "job").root


def _flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def _data(root: Path, shard: int) -> Path:
    return next((root / "data").glob(f"shard-{shard:06d}.*"))


def _edit(path: Path, change: Callable[[dict], object]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


SHARD_DAMAGES: dict[str, tuple[Callable[[Path], object], bool]] = {
    "flipped bit in a map": (lambda root: _flip(_data(root, 1), -40), False),
    "flipped bit in a status": (lambda root: _flip(_data(root, 1), -1), True),
    "flipped bit in the header": (lambda root: _flip(_data(root, 1), 30), True),
    "truncated": (lambda root: os.truncate(_data(root, 1), 300), True),
    "empty": (lambda root: os.truncate(_data(root, 1), 0), True),
    "longer": (lambda root: _data(root, 1).write_bytes(_data(root, 1).read_bytes() + b"0"), True),
    "missing": (lambda root: _data(root, 1).unlink(), True),
    "receipt without JSON": (lambda root: (root / "commits/shard-000001.json").write_text("{"), True),
    "receipt of another": (
        lambda root: shutil.copy(root / "commits/shard-000000.json", root / "commits/shard-000001.json"),
        True,
    ),
    "receipt of other items": (
        lambda root: _edit(root / "commits/shard-000001.json", lambda one: one.update(start=3, stop=7)),
        True,
    ),
}


@pytest.mark.parametrize("name", SHARD_DAMAGES)
def test_only_the_damaged_shard_is_done_again(whole: Path, tmp_path: Path, name: str) -> None:
    root = copy(whole, tmp_path / "job")
    assert store.verify(root) == []
    damage, without_digest = SHARD_DAMAGES[name]
    damage(root)
    found = store.verify(root)
    assert {one.shard for one in found} - {None} == {1}
    assert (1 in {one.shard for one in store.verify(root, deep=False)}) is without_digest
    layout = store.Layout(root)
    assert store.repair(root) == found
    assert store.committed(layout) == {0, 2}
    assert commit(layout, 1)
    assert store.verify(root) == []
    store.clean(root, force=True)
    store.write_manifest(layout)
    assert files(root) == files(whole)
    assert [one.sha256 for one in store.receipts(layout)] == [one.sha256 for one in store.receipts(store.Layout(whole))]


def test_repair_drops_what_it_judged(monkeypatch: pytest.MonkeyPatch, whole: Path, tmp_path: Path) -> None:
    """Between the judgement and the removal, another run has done the shard again."""
    root = copy(whole, tmp_path / "job")
    layout = store.Layout(root)
    _flip(_data(root, 1), -40)
    verify = check.verify

    def slow(out: Path) -> list[store.Damage]:
        found = verify(out)
        store.drop_receipts(layout, [1])
        assert commit(layout, 1)
        return found

    monkeypatch.setattr(check, "verify", slow)
    assert [damage.shard for damage in store.repair(root)] == [1]
    assert store.committed(layout) == {0, 1, 2}


def test_a_missing_receipt_is_a_shard_that_is_not_done(whole: Path, tmp_path: Path) -> None:
    root = copy(whole, tmp_path / "job")
    (root / "commits/shard-000001.json").unlink()
    assert [one.file for one in store.verify(root)] == ["manifest.json"]
    store.repair(root)
    assert store.committed(store.Layout(root)) == {0, 2}
    assert not (root / "manifest.json").exists()


def test_fields_and_manifest_are_written_again(whole: Path, tmp_path: Path) -> None:
    root = copy(whole, tmp_path / "job")
    (root / "fields.json").write_text("[]")
    (root / "manifest.json").write_text("[]")
    assert [one.file for one in store.verify(root)] == ["fields.json", "manifest.json"]
    store.repair(root)
    assert store.verify(root) == []
    assert (root / "fields.json").read_text() == (whole / "fields.json").read_text()
    assert store.open(root)[0].ok


@pytest.mark.parametrize("file", ["ids.bin", "offsets.npy", "items.json"])
def test_items_cannot_be_repaired(whole: Path, tmp_path: Path, file: str) -> None:
    root = copy(whole, tmp_path / "job")
    _flip(root / "items" / file, -8)
    assert [one.file for one in store.verify(root)] == ["items"]
    with pytest.raises(StoreError, match="cannot be repaired"):
        store.repair(root)


def test_progress_of_verify(whole: Path) -> None:
    seen: list[int] = []
    store.verify(whole, seen=seen.append)
    assert seen == [0, 1, 2]


LEFT = [
    ".tmp-0123456789abcdef",
    ".tmp-items-0123456789abcdef/ids.bin",
    ".tmp-0123456789abcde0.zarr/scores/c/0",
    "report/.tmp-0123456789abcdef",
    "report/shards/.tmp-0123456789abcdef",
    "commits/.tmp-0123456789abcdef",
    "data/.tmp-0123456789abcdef",
    "data/shard-000000.0123456789abcdef.safetensors",
    "data/shard-000009.0123456789abcdef.safetensors",
    "journal/.tmp-0123456789abcdef",
    "journal/memory-cpu.json",
    "journal/shard-000001/.tmp-0123456789abcdef",
    "journal/shard-000001/4-8.1.json",
    "parts/.tmp-0123456789abcdef",
    "parts/shard-000001.0-2.0123456789abcdef.safetensors",
    "parts/shard-000001.0-2.json",
]
KEPT = ["README", "data/notes.txt", "journal/notes.txt", "logs/a.jsonl", "parts/notes.txt", "report/index.html"]


def _put(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")


def _age(root: Path, names: list[str]) -> None:
    """Let files and their folders be older than a lease."""
    then = time.time() - journal.LEASE - 10
    for name in names:
        for place in (root / name, *(root / name).parents):
            os.utime(place, (then, then))
            if place == root:
                break


def test_clean_removes_what_was_left_and_nothing_else(whole: Path, tmp_path: Path) -> None:
    root = copy(whole, tmp_path / "job")
    before = files(root)
    assert store.clean(root) == []
    _put(root, LEFT + KEPT)
    _age(root, LEFT)
    removed = store.clean(root)
    assert {*removed} == {
        *(name.split("/")[0] if name.startswith(".tmp") else name for name in LEFT),
        "journal/shard-000001",
    }
    assert files(root) == sorted(before + KEPT)
    assert not list((root / "journal").glob("shard-*"))
    assert store.verify(root) == []


def test_clean_leaves_what_is_new(whole: Path, tmp_path: Path) -> None:
    """A run that began after the look for live attempts may be writing it."""
    root = copy(whole, tmp_path / "job")
    new = [name for name in LEFT if ".tmp" in name or name.startswith(("data", "parts"))]
    _put(root, LEFT)
    _age(root, LEFT)
    (root / ".tmp-0123456789abcde0.zarr/scores/c/0").write_text("more")
    for name in new:
        if not name.startswith((".tmp-0123456789abcde0.zarr", "journal/shard")):
            os.utime(root / name)
    removed = store.clean(root)
    assert {*removed} == {
        "journal/memory-cpu.json",
        "journal/shard-000001",
        "journal/shard-000001/.tmp-0123456789abcdef",
        "journal/shard-000001/4-8.1.json",
    }
    assert all((root / name).exists() for name in new if not name.startswith("journal/shard"))
    assert len(store.clean(root, force=True)) == len({name.split("/")[0] for name in new if name[0] == "."}) + len(
        [name for name in new if name[0] != "." and not name.startswith("journal/shard")]
    )


def test_clean_keeps_what_is_needed_to_go_on(whole: Path, tmp_path: Path) -> None:
    root = copy(whole, tmp_path / "job")
    layout = store.Layout(root)
    store.withdraw(layout, 1)
    store.drop_receipts(layout, [0])
    kept = ["journal/shard-000000/0-4.1.json", "journal/memory-cpu.json"]
    _put(root, kept)
    removed = store.clean(root, force=True)
    assert [name.split(".")[0] for name in removed] == ["data/shard-000000"]
    assert all((root / name).exists() for name in kept)
    earlier = store.read_earlier(layout, 1)
    assert earlier is not None
    assert store.read_rows(layout, earlier).reasons[2] == "item 6 is bäd"


def test_clean_does_not_disturb_a_worker(whole: Path, tmp_path: Path) -> None:
    root = copy(whole, tmp_path / "job")
    layout = store.Layout(root)
    store.drop_receipts(layout, [1])
    claim = journal.Journal(layout, 1).claim(4, 8, 1, "the worker")
    assert claim is not None
    with claim:
        with pytest.raises(StoreError, match="nobody works on, got live attempts of the worker"):
            store.clean(root)
        assert [name.split(".")[0] for name in store.clean(root, force=True)] == ["data/shard-000001"]
    assert store.clean(root) == []

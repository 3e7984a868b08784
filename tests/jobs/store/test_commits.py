"""Commits: crashes at every step, power failures, full disks, rivals."""

from __future__ import annotations

import errno
import hashlib
import itertools
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from batch_stores import ABOUT, Crashed, FragileOS, begin, commit, complete, failing, files, meet_at, race, rows_of

from xai_fast.errors import StoreError
from xai_fast.jobs import store
from xai_fast.jobs.store import cleaning, folders, withdrawal


def _work(layout: store.Layout) -> None:
    """What a job does to a store, from the first receipt to the manifest, and one shard over again."""
    for shard in range(3):
        if shard == 1:
            store.write_part(layout, shard, 4, 6, rows_of(4, 6), "float16_scaled", ABOUT)
        commit(layout, shard)
    store.write_manifest(layout)
    store.withdraw(layout, 1)
    commit(layout, 1)
    store.write_manifest(layout)


def _with_os(monkeypatch: pytest.MonkeyPatch, fragile: FragileOS, work: Callable[[], object]) -> bool:
    """Run something on a file system; returns whether it came to its end."""
    with monkeypatch.context() as patch:
        patch.setattr(folders, "os", fragile)
        patch.setattr(withdrawal, "os", fragile)
        try:
            work()
        except Crashed:
            return False
    return True


def _check(layout: store.Layout, expected: dict[str, torch.Tensor]) -> None:
    """What is committed is right, the rest can be done, and nothing else is left after cleaning."""
    assert store.verify(layout.root) == []
    read = store.open(layout.root)
    for shard in read.shards:
        start, stop = read.span(shard)
        assert all(_equal(read[start:stop].fields[name], expected[name][start:stop]) for name in expected)
    for shard in range(3):
        store.read_parts(layout, shard)
    _finish(layout, expected)


def _finish(layout: store.Layout, expected: dict[str, torch.Tensor]) -> None:
    for shard in set(range(3)) - store.committed(layout):
        assert commit(layout, shard)
    store.write_manifest(layout)
    store.clean(layout.root, force=True)
    assert files(layout.root) == [
        "commits/shard-000000.json",
        "commits/shard-000001.json",
        "commits/shard-000002.json",
        "data/shard-000000.safetensors",
        "data/shard-000001.safetensors",
        "data/shard-000002.safetensors",
        "fields.json",
        "items/ids.bin",
        "items/items.json",
        "items/offsets.npy",
        "job.json",
        "manifest.json",
    ]
    found = store.open(layout.root)[:].fields
    assert all(_equal(found[name], expected[name]) for name in expected)


def _equal(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return torch.equal(found.nan_to_num(7), expected.nan_to_num(7))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    return store.open(complete(tmp_path_factory.mktemp("right") / "job").root)[:].fields


def _crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[store.Layout, FragileOS]]:
    """The same work, stopped before its first call of the system, before its second, ..."""
    for stop_at in itertools.count():
        layout = begin(tmp_path / str(stop_at))
        fragile = FragileOS(tmp_path / f"stash{stop_at}", stop_at)
        ended = _with_os(monkeypatch, fragile, lambda layout=layout: _work(layout))  # type: ignore[misc]
        yield layout, fragile
        if ended:
            assert stop_at > 100
            return


@pytest.mark.slow
def test_process_stops_at_any_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expected: dict[str, torch.Tensor]
) -> None:
    for layout, _ in _crashes(monkeypatch, tmp_path):
        _check(layout, expected)


@pytest.mark.slow
@pytest.mark.parametrize("names", [True, False], ids=["names lost", "names kept"])
def test_power_fails_at_any_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expected: dict[str, torch.Tensor], names: bool
) -> None:
    for layout, fragile in _crashes(monkeypatch, tmp_path):
        fragile.lose(names)
        _check(layout, expected)


def test_without_fsync_a_power_failure_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expected: dict[str, torch.Tensor]
) -> None:
    """The test above can fail: a store that forgets fsync is caught by it."""

    class Forgetful(FragileOS):
        CALLS = tuple(call for call in FragileOS.CALLS if call != "fsync")

        @staticmethod
        def fsync(fd: int) -> None:
            pass

    layout = begin(tmp_path / "job")
    fragile = Forgetful(tmp_path / "stash")
    _with_os(monkeypatch, fragile, lambda: commit(layout, 0))
    fragile.lose(names=False)
    with pytest.raises((StoreError, AssertionError)):
        _check(layout, expected)


def test_order_of_a_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    layout = begin(tmp_path / "job")
    commit(layout, 1)  # so that fields.json is there
    fragile = FragileOS(tmp_path / "stash")
    assert _with_os(monkeypatch, fragile, lambda: commit(layout, 0))
    order = [name for name, _ in itertools.groupby(call for call in fragile.calls if call not in ("open", "mkdir"))]
    # data: content, fsync, name, fsync of the folder; receipt: the same, then its temporary name goes
    assert order == ["write", "fsync", "rename", "fsync", "write", "fsync", "link", "fsync", "unlink"]


FAULTS = [
    *[("write", which, errno.ENOSPC) for which in range(1, 9)],
    *[("fsync", which, errno.EIO) for which in range(1, 6)],
    ("rename", 1, errno.EIO),
    ("link", 1, errno.EDQUOT),
    ("link", 2, errno.EPERM),
]


@pytest.mark.parametrize(("call", "which", "code"), FAULTS)
def test_full_disk_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, expected: dict[str, torch.Tensor], call: str, which: int, code: int
) -> None:
    layout = begin(tmp_path / "job")
    fragile = FragileOS(tmp_path / "stash", fail=failing(call, which, code))
    with pytest.raises(StoreError) as caught:
        _with_os(monkeypatch, fragile, lambda: commit(layout, 0))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == code
    assert not [name for name in files(tmp_path / "job") if ".tmp" in name]
    # A receipt whose name could not be forced to the disk is there, and so are its data.
    assert len(list(layout.data.iterdir())) == len(store.committed(layout))
    _finish(layout, expected)


def test_answer_of_a_file_server_that_was_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over NFS a link can be made and yet be reported to have failed."""

    class Unsure(FragileOS):
        @staticmethod
        def link(*arguments: object, **options: object) -> None:
            os.link(*arguments, **options)  # type: ignore[arg-type]
            raise FileExistsError(errno.EEXIST, "File exists")

    Unsure.CALLS = tuple(call for call in FragileOS.CALLS if call != "link")
    layout = begin(tmp_path / "job")
    won: list[bool] = []
    assert _with_os(monkeypatch, Unsure(tmp_path / "stash"), lambda: won.append(commit(layout, 0)))
    assert won == [True]
    assert store.verify(layout.root) == []


def test_read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    layout = complete(tmp_path / "job")
    before = _state(layout.root)

    class ReadOnly(FragileOS):
        def _call(self, name: str, real: Callable, *arguments: object, **options: object) -> object:
            if name not in ("open", "write", "fsync") or (name == "open" and arguments[1] & os.O_CREAT):  # type: ignore[operator]
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return real(*arguments, **options)

    def use() -> None:
        read = store.open(layout.root)
        assert len(list(read)) == len(read) == 10
        assert store.verify(layout.root) == []
        assert commit(layout, 0) is False
        actions: list[Callable[[], object]] = [
            lambda: store.write_part(layout, 0, 0, 4, rows_of(0, 4), "float32", ABOUT),
            lambda: store.write_manifest(layout),
            lambda: store.withdraw(layout, 0),
            lambda: store.drop_receipts(layout, [0]),
            lambda: begin(layout.root),
        ]
        for act in actions:
            with pytest.raises(StoreError, match="Read-only file system"):
                act()

    assert _with_os(monkeypatch, ReadOnly(tmp_path / "stash"), use)
    assert _state(layout.root) == before
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    for act in (layout.check_writable, lambda: store.clean(layout.root), lambda: store.repair(layout.root)):
        with pytest.raises(StoreError, match="read-only"):
            act()


def _state(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_three_processes_race_for_every_shard(tmp_path: Path) -> None:
    shards = 40
    layout = begin(tmp_path / "job", 4 * shards, 4)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, spawn, initializer=meet_at, initargs=(spawn.Barrier(3),)) as racers:
        won = list(racers.map(race, [str(layout.root)] * 3, [shards] * 3))
    assert sorted(itertools.chain(*won)) == list(range(shards))  # each shard by exactly one of them
    assert store.verify(layout.root) == []
    # The losers removed their data, and nobody left anything else.
    assert len(list(layout.data.iterdir())) == len(list(layout.commits.iterdir())) == shards
    assert store.clean(layout.root, force=True) == []


def test_a_cleaner_that_is_faster_than_a_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cleaner that takes an attempt for dead removes its data: no receipt may stay without them."""
    layout = begin(tmp_path / "job")
    real = folders.Folder.write_first

    def late(self: folders.Folder, name: str, data: bytes) -> bool:
        if name.startswith("shard"):
            assert store.clean(layout.root, force=True)
        return real(self, name, data)

    monkeypatch.setattr(folders.Folder, "write_first", late)
    with pytest.raises(StoreError, match="removed meanwhile"):
        commit(layout, 0)
    assert store.committed(layout) == set()


def test_a_commit_between_the_look_and_the_removal_of_a_cleaner(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The cleaner saw no receipt; then the receipt comes, its writer sees the data, and the cleaner removes them."""
    layout = begin(tmp_path / "job")
    link, look = folders.Folder.write_first, cleaning._is_named
    linking, looked = threading.Event(), threading.Event()
    won: list[bool] = []

    def late(self: folders.Folder, name: str, data: bytes) -> bool:
        if name.startswith("shard"):
            linking.set()
            looked.wait(60)
        return link(self, name, data)

    def slow(*arguments: Any) -> bool:
        named = look(*arguments)
        looked.set()
        writer.join(60)
        return named

    monkeypatch.setattr(folders.Folder, "write_first", late)
    monkeypatch.setattr(cleaning, "_is_named", slow)
    writer = threading.Thread(target=lambda: won.append(commit(layout, 0)))
    writer.start()
    assert linking.wait(60)
    assert len(store.clean(layout.root, force=True)) == 1
    assert won == [True]
    assert store.committed(layout) == set()
    assert store.verify(layout.root) == []


def test_receipt(tmp_path: Path) -> None:
    layout = begin(tmp_path / "job")
    assert commit(layout, 1)
    assert not commit(layout, 1)
    receipt = store.read_receipt(layout, 1)
    assert receipt is not None
    data = (layout.data / receipt.file).read_bytes()
    assert (receipt.shard, receipt.start, receipt.stop, receipt.bytes) == (1, 4, 8, len(data))
    assert receipt.sha256 == hashlib.sha256(data).hexdigest()
    assert receipt.statuses == {"ok": 3, "changed": 1}
    assert receipt.failed == [(2, "item 6 is bäd")]
    assert receipt.fields["attributions"] == store.Field("float32", (3, 5), "float16_scaled")
    assert receipt.seconds["write"] > 0
    assert receipt.seconds["total"] == pytest.approx(2.0 + receipt.seconds["write"])
    assert (receipt.evaluations, receipt.worker, receipt.attempts) == (12, "tester", 1)
    assert store.read_receipt(layout, 0) is None
    assert [one.shard for one in store.receipts(layout)] == [1]
    assert list(store.receipts(layout, known={1})) == []


def test_equal_results_are_equal_bytes(tmp_path: Path) -> None:
    """Also through parts, and through a shard that was withdrawn and written again."""
    one, other = begin(tmp_path / "one"), begin(tmp_path / "other")
    for shard in range(3):
        commit(one, shard)
    for first, last in ((4, 6), (6, 8)):
        assert store.write_part(other, 1, first, last, rows_of(first, last), "float16_scaled", ABOUT)
        assert not store.write_part(other, 1, first, last, rows_of(first, last), "float16_scaled", ABOUT)
    rows = store.Rows(4)
    for part in store.read_parts(other, 1):
        rows.put(part.start - 4, part.rows.fields, part.rows.statuses, part.rows.reasons)
        assert part.about["worker"] == "tester"
    store.write_shard(other, 1, 4, 8, rows, "float16_scaled", ABOUT)
    commit(other, 0)
    store.withdraw(other, 0)
    assert store.committed(other) == {1}
    earlier = store.read_earlier(other, 0)
    assert earlier is not None
    store.write_shard(other, 0, 0, 4, store.read_rows(other, earlier), "float16_scaled", ABOUT)
    digests = [[one.sha256 for one in store.receipts(layout)][:2] for layout in (one, other)]
    assert digests[0] == digests[1]


def test_a_damaged_part_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    layout = begin(tmp_path / "job")
    for first, last in ((0, 2), (2, 4)):
        store.write_part(layout, 0, first, last, rows_of(first, last), "float16_scaled", ABOUT)
    broken = next(layout.parts.glob("*.0-2.*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    assert [(part.start, part.stop) for part in store.read_parts(layout, 0)] == [(2, 4)]
    assert "dropped" in caplog.text
    assert store.clean(layout.root, force=True) == [f"parts/{broken.name}"]


def test_first_fields_win(tmp_path: Path) -> None:
    layout = begin(tmp_path / "job")
    rows = store.Rows(4)
    for row in range(4):
        rows.fail(row, store.Status.UNREADABLE, "no file")
    store.write_shard(layout, 2, 8, 12, rows, "float16_scaled", {})
    assert store.read_fields(layout) is None  # a shard without a success says nothing about the others
    commit(layout, 0)
    rows = rows_of(4, 8)
    rows.fields["scores"] = torch.zeros(4, 2)
    assert store.write_shard(layout, 1, 4, 8, rows, "float16_scaled", ABOUT)
    batch = store.open(layout.root)[4:8]
    assert batch.status.tolist() == [3, 3, 2, 3]
    assert batch.errors[0] == "field 'scores': expected float32 () as other items have, got float32 (2,)"
    assert batch.fields["attributions"].isnan().all()


def test_other_than_whole_rows_are_refused(tmp_path: Path) -> None:
    layout = begin(tmp_path / "job")
    rows = store.Rows(4)
    rows.put(0, {"a": torch.zeros(3, 2)}, [0] * 3, [None] * 3)
    with pytest.raises(StoreError, match="1 are missing"):
        store.write_shard(layout, 0, 0, 4, rows, "float32", {})
    with pytest.raises(ValueError, match="items from 0 to 3"):
        store.write_shard(layout, 0, 0, 3, rows_of(0, 4), "float32", {})
    with pytest.raises(ValueError, match="dtype: expected one of float16_scaled"):
        store.write_shard(layout, 0, 0, 4, rows_of(0, 4), "float8", {})
    assert files(layout.data) == []

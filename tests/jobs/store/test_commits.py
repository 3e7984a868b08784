"""Writing shards: crashes at every step, power failures, full disks, rivals."""

from __future__ import annotations

import errno
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from batch_stores import Crashed, FragileOS, begin, commit, complete, failing, files, meet_at, opened, race
from torch import Tensor

from xai_fast.errors import StoreError
from xai_fast.jobs import clean, verify
from xai_fast.jobs import open as open_store
from xai_fast.jobs.store import folder

pytestmark = pytest.mark.usefixtures("quick_disk")


def with_os(monkeypatch: pytest.MonkeyPatch, fragile: FragileOS, work: Callable[[], object]) -> bool:
    """Run something on a file system; returns whether it came to its end."""
    with monkeypatch.context() as patch:
        patch.setattr(folder, "os", fragile)
        try:
            work()
        except Crashed:
            return False
    return True


def work(root: Path) -> None:
    """What a job does to a store: each shard, and one once more."""
    for shard in range(3):
        commit(root, shard)
    commit(root, 1, replace=True)


def check(root: Path, expected: dict[str, Tensor]) -> None:
    """What is there is right, the rest can be done, and nothing else is left after cleaning."""
    assert verify(root) == []
    for _, result in open_store(root):
        assert all(equal(result.fields[name], expected[name][result.index]) for name in expected)
    for shard in opened(root)[1].missing():
        assert commit(root, shard)
    clean(root, force=True)
    assert files(root) == [
        "items/000000.safetensors",
        "job.json",
        *[f"shards/000000/00000000{shard}.safetensors" for shard in range(3)],
    ]
    found = open_store(root)[:].fields
    assert all(equal(found[name], expected[name]) for name in expected)


def equal(found: Tensor, expected: Tensor) -> bool:
    return torch.equal(found.nan_to_num(7), expected.nan_to_num(7))


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    return open_store(complete(tmp_path_factory.mktemp("right") / "job"))[:].fields


def crashes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[Path, FragileOS]]:
    """The same work, stopped before its first call of the system, before its second, ..."""
    for stop_at in itertools.count():
        root = begin(tmp_path / str(stop_at))
        fragile = FragileOS(tmp_path / f"stash{stop_at}", stop_at)
        ended = with_os(monkeypatch, fragile, lambda root=root: work(root))  # type: ignore[misc]
        yield root, fragile
        if ended:
            assert stop_at > 30
            return


def test_process_stops_at_any_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: dict[str, Tensor]) -> None:
    for root, _ in crashes(monkeypatch, tmp_path):
        check(root, right)


@pytest.mark.parametrize("names", [True, False], ids=["names lost", "names kept"])
def test_power_fails_at_any_call(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: dict[str, Tensor], names: bool
) -> None:
    for root, fragile in crashes(monkeypatch, tmp_path):
        fragile.lose(names)
        check(root, right)


def test_without_fsync_a_power_failure_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: dict[str, Tensor]
) -> None:
    """The test above can fail: a store that forgets fsync is caught by it."""

    class Forgetful(FragileOS):
        CALLS = tuple(call for call in FragileOS.CALLS if call != "fsync")

        @staticmethod
        def fsync(fd: int) -> None:
            pass

    root = begin(tmp_path / "job")
    fragile = Forgetful(tmp_path / "stash")
    with_os(monkeypatch, fragile, lambda: commit(root, 0))
    fragile.lose(names=False)
    with pytest.raises((StoreError, AssertionError)):
        check(root, right)


FAULTS = [
    ("write", 1, errno.ENOSPC),
    *[("fsync", which, errno.EIO) for which in (1, 2, 3, 4)],
    ("link", 1, errno.EDQUOT),
]


@pytest.mark.parametrize(("call", "which", "code"), FAULTS)
def test_a_full_disk_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, right: dict[str, Tensor], call: str, which: int, code: int
) -> None:
    root = begin(tmp_path / "job")
    fragile = FragileOS(tmp_path / "stash", fail=failing(call, which, code))
    with pytest.raises(StoreError, match=os.strerror(code)):
        with_os(monkeypatch, fragile, lambda: commit(root, 0))
    assert not [name for name in files(root) if ".tmp" in name]
    check(root, right)


def test_the_answer_of_a_file_server_that_was_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Over NFS a link can be made and yet be reported to have failed."""

    class Unsure(FragileOS):
        @staticmethod
        def link(*arguments: object, **options: object) -> None:
            os.link(*arguments, **options)  # type: ignore[arg-type]
            raise FileExistsError(errno.EEXIST, "File exists")

    Unsure.CALLS = tuple(call for call in FragileOS.CALLS if call != "link")
    root = begin(tmp_path / "job")
    won: list[bool] = []
    assert with_os(monkeypatch, Unsure(tmp_path / "stash"), lambda: won.append(commit(root, 0)))
    assert won == [True]
    assert verify(root) == []


@pytest.mark.slow
def test_three_processes_race_for_every_shard(tmp_path: Path) -> None:
    shards = 40
    root = begin(tmp_path / "job", 4 * shards, 4)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, spawn, initializer=meet_at, initargs=(spawn.Barrier(3),)) as racers:
        won = list(racers.map(race, [str(root)] * 3, [shards] * 3))
    assert sorted(itertools.chain(*won)) == list(range(shards))  # each shard by exactly one of them
    assert verify(root) == []
    assert clean(root, force=True) == []


def test_equal_results_are_equal_bytes(tmp_path: Path) -> None:
    roots = [complete(tmp_path / name) for name in ("one", "other")]
    data = [[path.read_bytes() for path in sorted(root.glob("shards/*/*"))] for root in roots]
    assert data[0] == data[1]


def test_the_first_fields_win(tmp_path: Path) -> None:
    root = begin(tmp_path / "job")
    commit(root, 0, bad=lambda i: _bad(i, "all"))
    assert open_store(root).fields == {}  # a shard without a success says nothing about the others
    commit(root, 1)
    read = open_store(root)
    assert read[0].fields["attributions"].shape == (3, 5)
    assert read[2:6].fields["targets"].tolist() == [0, 0, 4, 5]


def _bad(i: int, reason: str) -> tuple:
    from xai_fast.jobs.store.job_file import Status

    return Status.FAILED, f"{reason} {i}"

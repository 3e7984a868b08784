from __future__ import annotations

import errno
import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from batch_faults import COUNT, SHARD, check_clean, check_undisturbed, make_spec, our_threads, results
from torch import Tensor

from xai_fast.errors import StoreError
from xai_fast.jobs import journal, worker
from xai_fast.jobs.computation import Computation, Outcome
from xai_fast.jobs.decoding import decoded_ahead
from xai_fast.jobs.job import Job, prepare_job
from xai_fast.jobs.memory import OutOfMemory
from xai_fast.jobs.sources.base import ItemError
from xai_fast.jobs.store import Status, committed, read_receipt
from xai_fast.jobs.store.folders import dump_json
from xai_fast.jobs.worker import DeviceLost, Preempted, ShardResult, run_shard

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    finish(prepare_job(make_spec(), out))
    return results(out)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return prepare_job(make_spec(), tmp_path / "out")


def finish(job: Job) -> None:
    computation = job.compute_on("cpu")
    for shard in range(job.shards):
        run_shard(job, computation, shard)


def died(job: Job, shard: int, *ranges: tuple[int, int]) -> None:
    """Leave the traces of attempts whose process is gone."""
    content = {"worker": "gone", "host": "elsewhere", "pid": 1, "pid_started": 1, "lease": 1.0}
    for low, high in ranges:
        with job.layout.folder("journal", f"shard-{shard:06d}", create=True) as folder:
            number = sum(name.startswith(f"{low}-{high}.") for name in folder.names()) + 1
            folder.write_first(f"{low}-{high}.{number}.json", dump_json(content))
            os.utime(f"{low}-{high}.{number}.json", (0, 0), dir_fd=folder.fd)


class Watched(Computation):
    """Notes the chunks, and does something else where it is told to."""

    instead: Callable[[Sequence[int]], None] = staticmethod(lambda indices: None)

    def explain(self, inputs: Sequence[Tensor], indices: Sequence[int]) -> Outcome:
        self.__dict__.setdefault("chunks", []).append(list(indices))
        type(self).instead(indices)
        return super().explain(inputs, indices)


def watched(job: Job, instead: Callable[[Sequence[int]], None] = lambda indices: None) -> Watched:
    kind = type("Instead", (Watched,), {"instead": staticmethod(instead)})
    return kind(job.spec, job.items)


def test_a_shard_is_committed_once(job: Job, expected: list[Any]) -> None:
    computation = job.compute_on("cpu")
    assert run_shard(job, computation, 4) == ShardResult(4, "committed", 5, 0)
    assert run_shard(job, computation, 4) == ShardResult(4, "present")
    assert committed(job.layout) == {4}
    finish(job)
    check_undisturbed(job.layout.root, expected, {}, exact=True)
    check_clean(job.layout.root)


def test_chunks_begin_at_the_first_row_and_skip_what_cannot_be_read(tmp_path: Path) -> None:
    job = prepare_job(make_spec({"unreadable": [11, 16]}), tmp_path / "out")
    computation = watched(job)
    assert run_shard(job, computation, 1) == ShardResult(1, "committed", 10, 2)
    assert computation.chunks == [[10, 12, 13], [14, 15, 17], [18, 19]]


def test_a_shard_that_somebody_is_at_is_left_to_him(job: Job) -> None:
    claim = journal.Journal(job.layout, 1).claim(10, 20, 1, "other")
    assert claim is not None
    with claim:
        assert run_shard(job, job.compute_on("cpu"), 1) == ShardResult(1, "busy")
    assert run_shard(job, job.compute_on("cpu"), 1).state == "committed"


def test_what_was_tried_before_counts(job: Job, expected: list[Any]) -> None:
    whole = [(10, 20)] * 3
    died(job, 1, *whole[:2])
    died(job, 2, (20, 30), (20, 30), (20, 30), (20, 25), (22, 25), (23, 25), *[(23, 24)] * 3)
    computation = watched(job)
    assert run_shard(job, computation, 1) == ShardResult(1, "committed", 10, 0)
    assert computation.chunks == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19]]
    computation.chunks.clear()
    result = run_shard(job, computation, 2)
    assert result == ShardResult(2, "committed", 9, 1)
    assert computation.chunks == [[20, 21], [22], [24], [25, 26, 27, 28], [29]]
    finish(job)
    check_undisturbed(job.layout.root, expected, {23: "killed"}, exact=False)
    receipt = read_receipt(job.layout, 2)
    assert receipt is not None
    assert receipt.failed == [(3, "it killed the process that worked on it, 3 times")]
    assert receipt.attempts == 9
    check_clean(job.layout.root)


def test_who_puts_a_shard_together_is_seen(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it could be cleaned away meanwhile."""
    died(job, 0, *[(0, 10)] * 3, (0, 5))
    seen = []

    def write(write_shard: Any, *arguments: Any, **others: Any) -> bool:
        seen.extend((one.start, one.stop, one.number) for one in journal.live_attempts(job.layout))
        won: bool = write_shard(*arguments, **others)
        return won

    monkeypatch.setattr(worker, "write_shard", functools.partial(write, worker.write_shard))
    assert run_shard(job, job.compute_on("cpu"), 0).state == "committed"
    assert seen == [(0, 10, 4)]
    assert journal.Journal(job.layout, 0).attempts() == []


def test_finished_halves_are_not_done_again(job: Job) -> None:
    died(job, 0, *[(0, 10)] * 3)

    def stop(indices: Sequence[int]) -> None:
        if 5 in indices:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_shard(job, watched(job, stop), 0)
    again = watched(job)
    assert run_shard(job, again, 0).state == "committed"
    assert again.chunks == [[5, 6, 7, 8], [9]]


def test_memory_that_does_not_suffice_halves_chunks_for_good(job: Job) -> None:
    def full(indices: Sequence[int]) -> None:
        if len(indices) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    computation = watched(job, full)
    run_shard(job, computation, 0)
    assert [len(chunk) for chunk in computation.chunks[:5]] == [4, 2, 1, 1, 1]
    computation.chunks.clear()
    run_shard(job, watched(job, full), 1)
    again = watched(job, full)
    run_shard(job, again, 2)
    assert {len(chunk) for chunk in again.chunks} == {1}


@pytest.mark.parametrize("error", ["CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "out of memory"])
def test_memory_that_libraries_lack_is_no_lost_device(job: Job, error: str) -> None:
    def full(indices: Sequence[int]) -> None:
        raise RuntimeError(f"CUDA error: {error}")

    with pytest.raises(OutOfMemory, match="one item at a time does not fit"):
        run_shard(job, watched(job, full), 0)
    assert journal.Journal(job.layout, 0).attempts() == []


def test_the_last_error_of_memory_names_the_knobs(job: Job) -> None:
    def full(indices: Sequence[int]) -> None:
        raise MemoryError("no room")

    with pytest.raises(OutOfMemory, match=r"one item .*cpu: no room.*batch_size \(now 4; 1 was tried\), workers"):
        run_shard(job, watched(job, full), 0)
    assert journal.Journal(job.layout, 0).attempts() == []


def test_who_is_told_to_end_leaves_nothing(job: Job) -> None:
    beats = itertools.count()

    def beat() -> None:
        if next(beats) == 2:
            raise Preempted

    with pytest.raises(Preempted):
        run_shard(job, job.compute_on("cpu"), 0, beat=beat)
    assert journal.Journal(job.layout, 0).attempts() == []
    assert not our_threads()
    assert committed(job.layout) == set()


def test_a_lost_device_counts_as_a_death(job: Job) -> None:
    def lose(indices: Sequence[int]) -> None:
        if 3 in indices:
            raise RuntimeError("CUDA error: device-side assert triggered")

    for _ in range(3):
        with pytest.raises(DeviceLost, match="shard 0, items 0 to 9: CUDA error"):
            run_shard(job, watched(job, lose), 0)
    assert [attempt.alive for attempt in journal.Journal(job.layout, 0).attempts()] == [False] * 3
    for _ in range(6):  # 0-5, 2-5, 3-5, and 3 by itself
        with pytest.raises(DeviceLost):
            run_shard(job, watched(job, lose), 0)
    run_shard(job, watched(job, lose), 0)
    receipt = read_receipt(job.layout, 0)
    assert receipt is not None
    assert receipt.statuses == {"ok": 9, "killed": 1}


def test_a_store_that_cannot_be_written_ends_the_run_and_leaves_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **others: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    computation = job.compute_on("cpu")
    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(StoreError, match=r"data/shard-000000.*No space left on device"):
        run_shard(job, computation, 0)
    monkeypatch.undo()
    assert journal.Journal(job.layout, 0).attempts() == []
    finish(job)
    check_clean(job.layout.root)


def test_three_writers_for_every_shard(job: Job, expected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes the others for dead, so that all three write each shard; the first receipt wins."""
    numbers = itertools.count(1)

    def everything(start: int, stop: int, *others: object) -> journal.Plan:
        return journal.Plan(((start, stop, next(numbers)),), False, (), ())

    barrier = threading.Barrier(3)

    def write(write_shard: Any, *arguments: Any, **others: Any) -> bool:
        barrier.wait(60)
        won: bool = write_shard(*arguments, **others)
        barrier.wait(60)
        return won

    monkeypatch.setattr(journal, "plan_ranges", everything)
    original = worker.write_shard
    monkeypatch.setattr(worker, "write_shard", functools.partial(write, original))
    found: list[ShardResult] = []

    def work() -> None:
        computation = job.compute_on("cpu")
        found.extend(run_shard(job, computation, shard) for shard in range(job.shards))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for shard in range(job.shards):
        assert sorted(one.state for one in found if one.shard == shard) == ["committed", "present", "present"]
    assert len(list(job.layout.data.iterdir())) == job.shards, "who loses removes his data"
    check_undisturbed(job.layout.root, expected, {}, exact=True)
    check_clean(job.layout.root)


def test_what_a_shard_took_is_told(job: Job) -> None:
    run_shard(job, job.compute_on("cpu"), 0, worker="me")
    receipt = read_receipt(job.layout, 0)
    assert receipt is not None
    assert receipt.worker == "me"
    assert receipt.evaluations == SHARD
    assert receipt.peak_memory > 1 << 24
    assert receipt.seconds.keys() == {"decode", "model", "kernels", "write", "total"}
    assert all(value >= 0 for value in receipt.seconds.values())
    assert receipt.seconds["write"] + receipt.seconds["model"] <= receipt.seconds["total"]
    assert receipt.versions.keys() == {"xai_fast", "torch", "numpy", "python"}


def test_items_are_decoded_ahead_in_order_and_threads_end() -> None:
    started = []

    def load(index: int) -> Tensor:
        started.append(index)
        if index % 10 == 7:
            raise ItemError(Status.UNREADABLE, "scratched")
        time.sleep(0.002)
        return torch.tensor(index)

    stream = decoded_ahead(load, range(100), threads=3, ahead=12)
    first = next(stream)
    assert (first.index, first.status, first.reason) == (0, Status.OK, None)
    time.sleep(0.2)
    assert 12 <= len(started) <= 20, "so many, and no more, are read ahead"
    rest = list(stream)
    assert [one.index for one in rest] == list(range(1, 100))
    assert [one.index for one in rest if one.value is None] == list(range(7, 100, 10))
    assert all(int(one.value) == one.index for one in rest if one.value is not None)
    assert not our_threads()
    stream = decoded_ahead(load, range(COUNT), threads=3, ahead=12)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert not our_threads()


def test_reading_overlaps_with_the_model(job: Job) -> None:
    """The first chunk is not explained before an item of the next one is being read."""
    read = [threading.Event() for _ in range(COUNT)]

    class Overlapped(Computation):
        def load(self, index: int) -> Tensor:
            read[index].set()
            return super().load(index)

        def explain(self, inputs: Sequence[Tensor], indices: Sequence[int]) -> Outcome:
            assert read[min(indices[-1] + 1, SHARD - 1)].wait(60)
            return super().explain(inputs, indices)

    assert run_shard(job, Overlapped(job.spec, job.items), 0) == ShardResult(0, "committed", SHARD, 0)

"""Whatever happens to a run on one machine: every id once, equal to the undisturbed run, and nothing left behind."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from batch_faults import (
    FAULTS,
    Fault,
    Killer,
    check_clean,
    check_undisturbed,
    driver_of,
    make_spec,
    shards_of,
    spec_of,
    wait_for,
)
from live_processes import is_stopped, listening, marked, workers_of
from small_disk import remount, small_disk

from xai_fast.errors import InputError, JobError, StoreError
from xai_fast.jobs import open as open_store
from xai_fast.jobs import retry_failed, run, status

KILLS = 20


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, id=fault.name, marks=[pytest.mark.slow] * fault.kills) for fault in FAULTS]
)
def test_faults(tmp_path: Path, expected: list[Any], fault: Fault) -> None:
    out = tmp_path / "out"
    # Processes cost seconds, which only faults that kill them are worth.
    done = run(spec_of(fault, tmp_path), out, workers=2 if fault.kills else 0)
    check_undisturbed(out, expected, fault.failed, exact=fault.exact)
    assert all(fault.reasons.get(one.index, "") in one.reason for one in done.failures)
    for crash in filter(None, str(fault.source.get("crash", "")).split(",")):
        assert (tmp_path / crash).exists()
    check_clean(out)


@pytest.mark.slow
def test_twenty_workers_killed_at_random(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    source = {"pause": 1.0, "folder": str(tmp_path)}
    with Killer(lambda: workers_of(os.getpid()), KILLS, 2.0, tmp_path) as killer:
        # An item is given up only after more deaths over it alone than there are.
        run(make_spec(source, max_attempts=KILLS + 1), out, workers=3)
    assert killer.killed == KILLS
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


@pytest.mark.slow
def test_the_driver_is_killed(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    spec = make_spec({"pause": 0.1})
    with driver_of(out, spec, workers=2) as driver:
        wait_for(lambda: len(shards_of(out)) >= 1)
        mark = driver.mark  # type: ignore[attr-defined]
        assert len(marked(mark)) == 3
        assert listening(marked(mark)) == []
        driver.kill()
        driver.wait()
        wait_for(lambda: not marked(mark), 60)
    assert not status(out).complete
    assert run(spec, out, workers=0).complete
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_run_is_told_to_end(tmp_path: Path, expected: list[Any], number: signal.Signals, code: int) -> None:
    out = tmp_path / "out"
    with driver_of(out, make_spec({"pause": 0.1}), workers=1) as driver:
        wait_for(lambda: len(shards_of(out)) >= 1)
        os.killpg(driver.pid, number)  # as a terminal does
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == code, said.decode()
        assert marked(driver.mark) == set()  # type: ignore[attr-defined]
    assert not status(out).complete
    assert run(make_spec({"pause": 0.1}), out, workers=0).complete
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


@pytest.mark.slow
def test_a_worker_that_was_stopped_while_it_wrote(tmp_path: Path, expected: list[Any]) -> None:
    """Its work is done by another run; then it goes on, and comes second."""
    out = tmp_path / "out"
    spec = make_spec({"crash": "pause", "folder": str(tmp_path)})
    with driver_of(out, spec, workers=1) as driver:
        wait_for(lambda: (tmp_path / "pause").exists())
        (worker,) = workers_of(driver.pid)
        wait_for(lambda: is_stopped(worker))
        assert run(spec, out, workers=0).complete
        first = {path: path.stat().st_ino for path in out.glob("shards/*/*.safetensors")}
        os.kill(worker, signal.SIGCONT)
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == 0, said.decode()
    assert {path: path.stat().st_ino for path in out.glob("shards/*/*.safetensors")} == first
    check_undisturbed(out, expected, {}, exact=True)
    assert [path.name for path in out.glob("shards/*/.tmp-*")] == []


@pytest.mark.slow
def test_three_runs_at_once(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    with ExitStack() as stack:
        for driver in [stack.enter_context(driver_of(out, make_spec({"pause": 0.02}), workers=0)) for _ in range(3)]:
            _, said = driver.communicate(timeout=120)
            assert driver.returncode == 0, said.decode()
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_the_disk_is_full(tmp_path: Path, expected: list[Any], workers: int) -> None:
    with small_disk(tmp_path / "disk", 600) as disk:
        out = disk / "out"
        run(make_spec(), out, workers=0)
        for path in out.glob("shards/*/*"):
            path.unlink()
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(1 << 20))
        with pytest.raises(StoreError, match=r"out/.*No space left on device"):
            run(make_spec(), out, workers=workers)
        assert list(out.glob("shards/*/*")) == []
        ballast.unlink()
        run(make_spec(), out, workers=0)
        check_undisturbed(out, expected, {}, exact=True)
        check_clean(out)


def test_what_changes_for_want_of_memory_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(make_spec(method={"memory": 3}), tmp_path / "out", workers=0)
    assert caplog.messages == ["out of memory: from now on 2 rows go through the model at once, not 4"]


def test_a_store_that_is_read_only(tmp_path: Path, expected: list[Any]) -> None:
    with small_disk(tmp_path / "disk", 4000) as disk:
        out = disk / "out"
        run(make_spec(), out, workers=0)
        run(make_spec({"unreadable": [3]}), disk / "failed", workers=0)
        remount(disk, "ro")
        assert run(make_spec(), out).complete, "what is done can be asked for again"
        check_undisturbed(out, expected, {}, exact=True)
        assert retry_failed(out, workers=0).complete, "nothing has failed"
        with pytest.raises(StoreError, match="read-only"):
            retry_failed(disk / "failed", workers=0, trust=True)
        with pytest.raises(StoreError, match=r"Read-only file system|read-only"):
            run(make_spec(), disk / "new", workers=0)
        remount(disk, "rw")
        next(out.glob("shards/*/*1.safetensors")).unlink()
        remount(disk, "ro")
        with pytest.raises(StoreError, match=f"{out}: expected a folder that can be written to, got a read-only one"):
            run(make_spec(), out, workers=0)


def test_failed_items_are_tried_again_and_the_others_kept(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    source = {"unreadable": [3, 12, 15], "folder": str(tmp_path)}
    assert run(make_spec(source), out, workers=0).failed == 3
    before = {path: path.stat().st_mtime_ns for path in out.glob("shards/*/*")}
    kept = open_store(out)[0].fields
    assert retry_failed(out, workers=0, trust=True).failed == 3
    (tmp_path / "repaired").touch()
    assert retry_failed(out, workers=0, trust=True).failed == 0
    after = {path: path.stat().st_mtime_ns for path in out.glob("shards/*/*")}
    assert sum(before[path] == after[path] for path in after) == 3, "shards without failures stay as they are"
    assert all(bool((kept[name] == value).all()) for name, value in open_store(out)[0].fields.items())
    check_undisturbed(out, expected, {}, exact=False)
    check_clean(out)


@pytest.mark.slow
def test_workers_that_cannot_begin_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_fast.jobs.workers._STARTS", 2)
    spec = make_spec({"folder": str(tmp_path), "crash": "start"})
    with pytest.raises(JobError, match=r"2 workers in a row died before they could begin, .* exit code -9"):
        run(spec, tmp_path / "out", workers=1)


@pytest.mark.slow
def test_what_fails_in_a_worker_is_raised_here(tmp_path: Path) -> None:
    """The first to load the source is the driver; what then goes wrong in a worker only is told as it was there."""
    spec = make_spec({"folder": str(tmp_path), "crash": "refuse"})
    with pytest.raises(InputError, match=r"ZeroDivisionError: not in a worker \(.*batch_faults.py, line"):
        run(spec, tmp_path / "out", workers=1)

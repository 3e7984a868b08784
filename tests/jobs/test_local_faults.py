"""Whatever happens to a run on one machine: every id once, equal to the undisturbed run, and nothing left behind."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from batch_faults import FAULTS, Fault, check_clean, check_undisturbed, driver_of, make_spec, results, spec_of, wait_for
from live_processes import is_stopped, listening, processes_of
from small_disk import remount, small_disk

from xai_fast.errors import InputError, StoreError
from xai_fast.jobs import open as open_store
from xai_fast.jobs import retry_failed, run, status
from xai_fast.jobs.journal import Attempt, Journal, live_attempts
from xai_fast.jobs.store import Layout, committed

pytest.importorskip("safetensors")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run(make_spec(), out, workers=0)
    return results(out)


def attempts(out: Path, shards: int) -> list[Attempt]:
    return [attempt for shard in range(shards) for attempt in Journal(Layout(out), shard).attempts()]


@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=fault.name, marks=[pytest.mark.slow] * (fault.deaths > 0)) for fault in FAULTS],
)
def test_faults(tmp_path: Path, expected: list[Any], fault: Fault) -> None:
    out = tmp_path / "out"
    # Processes cost seconds, which only faults that kill them are worth.
    done = run(spec_of(fault, tmp_path), out, workers=min(fault.deaths, 2))
    check_undisturbed(out, expected, fault.failed, exact=fault.exact)
    assert all(fault.reason in one.reason for one in done.failures)
    started = sum(log.read_text().count('"worker_ready"') for log in (out / "logs").iterdir())
    assert started >= fault.deaths
    check_clean(out)


@pytest.mark.slow
def test_twenty_workers_killed(tmp_path: Path, expected: list[Any]) -> None:
    """Each soon after it has begun to work, while it reads or explains; some more at each step of writing."""
    out, chance, killed = tmp_path / "out", random.Random(0), set()
    layout = Layout(out)

    def kill() -> None:
        while len(killed) < 20:
            for attempt in live_attempts(layout) if out.exists() else []:
                path = layout.journal_of(attempt.shard) / f"{attempt.start}-{attempt.stop}.{attempt.number}.json"
                try:
                    pid = json.loads(path.read_bytes())["pid"]
                except FileNotFoundError:
                    continue
                # No range that is down to a few items: their deaths would use up the attempts of one of them.
                if pid not in killed and attempt.stop - attempt.start >= 5:
                    time.sleep(chance.uniform(0, 0.6))
                    with suppress(ProcessLookupError):  # it may have died of its writing meanwhile
                        os.kill(pid, signal.SIGKILL)
                        killed.add(pid)
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        # So slow that no worker is done before it is killed, as long as a shard is tried as a whole or by halves:
        # 0.2 s for the first four items, then 0.3 s for every chunk.
        source = {"pause": 0.05, "crash": "temporary,rename,between,part,after", "folder": str(tmp_path)}
        run(make_spec(source, {"pause": 0.3}), out, workers=3)
    finally:
        killed.update(range(-20, 0))
        killer.join()
    assert len([pid for pid in killed if pid > 0]) >= 20
    assert all((tmp_path / crash).exists() for crash in ("temporary", "rename", "between", "after"))
    found = {i: label for i, (_, label, _) in enumerate(results(out)) if label != "ok"}
    assert found == {}, "no item is given up for what was not its fault"
    check_undisturbed(out, expected, {}, exact=False)
    check_clean(out)


@pytest.mark.slow
def test_the_driver_is_killed(tmp_path: Path, expected: list[Any]) -> None:
    out, layout = tmp_path / "out", Layout(tmp_path / "out")
    spec = make_spec({"pause": 0.05})
    with driver_of(out, spec, workers=2) as driver:
        wait_for(lambda: out.exists() and len(committed(layout)) >= 1 and len(live_attempts(layout)) == 2)
        assert len(processes_of(driver.pid)) == 3
        assert listening(processes_of(driver.pid)) == []
        driver.kill()
        driver.wait()
        wait_for(lambda: not processes_of(driver.pid), 60)
    assert attempts(out, 5) == [], "what a driver's death interrupts is no failed attempt"
    assert not status(out).complete
    assert run(make_spec({"pause": 0.05}), out, workers=0).complete
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_run_is_told_to_end(tmp_path: Path, expected: list[Any], number: signal.Signals, code: int) -> None:
    out, layout = tmp_path / "out", Layout(tmp_path / "out")
    with driver_of(out, make_spec({"pause": 0.05}), workers=1) as driver:
        wait_for(lambda: out.exists() and len(committed(layout)) >= 1 and len(live_attempts(layout)) == 1)
        if number == signal.SIGINT:
            os.killpg(driver.pid, number)  # as a terminal does: to all of them
        else:
            driver.send_signal(number)
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == code, said.decode()
        assert processes_of(driver.pid) == set()
    assert attempts(out, 5) == []
    assert run(make_spec({"pause": 0.05}), out, workers=0).complete
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


@pytest.mark.slow
def test_a_worker_that_is_told_to_end_is_replaced_and_its_attempt_does_not_count(
    tmp_path: Path, expected: list[Any]
) -> None:
    out, layout = tmp_path / "out", Layout(tmp_path / "out")
    with driver_of(out, make_spec({}, {"pause": 0.3}, max_attempts=1), workers=1) as driver:
        wait_for(lambda: out.exists() and len(live_attempts(layout)) == 1)
        (worker,) = processes_of(driver.pid) - {driver.pid}
        os.kill(worker, signal.SIGTERM)
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == 0, said.decode()
    check_undisturbed(out, expected, {}, exact=True)  # whole shards: none of them was halved
    check_clean(out)


@pytest.mark.slow
def test_a_worker_that_was_stopped_for_longer_than_its_lease(tmp_path: Path, expected: list[Any]) -> None:
    """Its work is done by another run; then it goes on, loses, and takes what it wrote away."""
    out, layout = tmp_path / "out", Layout(tmp_path / "out")
    spec = make_spec({"crash": "pause", "folder": str(tmp_path)})
    with driver_of(out, spec, workers=1, lease=1.0) as driver:
        wait_for(lambda: (tmp_path / "pause").exists())
        (worker,) = processes_of(driver.pid) - {driver.pid}
        wait_for(lambda: is_stopped(worker))
        stopped = attempts(out, 5)
        assert run(spec, out, workers=0, lease=1.0).complete
        os.kill(worker, signal.SIGCONT)
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == 0, said.decode()
    assert len(stopped) == 1
    assert len(list(layout.data.iterdir())) == 5
    lost = [
        line for log in (out / "logs").iterdir() for line in log.read_text().splitlines() if '"kept": false' in line
    ]
    assert len(lost) == 1
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


@pytest.mark.slow
def test_three_runs_at_once(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    spec = make_spec({"pause": 0.02}, shard_size=3)
    with ExitStack() as stack:
        for driver in [stack.enter_context(driver_of(out, spec, workers=0)) for _ in range(3)]:
            _, said = driver.communicate(timeout=120)
            assert driver.returncode == 0, said.decode()
    check_undisturbed(out, expected, {}, exact=False)
    check_clean(out)
    workers = {open_store(out).receipt(shard).worker for shard in range(15)}
    assert len(workers) >= 2, "they share the work"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_the_disk_is_full(tmp_path: Path, expected: list[Any], workers: int) -> None:
    with small_disk(tmp_path / "disk", 600) as disk:
        out = disk / "out"
        run(make_spec(), out, workers=0)
        for name in ("commits", "data"):
            for path in (out / name).iterdir():
                path.unlink()
        (out / "manifest.json").unlink()
        ballast = disk / "ballast"
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(bytes(1 << 20))
        with pytest.raises(StoreError, match=r"out/.*No space left on device"):
            run(make_spec(), out, workers=workers)
        assert not attempts(out, 5)
        ballast.unlink()
        run(make_spec(), out, workers=0)
        check_undisturbed(out, expected, {}, exact=True)
        check_clean(out)


def test_a_store_that_is_read_only(tmp_path: Path, expected: list[Any]) -> None:
    with small_disk(tmp_path / "disk", 4000) as disk:
        out = disk / "out"
        run(make_spec(), out, workers=0)
        remount(disk, "ro")
        assert run(make_spec(), out).complete, "what is done can be asked for again"
        check_undisturbed(out, expected, {}, exact=True)
        with pytest.raises(StoreError, match="read-only"):
            retry_failed(out, workers=0, trust=True)
        with pytest.raises(StoreError, match=r"Read-only file system|read-only"):
            run(make_spec(), disk / "new", workers=0)
        remount(disk, "rw")
        (out / "commits" / "shard-000001.json").unlink()
        (out / "manifest.json").unlink()
        remount(disk, "ro")
        with pytest.raises(StoreError, match=f"{out}: expected a folder that can be written to, got a read-only one"):
            run(make_spec(), out, workers=0)


def test_failed_items_are_tried_again_and_the_others_kept(tmp_path: Path, expected: list[Any]) -> None:
    out = tmp_path / "out"
    source = {"unreadable": [3, 12, 15], "folder": str(tmp_path)}
    assert run(make_spec(source), out, workers=0).failed == 3
    before = {path.name: path.stat().st_ino for path in (out / "data").iterdir()}
    assert retry_failed(out, workers=0, trust=True).failed == 3
    (tmp_path / "repaired").touch()
    assert retry_failed(out, workers=0, trust=True).failed == 0
    after = {path.name: path.stat().st_ino for path in (out / "data").iterdir()}
    assert len(after) == 5
    assert sum(name in before for name in after) == 3, "shards without failures stay as they are"
    check_undisturbed(out, expected, {}, exact=False)
    check_clean(out)
    store = open_store(out)
    assert store.receipt(0).evaluations == 1, "only what failed is computed"


@pytest.mark.slow
def test_a_shard_that_was_halved_is_tried_again_though_nobody_cleaned_up(tmp_path: Path) -> None:
    """Whoever commits it dies just after the receipt: its pieces and attempts are still there."""
    out, folder = tmp_path / "out", {"folder": str(tmp_path)}
    options = {"shard_size": 2, "max_attempts": 1}
    source = {"count": 2, "kills": [1], "crash": "after", **folder}
    for _ in range(3):  # over both, over the one, and after the receipt
        with driver_of(out, make_spec(source, **options), workers=0) as driver:
            driver.communicate(timeout=60)
            assert driver.returncode == -signal.SIGKILL
    assert attempts(out, 1)
    assert [index for index, *_ in open_store(out).failures()] == [1]
    (tmp_path / "repaired").touch()
    assert retry_failed(out, workers=0, trust=True).failed == 0
    run(make_spec({"count": 2}, shard_size=2), tmp_path / "undisturbed", workers=0)
    check_undisturbed(out, results(tmp_path / "undisturbed"), {}, exact=False)
    check_clean(out)


def test_workers_that_cannot_begin_end_the_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"batch_faults"):
        run(make_spec({"nonsense": 1}), out, workers=1)
    assert not (out / "job.json").exists()

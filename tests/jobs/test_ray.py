from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_faults import Fault, check_clean, check_undisturbed, make_spec, results, spec_of, wait_for
from ray_cluster import Cluster, processes, session_of, title, wait_for_end
from small_disk import remount, small_disk

from xai_fast import jobs
from xai_fast.errors import JobError, StoreError
from xai_fast.jobs import JobSpec, JobStatus
from xai_fast.jobs.running import prepare_job
from xai_fast.jobs.sources import SourceChanged

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

LIMIT = 600
KILLS = 20


@pytest.fixture(autouse=True)
def _limited() -> Iterator[None]:
    """Fail a test that hangs, with a trace of where."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError(f"{LIMIT} s are over")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster() as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list:
    """What an undisturbed run gives."""
    out = tmp_path_factory.mktemp("undisturbed") / "job"
    jobs.run(make_spec(), out, workers=0, progress=False)
    return results(out)


def run(spec: JobSpec, out: Path, cluster: Cluster | None, **options: Any) -> JobStatus:
    address = None if cluster is None else cluster.address
    return jobs.run(spec, out, runner="ray", address=address, lease=5.0, progress=False, **options)


def claimed(out: Path) -> list[int]:
    """List the processes that are at work on a shard."""
    found = []
    for path in (out / "journal").glob("shard-*/*-*.json"):
        with contextlib.suppress(OSError, ValueError):  # finished just now
            found.append(int(json.loads(path.read_text())["pid"]))
    return found


def actors(cluster: Cluster) -> list[int]:
    """List the actors of Ray Data."""
    return [pid for pid in processes(cluster.session) if "ray::MapWorker" in title(pid)]


def kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Meddler(threading.Thread):
    """Does something to a run from outside, while it goes on; ``done`` is what that returns."""

    def __init__(self, work: Callable[..., Any], *arguments: object) -> None:
        super().__init__(daemon=True)
        self.work, self.arguments = work, arguments
        self.done: Any = None

    def run(self) -> None:
        self.done = self.work(*self.arguments)

    def __enter__(self) -> Meddler:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.join(60)


# All faults of single items in one run, as each start of workers costs seconds.
ITEMS = Fault(
    "items",
    source={"unreadable": [3, 44], "nan": [13], "kills": [8]},
    explainer={"raises": [20], "kills": [27], "memory": 3},
    failed={3: "unreadable", 44: "unreadable", 13: "not_finite", 8: "killed", 20: "failed", 27: "killed"},
    options={"max_attempts": 1, "shard_size": 4},
    exact=False,
)


def listening(pids: list[int]) -> set[str]:
    """List the addresses that processes listen on, as /proc has them."""
    sockets = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            for file in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):  # closed
                    sockets.add(os.readlink(f"/proc/{pid}/fd/{file}"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            entry = line.split()
            if entry[3] == "0A" and f"socket:[{entry[9]}]" in sockets:
                found.add(entry[1].rpartition(":")[0])
    return found


def watch_own_cluster(ended: threading.Event) -> tuple[set[str], set[str]]:
    """Look at a cluster that this process has started; return addresses, and settings that its processes have."""
    addresses, settings = set(), set()
    while not ended.wait(0.5):
        for folder in Path(tempfile.gettempdir()).glob(f"xai-fast-ray-{os.getpid()}-*"):
            with contextlib.suppress(LookupError, OSError):
                session = session_of(folder)
                addresses |= listening(processes(session))
                settings |= set(Path(f"/proc/{session}/environ").read_bytes().split(b"\0"))
    return addresses, settings


def test_a_cluster_of_its_own_is_private_and_finds_every_bad_item(tmp_path: Path, expected: list) -> None:
    ended = threading.Event()
    with Meddler(watch_own_cluster, ended) as watch:
        try:
            now = run(spec_of(ITEMS, tmp_path), tmp_path / "job", None, workers=2)
        finally:
            ended.set()
    addresses, settings = watch.done
    assert addresses  # so that the next line can fail
    assert addresses <= {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert {b"RAY_AUTH_MODE=token", b"RAY_USAGE_STATS_ENABLED=0"} <= settings
    assert not list(Path(tempfile.gettempdir()).glob(f"xai-fast-ray-{os.getpid()}-*"))
    check_undisturbed(tmp_path / "job", expected, ITEMS.failed, exact=ITEMS.exact)
    reasons = {failure.index: failure.reason for failure in now.failures}
    for index, text in {3: "scratched", 13: "NaN", 8: "1 times", 20: "cannot explain [20]", 27: "1 times"}.items():
        assert text in reasons[index]
    check_clean(tmp_path / "job")


def test_crashes_while_a_shard_is_committed(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    source = {"folder": str(tmp_path), "crash": "between,rename,temporary"}
    run(make_spec(source), tmp_path / "job", cluster, workers=2)
    assert {path.name for path in tmp_path.iterdir()} == {"job", "between", "rename", "temporary"}
    check_undisturbed(tmp_path / "job", expected, {}, exact=True)
    check_clean(tmp_path / "job")


def kill_workers(out: Path, times: int) -> int:
    chance = random.Random(0)
    killed = 0
    while killed < times and not (out / "manifest.json").exists():
        time.sleep(chance.uniform(0.0, 0.4))
        pids = claimed(out)
        killed += bool(pids) and kill(chance.choice(pids))
    return killed


def test_workers_killed_at_random(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    with Meddler(kill_workers, tmp_path / "job", KILLS) as meddler:
        # As many attempts at whole shards as there are deaths, so that chunks and bits are those of a quiet run.
        run(make_spec({"pause": 0.3}, max_attempts=KILLS + 1), tmp_path / "job", cluster, workers=3)
    assert meddler.done == KILLS
    check_undisturbed(tmp_path / "job", expected, {}, exact=True)
    check_clean(tmp_path / "job")


DRIVER = """
import signal, sys
from batch_faults import make_spec
from xai_fast import jobs
spec = make_spec({"pause": 0.2}, max_attempts=1)
try:
    jobs.run(spec, sys.argv[1], runner="ray", workers=2, lease=5.0, progress=False)
except KeyboardInterrupt:
    sys.exit(9)
"""


def test_the_driver_is_killed_interrupted_and_run_again(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    out = tmp_path / "job"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for number in (signal.SIGKILL, signal.SIGINT):
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(out)], env=environment)
        try:
            wait_for(lambda: bool(claimed(out)), 200)
            folder = next(Path(tempfile.gettempdir()).glob(f"xai-fast-ray-{driver.pid}-*"))
            session = session_of(folder)
            driver.send_signal(number)
            assert driver.wait(60) == (-9 if number == signal.SIGKILL else 9)
        finally:
            driver.kill()
            driver.wait()
        assert wait_for_end(session, 30) == []
        assert not folder.exists()
        assert claimed(out) == []
    run(make_spec({"pause": 0.2}, max_attempts=1), out, cluster)
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


def test_three_runs_race_for_every_shard(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    spec = make_spec({"pause": 0.02}, shard_size=5)

    def race() -> JobStatus:
        return run(spec, tmp_path / "job", cluster, workers=1)

    others = [Meddler(race), Meddler(race)]
    for other in others:
        other.start()
    assert race().complete
    for other in others:
        other.join(60)
        assert other.done is not None
        assert other.done.complete
    check_undisturbed(tmp_path / "job", expected, {}, exact=False)
    check_clean(tmp_path / "job")


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "job"
        spec = make_spec(max_attempts=1)
        prepare_job(spec, out)
        left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(bytes(left - 16384))
        with pytest.raises(StoreError, match="No space left on device"):
            run(spec, out, cluster, workers=1)
        (disk / "filler").unlink()
        run(spec, out, cluster, workers=1)
        check_undisturbed(out, expected, {}, exact=True)
        check_clean(out)


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the driver of Ray is started."""

    def started(setup: dict[str, Any], folder: Path) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr("xai_fast.jobs.runners.ray._drive", started)


@pytest.mark.usefixtures("no_ray")
def test_a_store_that_is_read_only_is_refused_before_ray_starts(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "job"
        prepare_job(make_spec(), out)
        remount(disk, "ro")
        with pytest.raises(StoreError, match=f"{out}: expected a folder that can be written to, got a read-only one"):
            run(make_spec(), out, None)


@pytest.mark.usefixtures("no_ray")
def test_a_source_that_changed_is_refused_before_ray_starts(tmp_path: Path) -> None:
    file = tmp_path / "items.npy"
    spec = JobSpec(source=str(file), explainer="tiny_items:Sums")
    np.save(file, np.ones((5, 2), np.float32))
    prepare_job(spec, tmp_path / "job")
    np.save(file, np.zeros((5, 3), np.float32))
    with pytest.raises(SourceChanged, match="the source is not what it was when the job began"):
        run(spec, tmp_path / "job", None)


@pytest.mark.parametrize(("workers", "shard_size"), [(1, 1024), (4, 7)])
def test_workers_and_size_of_shards_do_not_show(
    tmp_path: Path, cluster: Cluster, expected: list, workers: int, shard_size: int
) -> None:
    run(make_spec(shard_size=shard_size), tmp_path / "job", cluster, workers=workers, num_cpus=0.5)
    check_undisturbed(tmp_path / "job", expected, {}, exact=False)  # other chunks
    check_clean(tmp_path / "job")


def test_a_cluster_without_room_says_so(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(
        JobError, match=r"expected a node with num_cpus=1.0 and num_gpus=1.0 .* got {'CPU': 1.0, 'GPU': 0}"
    ):
        run(make_spec(), tmp_path / "job", cluster, num_gpus=1, patience=0.5)


def end_actors_and_a_node(out: Path, cluster: Cluster) -> int:
    ended = 0
    for _ in range(3):
        wait_for(lambda: bool(claimed(out) and actors(cluster)), 200)
        time.sleep(0.3)
        ended += any([kill(pid) for pid in actors(cluster)])
        time.sleep(1.0)
    wait_for(lambda: bool(claimed(out)), 200)
    cluster.remove_node()
    return ended


def test_what_ray_ends_is_nobodys_fault(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    with Meddler(end_actors_and_a_node, tmp_path / "job", cluster) as meddler:
        # A single death that counted would have its shard halved, and kill an item in the end.
        run(make_spec({"pause": 0.2}, max_attempts=1), tmp_path / "job", cluster, workers=3)
    cluster.add_node()
    assert meddler.done == 3
    check_undisturbed(tmp_path / "job", expected, {}, exact=True)
    store = jobs.open(tmp_path / "job")
    assert {store.receipt(shard).attempts for shard in store.shards} == {1}
    check_clean(tmp_path / "job")

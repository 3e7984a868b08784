"""The runner on Ray: the same faults as on one machine, and those that clusters have."""

from __future__ import annotations

import contextlib
import importlib.util
import os
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
import torch
from batch_faults import FAULTS, Killer, check_clean, check_undisturbed, make_spec, shards_of, spec_of, wait_for
from ray_cluster import Cluster, processes, session_of, title, wait_for_end
from small_disk import remount, small_disk

from xai_fast import jobs
from xai_fast.comparison.entries import read_methods, read_metrics
from xai_fast.comparison.stores import run_comparison
from xai_fast.errors import InputError, JobError, StoreError
from xai_fast.jobs import JobSpec, JobStatus

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray"),
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

LIMIT = 600
KILLS = 6  # of the shepherd that the tests of local faults try with twenty


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


def run(spec: JobSpec, out: Path, cluster: Cluster | None, **options: Any) -> JobStatus:
    address = None if cluster is None else cluster.address
    return jobs.run(spec, out, runner="ray", address=address, progress=False, **options)


def tasks(session: int) -> set[int]:
    """List the processes of Ray that do a shard."""
    return {pid for pid in processes(session) if "ray::do_shard" in title(pid)}


def workers(session: int) -> set[int]:
    """List the processes that compute; each is in a session of its own."""
    parents = set(processes(session))
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_bytes().rpartition(b")")[2].split()[1]) in parents:
                found.add(int(entry.parent.name))
    return {pid for pid in found if "xai_fast.jobs.workers" in title(pid)}


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
    fault = FAULTS[0]
    ended = threading.Event()
    with Meddler(watch_own_cluster, ended) as watch:
        try:
            now = run(spec_of(fault, tmp_path), tmp_path / "job", None, workers=2)
        finally:
            ended.set()
    addresses, settings = watch.done
    assert addresses  # so that the next line can fail
    assert addresses <= {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert {b"RAY_AUTH_MODE=token", b"RAY_USAGE_STATS_ENABLED=0"} <= settings
    assert not list(Path(tempfile.gettempdir()).glob(f"xai-fast-ray-{os.getpid()}-*"))
    check_undisturbed(tmp_path / "job", expected, fault.failed, exact=fault.exact)
    assert all(fault.reasons.get(failure.index, "") in failure.reason for failure in now.failures)
    check_clean(tmp_path / "job")


@pytest.mark.parametrize("fault", FAULTS[1:], ids=lambda fault: fault.name)
def test_faults_that_kill(tmp_path: Path, cluster: Cluster, expected: list, fault: Any) -> None:
    run(spec_of(fault, tmp_path), tmp_path / "job", cluster, workers=2)
    check_undisturbed(tmp_path / "job", expected, fault.failed, exact=fault.exact)
    check_clean(tmp_path / "job")


def test_workers_killed_at_random(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    source = {"pause": 1.0, "folder": str(tmp_path)}
    with Killer(lambda: workers(cluster.session), KILLS, 2.0, tmp_path) as killer:
        run(make_spec(source, max_attempts=KILLS + 1), tmp_path / "job", cluster, workers=3)
    assert killer.killed == KILLS
    check_undisturbed(tmp_path / "job", expected, {}, exact=True)
    check_clean(tmp_path / "job")


DRIVER = """
import signal, sys
from batch_faults import make_spec
from xai_fast import jobs
spec = make_spec({"pause": 0.2}, max_attempts=1)
try:
    jobs.run(spec, sys.argv[1], runner="ray", workers=2, progress=False)
except KeyboardInterrupt:
    sys.exit(9)
"""


def test_the_driver_is_killed_interrupted_and_run_again(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    out = tmp_path / "job"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    for number in (signal.SIGKILL, signal.SIGINT):
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(out)], env=environment)
        try:
            done = len(shards_of(out)) + 1
            wait_for(lambda done=done: len(shards_of(out)) >= done, 200)
            folder = next(Path(tempfile.gettempdir()).glob(f"xai-fast-ray-{driver.pid}-*"))
            session = session_of(folder)
            driver.send_signal(number)
            assert driver.wait(60) == (-9 if number == signal.SIGKILL else 9)
        finally:
            driver.kill()
            driver.wait()
        assert wait_for_end(session, 30) == []
        assert not folder.exists()
    run(make_spec({"pause": 0.2}, max_attempts=1), out, cluster)
    check_undisturbed(out, expected, {}, exact=True)
    check_clean(out)


def test_two_runs_race_for_every_shard(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    spec = make_spec({"pause": 0.02})

    def race() -> JobStatus:
        return run(spec, tmp_path / "job", cluster, workers=1)

    with Meddler(race) as other:
        assert race().complete
    assert other.done is not None
    assert other.done.complete
    check_undisturbed(tmp_path / "job", expected, {}, exact=True)
    check_clean(tmp_path / "job")


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "job"
        jobs.run(make_spec(), out, workers=0, progress=False)
        for path in out.glob("shards/*/*"):
            path.unlink()
        left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filler").write_bytes(bytes(left - 8192))
        with pytest.raises(StoreError, match="No space left on device"):
            run(make_spec(), out, cluster, workers=1)
        (disk / "filler").unlink()
        run(make_spec(), out, cluster, workers=1)
        check_undisturbed(out, expected, {}, exact=True)
        check_clean(out)


def test_a_store_that_is_read_only_is_refused_before_ray_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xai_fast.jobs.runners.ray._drive", lambda *arguments: pytest.fail("Ray was started"))
    with small_disk(tmp_path / "disk") as disk:
        out = disk / "job"
        jobs.run(make_spec(), out, workers=0, progress=False)
        shards_of(out)
        next(out.glob("shards/*/*")).unlink()
        remount(disk, "ro")
        with pytest.raises(StoreError, match=f"{out}: expected a folder that can be written to, got a read-only one"):
            run(make_spec(), out, None)


def test_a_cluster_without_room_says_so(tmp_path: Path, cluster: Cluster) -> None:
    with pytest.raises(
        JobError, match=r"expected a node with num_cpus=1.0 and num_gpus=1.0 .* got {'CPU': 1.0, 'GPU': 0}"
    ):
        run(make_spec(), tmp_path / "job", cluster, num_gpus=1, patience=0.5)


def end_tasks_and_a_node(out: Path, cluster: Cluster) -> int:
    ended = 0
    for done in range(2):
        wait_for(lambda done=done: bool(len(shards_of(out)) >= done and workers(cluster.session)), 200)
        time.sleep(0.3)
        ended += any([kill(pid) for pid in tasks(cluster.session)])
        time.sleep(1.0)
    wait_for(lambda: bool(workers(cluster.session)), 200)
    cluster.remove_node()
    return ended


def test_what_ray_ends_is_nobodys_fault(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    with Meddler(end_tasks_and_a_node, tmp_path / "job", cluster) as meddler:
        run(make_spec({"pause": 0.2}, max_attempts=1), tmp_path / "job", cluster, workers=3)
    cluster.add_node()
    assert meddler.done == 2
    check_undisturbed(tmp_path / "job", expected, {}, exact=True)
    check_clean(tmp_path / "job")


def test_failed_items_are_tried_again(tmp_path: Path, cluster: Cluster, expected: list) -> None:
    spec = make_spec({"unreadable": [3, 44], "folder": str(tmp_path)})
    assert jobs.run(spec, tmp_path / "job", workers=0, progress=False).failed == 2
    (tmp_path / "repaired").touch()
    how = {"runner": "ray", "address": cluster.address, "trust": True}
    assert jobs.retry_failed(tmp_path / "job", **how).failed == 0
    check_undisturbed(tmp_path / "job", expected, {}, exact=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers: expected an integer, at least 1"),
        ({"num_cpus": 0.0}, "num_cpus: expected a positive, finite number"),
        ({"num_gpus": -1.0}, "num_gpus: expected a number of GPUs"),
        ({"device": "cuda:1", "num_gpus": 1.0}, "device: expected"),
    ],
)
def test_wrong_options_are_refused_before_anything_starts(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        run(make_spec(), tmp_path / "job", None, **options)


def test_a_comparison_on_a_cluster_is_that_of_this_process(tmp_path: Path, cluster: Cluster) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((4, 3, 6, 5)).astype(np.float32))
    spec = JobSpec(tmp_path / "x.npy", model="batch_models:small", shard_size=2, seed=1)
    methods, metrics = (
        read_methods(["saliency"]),
        read_metrics("deletion(steps=2),max_sensitivity(samples=1)", boxes=False),
    )
    found = {}
    for runner, how in {"local": {"workers": 0}, "ray": {"workers": 1, "address": cluster.address}}.items():
        comparison, failed = run_comparison(
            spec, tmp_path / runner, [methods[0], methods[-1]], metrics, runner=runner, threads=1, progress=False, **how
        )
        assert (comparison.methods, failed) == (("random", "saliency"), {})
        found[runner] = {**comparison.scores, "maps": comparison.maps, "evaluations": comparison.evaluations}
    assert found["local"].keys() == found["ray"].keys()
    assert all(torch.equal(values, found["ray"][name]) for name, values in found["local"].items())
    assert all(values.isfinite().all() for values in found["ray"].values())

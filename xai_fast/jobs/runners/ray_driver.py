"""The driver of Ray, a process of its own: it connects to a cluster or starts one, and feeds shards to the actors.

Ray leaves much behind in the process that drives it: environment, signal handlers, threads, a folder of sockets. So the
runner starts this module as a child (`xai_fast.jobs.runners.ray`), tells it on standard input what to do, and keeps
that pipe open: when it closes, the parent is gone, and so is everything here.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xai_fast.errors import JobError
from xai_fast.jobs.job import Job, open_job
from xai_fast.jobs.observe import Log
from xai_fast.jobs.runners.local import raised
from xai_fast.jobs.runners.local_worker import described
from xai_fast.jobs.runners.ray_attempts import take_back_all
from xai_fast.jobs.runners.ray_worker import ShardWorker

__all__ = ["drive", "main"]

_BLOCKS = 1000
"""Shards are handed out in at most so many blocks a round: each is an object and a task of Ray."""
_IDLE_ROUNDS = 5
_OBJECT_STORE = 80 << 20
"""Bytes; only numbers of shards go through it, and Ray wants no less than 75 MiB."""
_WAIT_FOR_OTHERS = 1.0
_END = 20.0
_parent = os.getppid()


def main() -> int:
    """Read what to do, do it, and write the answer.

    Returns:
        0, also where the answer is an error.
    """
    setup = json.loads(sys.stdin.readline())
    threading.Thread(target=_follow_parent, name="xai_fast parent", daemon=True).start()
    signal.signal(signal.SIGTERM, _end)
    answer = ""
    try:
        drive(setup)
    except BaseException as error:
        answer = json.dumps(described(error))
    if os.getppid() != _parent:  # it was killed, and cannot do this
        shutil.rmtree(setup["folder"], ignore_errors=True)
    else:
        Path(setup["answer"]).write_text(answer, encoding="utf-8")
    return 0


def drive(setup: Mapping[str, Any]) -> None:
    """Do all shards of a job that have no receipt.

    Args:
        setup: what `xai_fast.jobs.runners.ray.run_ray` writes.

    Raises:
        XaiFastError: what a worker says of the whole job; or the cluster has not what a worker needs.
    """
    import ray

    job = open_job(setup["out"], batch_size=setup["batch_size"], max_attempts=setup["max_attempts"])
    log = Log(job.layout, f"ray-driver-{os.getpid()}")
    tasks = {key: setup[key] for key in ("out", "device", "threads", "lease", "batch_size", "max_attempts")}
    take_back_all(job.layout)
    try:
        _connect(setup)
        workers = _capacity(setup)
        log.event("ray_started", workers=workers, nodes=len(ray.nodes()))
        _rounds(job, tasks, setup, workers)
    finally:
        ray.shutdown()
        take_back_all(job.layout)  # what the end itself has interrupted


def _rounds(job: Job, tasks: dict[str, Any], setup: Mapping[str, Any], workers: int) -> None:
    idle = 0
    while pending := job.pending():
        states = _round(pending, tasks, setup, workers)
        if "busy" in states:  # others are at these: they finish them, or die and leave them to the next round
            time.sleep(_WAIT_FOR_OTHERS)
            continue
        idle = idle + 1 if len(job.pending()) == len(pending) else 0
        if idle == _IDLE_ROUNDS:
            raise JobError(f"ray: {len(pending)} shards make no progress, the first is {pending[0]}")


def _round(pending: list[int], tasks: dict[str, Any], setup: Mapping[str, Any], workers: int) -> set[str]:
    """Hand shards out once; return the states that came back."""
    import ray.data

    rows = [{"shard": shard} for shard in pending]
    # The rows go to Ray as blocks that exist: a task that reads them would need a CPU beside those that the actors
    # hold, and on a cluster where they hold all of them nothing would ever begin.
    shards = ray.data.from_items(rows, override_num_blocks=min(len(rows), _BLOCKS))
    done = shards.map_batches(
        ShardWorker,
        fn_constructor_args=(tasks,),
        batch_size=1,
        num_cpus=setup["num_cpus"],
        num_gpus=setup["num_gpus"] or None,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
    )
    states = set()
    for row in done.iter_rows():
        if row["state"] == "error":
            raise raised(json.loads(row["error"]))
        states.add(str(row["state"]))
    return states


def _connect(setup: Mapping[str, Any]) -> None:
    """Become the driver of the cluster that is there, or of one of our own on the loopback interface."""
    import ray
    import ray.data

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if setup["address"] is not None:
        ray.init(address=setup["address"], **quiet)
    else:
        ray.init(
            address="local",
            num_cpus=setup["own_cpus"],
            num_gpus=setup["own_gpus"],
            object_store_memory=_OBJECT_STORE,
            include_dashboard=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=setup["folder"],
            **quiet,
        )
    ray.data.DataContext.get_current().enable_progress_bars = False


def _capacity(setup: Mapping[str, Any]) -> int:
    """Return how many workers the cluster has room for, at most as many as are asked for."""
    import ray

    needs = {"CPU": setup["num_cpus"], "GPU": setup["num_gpus"]}
    ends = time.monotonic() + setup["patience"]
    while True:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        room = sum(min(int(node.get(name, 0) // need) for name, need in needs.items() if need) for node in nodes)
        if room:
            return min(room, setup["workers"]) if setup["workers"] else room
        if time.monotonic() > ends:
            raise JobError(
                f"ray: expected a node with num_cpus={needs['CPU']} and num_gpus={needs['GPU']} for a worker, got "
                + (", ".join(str({name: node.get(name, 0) for name in needs}) for node in nodes) or "no nodes")
            )
        time.sleep(0.5)


def _end(number: int, frame: object) -> None:
    del frame
    raise SystemExit(f"the driver was ended by signal {number}")


def _follow_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_END)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())

"""The driver of Ray, a process of its own: it connects to a cluster or starts one, and has a task do each shard.

It is a `xai_fast.jobs.workers.Child` of `xai_fast.jobs.runners.ray`; when the pipe closes, the parent is gone, and so
is everything here.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from xai_fast.errors import JobError
from xai_fast.jobs.job import Job, open_job
from xai_fast.jobs.workers import Shepherd, described, raised, serve

__all__ = ["main"]

_RETRIES = 10
"""How often Ray begins a task again whose node or process is gone."""
_OBJECT_STORE = 80 << 20
"""Bytes; only numbers of shards go through it, and Ray wants no less than 75 MiB."""
_END = 20.0
_LOOK = 1.0
_shepherds: dict[str, Shepherd] = {}


def main(descriptor: int) -> None:
    """Read what to do, do it, and write the answers."""
    serve(descriptor, _drive)


def _drive(connection: Connection, setup: Mapping[str, Any]) -> None:
    """Do all shards that are missing; tell what became of each."""
    parent = os.getppid()
    threading.Thread(target=_follow_parent, args=[connection], name="xai_fast parent", daemon=True).start()
    signal.signal(signal.SIGTERM, _end)
    import ray

    try:
        job = open_job(setup["worker"]["out"], source=setup["worker"]["source"])
        _connect(setup)
        for done in _tasks(job, setup):
            connection.send_bytes(json.dumps({"done": done}).encode())
    except SystemExit as error:  # by `_end`
        raise JobError(str(error)) from error
    finally:
        ray.shutdown()
        if os.getppid() != parent:  # it was killed, and cannot do this
            shutil.rmtree(setup["folder"], ignore_errors=True)
    connection.send_bytes(json.dumps({"ended": True}).encode())


def _tasks(job: Job, setup: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    import ray

    # A process does one shard after the other, also with a GPU: it holds the model.
    options = {"num_cpus": setup["num_cpus"], "num_gpus": setup["num_gpus"], "max_retries": _RETRIES, "max_calls": 0}
    task = ray.remote(**options)(do_shard)
    retry = setup["retry"] is not None
    shards = iter(setup["retry"]) if retry else job.shards.in_turn()
    running: dict[Any, int] = {}
    room = _wait_for_room(setup)
    while True:
        room = _room(setup) or room  # nodes come and go
        for shard in itertools.islice(shards, max(0, room - len(running))):
            running[task.remote(setup["worker"], job.plan.threads, shard, retry)] = shard
        if not running:
            return
        done, _ = ray.wait(list(running), timeout=_LOOK)
        for reference in done:
            shard = running.pop(reference)
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                raise JobError(f"ray: shard {shard} took its process or node down {_RETRIES} times: {error}") from error
            if "error" in answer:
                raise raised(answer["error"])
            yield answer["done"]


def do_shard(worker: Mapping[str, Any], threads: int, shard: int, retry: bool) -> dict[str, Any]:
    """Do a shard in a process of Ray, which keeps its worker for the next one."""
    key = json.dumps([worker, os.environ.get("CUDA_VISIBLE_DEVICES")], sort_keys=True)
    for other in [other for other in _shepherds if other != key]:  # another job, or another GPU than before
        _shepherds.pop(other).stop()
    shepherd = _shepherds.setdefault(key, Shepherd(worker, threads))
    try:
        return {"done": asdict(shepherd.do(shard, retry=retry))}
    except Exception as error:
        return {"error": described(error)}


def _connect(setup: Mapping[str, Any]) -> None:
    """Become the driver of the cluster that is there, or of one of our own on the loopback interface."""
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if setup["address"] is not None:
        ray.init(address=setup["address"], **quiet)
        return
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


def _wait_for_room(setup: Mapping[str, Any]) -> int:
    ends = time.monotonic() + setup["patience"]
    while not (room := _room(setup)):
        if time.monotonic() > ends:
            needs = f"num_cpus={setup['num_cpus']} and num_gpus={setup['num_gpus']}"
            nodes = [{name: node.get(name, 0) for name in ("CPU", "GPU")} for node in _nodes()]
            got = ", ".join(map(str, nodes)) or "no nodes"
            raise JobError(f"ray: expected a node with {needs} for a task, got {got}")
        time.sleep(0.5)
    return room


def _room(setup: Mapping[str, Any]) -> int:
    """Return how many tasks the cluster has room for, at most as many as are asked for."""
    needs = {name: need for name, need in (("CPU", setup["num_cpus"]), ("GPU", setup["num_gpus"])) if need}
    room = sum(min(int(node.get(name, 0) // need) for name, need in needs.items()) for node in _nodes())
    return min(room, setup["tasks"]) if setup["tasks"] else room


def _nodes() -> list[dict[str, float]]:
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _end(number: int, frame: object) -> None:
    del frame
    raise SystemExit(f"the driver was ended by signal {number}")


def _follow_parent(connection: Connection) -> None:
    """Wait for the end of the pipe."""
    with suppress(EOFError, OSError):
        connection.recv_bytes()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_END)
    os._exit(1)

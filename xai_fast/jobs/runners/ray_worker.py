"""What runs in an actor of Ray: it hands shards to a child process and sees how that fares."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from multiprocessing.connection import wait
from typing import Any

from xai_fast.errors import JobError
from xai_fast.jobs.job import open_job
from xai_fast.jobs.observe import Log
from xai_fast.jobs.runners.local import Worker, raised
from xai_fast.jobs.runners.local_worker import described
from xai_fast.jobs.runners.ray_attempts import new_name, sign_deaths, take_back

__all__ = ["ShardWorker"]

_STARTS = 3
"""Children in a row that may die before they have begun."""
_BUSY_TIMES = 3
_BUSY_SECONDS = 0.5
_LOOK = 2.0


class ShardWorker:
    """A worker for `ray.data.Dataset.map_batches`: a row in, the number of a shard; a row out, what became of it.

    Nothing is raised to Ray, which would try again for ever or end the whole data set: errors are part of the row. The
    child is the same as that of the runner ``local``; an item that kills it does not touch the actor, so that Ray has
    nothing to restart, and the journal alone says how often something is tried.

    Args:
        setup: ``out``, ``device``, ``threads``, ``lease``, ``batch_size`` and ``max_attempts``.
    """

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self._setup = dict(setup)
        self._feeder: _Feeder | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do one shard.

        Args:
            batch: ``shard``, an array with one number.

        Returns:
            Columns of one row: ``shard``, ``state`` (see `xai_fast.jobs.worker.run_shard`, or "error") and ``error``.
        """
        shard = int(batch["shard"][0])
        try:
            if self._feeder is None:
                self._feeder = _Feeder(self._setup)
            state, error = self._feeder.run(shard), ""
        except Exception as problem:
            state, error = "error", json.dumps(described(problem))
        return {"shard": [shard], "state": [state], "error": [error]}


class _Feeder:
    """One child, replaced when it dies."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        import ray

        self._device, self._threads, self._lease = setup["device"], setup["threads"], setup["lease"]
        self._job = open_job(setup["out"], batch_size=setup["batch_size"], max_attempts=setup["max_attempts"])
        self._node = ray.get_runtime_context().get_node_id()
        self._name = new_name(self._node)
        self._log = Log(self._job.layout, self._name)
        self._child: Worker | None = None

    def run(self, shard: int) -> str:
        busy = 0
        while True:
            taken_back = take_back(self._job.layout, shard)
            if taken_back:
                self._log.event("attempts_taken_back", shard=shard, attempts=taken_back)
            child = self._started()
            child.send(shard=shard)
            answer = _heard(child)
            if answer is None:
                self._bury(child, shard)
                continue
            _raise(answer)
            # What was left by an actor that Ray has just ended is free after a moment.
            if answer["state"] == "busy" and busy < _BUSY_TIMES:
                busy += 1
                time.sleep(_BUSY_SECONDS)
                continue
            return str(answer["state"])

    def _started(self) -> Worker:
        if self._child is not None:
            return self._child
        code = 0
        for _ in range(_STARTS):
            child = Worker(self._job, self._device, self._threads, self._lease, new_name(self._node))
            answer = _heard(child)
            if answer is not None:
                _raise(answer)
                self._child = child
                return child
            child.connection.close()
            code = child.process.wait()
        raise JobError(f"{_STARTS} workers in a row died before they could begin, the last one with exit code {code}")

    def _bury(self, child: Worker, shard: int) -> None:
        child.connection.close()
        code = child.process.wait()
        self._child = None
        signed = sign_deaths(self._job.layout, shard, child.name)
        self._log.event("worker_died", shard=shard, exit_code=code, attempts=signed)


def _heard(child: Worker) -> dict[str, Any] | None:
    """Wait for what a child says, or for its end, also where a process that it has started keeps the pipe open."""
    while not wait([child.connection], _LOOK):
        if child.process.poll() is not None and not child.connection.poll():
            return None
    return child.receive()


def _raise(answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        raise raised(answer["error"])

"""What runs in an actor of Ray: one computation, many shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch

from xai_fast.batch.job import open_job
from xai_fast.batch.observe import Log
from xai_fast.batch.runners.ray_answers import pack_error
from xai_fast.batch.runners.ray_attempts import Marks, Pardon, sign
from xai_fast.batch.worker import DeviceLost, run_shard
from xai_fast.errors import ModelError

__all__ = ["ShardWorker"]

_DEATHS_AT_START = 8


class ShardWorker:
    """A worker for `ray.data.Dataset.map_batches`: a row in, the number of a shard; a row out, what became of it.

    Nothing is raised to Ray, which would try again for ever or end the whole data set: errors are part of the row.

    Args:
        setup: ``out``, ``run``, ``earlier``, ``device``, ``threads``, ``lease``, ``batch_size`` and ``max_attempts``.
    """

    def __init__(self, setup: Mapping[str, Any]) -> None:
        self._setup = dict(setup)
        self._tools: _Tools | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Do one shard.

        Args:
            batch: ``shard``, an array with one number.

        Returns:
            Columns of one row: ``shard``, ``state`` (see `xai_fast.batch.worker.run_shard`, or "error") and ``error``.
        """
        shard = int(batch["shard"][0])
        try:
            if self._tools is None:
                self._tools = _Tools(self._setup)
            state, error = self._tools.run(shard), ""
        except Exception as problem:
            state, error = "error", pack_error(problem)
        return {"shard": [shard], "state": [state], "error": [error]}


class _Tools:
    """The job and its computation, made with the first shard: what goes wrong there is an error like all others."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        import ray

        torch.set_num_threads(setup["threads"])
        context = ray.get_runtime_context()
        self._lease = setup["lease"]
        self._name = sign(setup["run"], context.get_node_id(), context.get_worker_id())
        self._job = open_job(setup["out"], batch_size=setup["batch_size"], max_attempts=setup["max_attempts"])
        self._log = Log(self._job.layout, f"ray-{context.get_node_id()[:8]}-{os.getpid()}")
        self._log.event("worker_started", name=self._name, device=setup["device"])
        self._pardon = Pardon(self._job.layout, setup["run"], frozenset(setup["earlier"]), _nodes, _ended_by_ray)
        marks, mark = Marks(self._job.layout, setup["run"]), f"start-{context.get_actor_id()}"
        # A model that ends the process when it is loaded would be loaded again and again: Ray restarts the actor for ever.
        deaths = marks.count(mark)
        if deaths >= _DEATHS_AT_START:
            raise ModelError(f"the worker died {deaths} times while it loaded the source, the model and the explainers")
        self._computation = self._job.compute_on(setup["device"])
        marks.clear(mark)

    def run(self, shard: int) -> str:
        for reason in self._pardon.take_back(shard):
            self._log.event("attempt_taken_back", shard=shard, reason=reason)
        try:
            return run_shard(
                self._job, self._computation, shard, lease=self._lease, worker=self._name, log=self._log
            ).state
        except DeviceLost as error:
            # Only a new process gets the device back. Ray starts one and tries again; the attempt counts.
            self._log.event("device_lost", shard=shard, error=str(error))
            os._exit(1)


def _nodes() -> set[str]:
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _ended_by_ray(worker: str) -> bool:
    """Ask the cluster's table of workers; only Ray's internals give it without a dashboard, so they may lack it."""
    try:
        from ray._private.state import state
        from ray.core.generated import common_pb2, gcs_pb2

        found = state._connect_and_get_accessor().get_worker_info(_worker_id(worker))
        if found is None:
            return False
        kind = gcs_pb2.WorkerTableData.FromString(found).exit_type
        return kind in (common_pb2.WorkerExitType.NODE_OUT_OF_MEMORY, common_pb2.WorkerExitType.INTENDED_SYSTEM_EXIT)
    except (ImportError, AttributeError, TypeError):
        return False


def _worker_id(worker: str) -> Any:
    import ray

    return ray.WorkerID(bytes.fromhex(worker))

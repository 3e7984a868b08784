"""Many machines without an engine: each process knows its number and how many there are, and takes its share.

There is no communication but through the store. A process that is done with its own shards takes those that are still
missing, so a machine that is slow, late or gone costs time only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument
from xai_fast.jobs.job import Job
from xai_fast.jobs.runners.local import Seen, devices_of, feed

__all__ = ["find_rank", "run_rank"]


def run_rank(
    job: Job,
    shards: Iterator[int] | None,
    seen: Seen,
    *,
    device: str | None = None,
    rank: int | None = None,
    world_size: int | None = None,
) -> None:
    """Work on a job as one of many processes, until all of it is done."""
    rank, world_size = find_rank(os.environ, rank, world_size)
    if shards is None:
        todo = job.shards.in_turn(rank, world_size)
    else:
        todo = (shard for shard in shards if shard % world_size == rank)
    devices = devices_of(device)
    own = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or "0")
    feed(job, todo, seen, [devices[own % len(devices)]], retry=shards is not None)


def find_rank(
    environment: Mapping[str, str], rank: int | None = None, world_size: int | None = None
) -> tuple[int, int]:
    """Return (number of this process, number of processes), as the user says, or else as the environment does.

    Looked at in this order: ``RANK`` and ``WORLD_SIZE`` (torchrun), ``SLURM_ARRAY_TASK_ID`` with
    ``SLURM_ARRAY_TASK_COUNT`` and ``SLURM_ARRAY_TASK_MIN`` (an array of jobs), ``SLURM_PROCID`` and ``SLURM_NTASKS``
    (srun), ``JOB_COMPLETION_INDEX`` (an indexed job of Kubernetes, which does not tell the number of its pods:
    ``world_size`` or the variable ``WORLD_SIZE`` has to). Raises `InputError` where they are not known or do not fit.
    """
    found = _from_environment(environment)
    rank = found[0] if rank is None else rank
    world_size = found[1] if world_size is None else world_size
    for name, value in (("rank", rank), ("world_size", world_size)):
        if value is None:
            variables = "RANK and WORLD_SIZE, SLURM_ARRAY_TASK_ID and _COUNT, or JOB_COMPLETION_INDEX"
            raise bad_argument(name, f"a number, or the variables {variables}", "neither")
    checked = check_integer("world_size", world_size, 1)
    return check_integer("rank", rank, 0, checked - 1), checked


def _from_environment(environment: Mapping[str, str]) -> tuple[int | None, int | None]:
    def number(name: str) -> int | None:
        text = environment.get(name)
        if text is None:
            return None
        if not text.strip().isdigit():
            raise bad_argument(name, "a number in the environment", repr(text))
        return int(text)

    if (rank := number("RANK")) is not None:
        return rank, number("WORLD_SIZE")
    if (rank := number("SLURM_ARRAY_TASK_ID")) is not None:
        return rank - (number("SLURM_ARRAY_TASK_MIN") or 0), number("SLURM_ARRAY_TASK_COUNT")
    if (rank := number("SLURM_PROCID")) is not None:
        return rank, number("SLURM_NTASKS")
    return number("JOB_COMPLETION_INDEX"), number("WORLD_SIZE")

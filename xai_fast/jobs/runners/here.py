"""Working on shards in this process, one after the other, beside whoever else works on the same store."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from xai_fast.jobs import journal
from xai_fast.jobs.job import Job
from xai_fast.jobs.store import committed
from xai_fast.jobs.threads import agree_on_threads, torch_threads
from xai_fast.jobs.worker import run_shard

__all__ = ["run_here"]

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 5.0


def run_here(
    job: Job, shards: Sequence[int], *, device: str, threads: int | None = None, lease: float = journal.LEASE
) -> None:
    """Work until each of these shards is committed, by this process or another one.

    Args:
        job: the job.
        shards: their numbers, in the order in which they are taken.
        device: where the model runs.
        threads: of its operations, where the job has not begun with another number; None for those that torch has.
        lease: seconds after which other machines may take this process for dead, if they do not hear from it.
    """
    with torch_threads(agree_on_threads(job.layout, threads or torch.get_num_threads())):
        _work(job, shards, device, lease)


def _work(job: Job, shards: Sequence[int], device: str, lease: float) -> None:
    computation = None
    pause = _FIRST_WAIT
    left = list(shards)
    while left:
        advanced = False
        done = committed(job.layout)
        for shard in left:
            if shard in done:
                continue
            if computation is None:
                computation = job.compute_on(device)
            advanced |= run_shard(job, computation, shard, lease=lease).state != "busy"
        done = committed(job.layout)
        left = [shard for shard in left if shard not in done]
        # Only others are at work on what is left: they finish it, or are found to be dead.
        pause = _FIRST_WAIT if advanced else min(2 * pause, _LONGEST_WAIT)
        if left and not advanced:
            time.sleep(pause)

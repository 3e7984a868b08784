"""Running a job, whichever way: the store says what is left, a runner does it."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from xai_fast.arguments import check_choice
from xai_fast.errors import InputError, JobError
from xai_fast.jobs.job import Job, open_job, prepare_job
from xai_fast.jobs.job_status import JobStatus, status
from xai_fast.jobs.runners.local import Seen, default_threads, devices_of
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.work import ShardDone
from xai_fast.progress import Progress
from xai_fast.references import check_arguments
from xai_fast.terminal import printable

__all__ = ["RUNNERS", "retry_failed", "run"]

_INTERVAL = 30.0
RUNNERS = ("local", "rank", "ray")
_Work = Callable[[Job, "Iterator[int] | None", Seen], None]


def run(
    spec: JobSpec,
    out: str | os.PathLike[str],
    *,
    runner: str = "local",
    workers: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: bool = True,
    **options: Any,
) -> JobStatus:
    """Explain all items of a data set into a store; called again after whatever ended it, it goes on where it was.

    Any number of runs, on any machines that see the folder, may work on one store at a time.

    Args:
        spec: what is computed.
        out: folder of the store: a new one, or one with the same job.
        runner: "local" (processes of this machine), "rank" (this is one of many processes, numbered by torchrun, SLURM
            or Kubernetes) or "ray" (a cluster of Ray).
        workers: processes; None for what suits the machine. With "local", 0 works in this process. Not for "rank".
        device: "cpu", "cuda" or one such as "cuda:1"; None for GPUs where there are any.
        threads: of each worker's operations in a new job; None for its share of the cores. A job keeps its number, so
            that results are the same bits.
        progress: show a bar where standard error is a terminal, else a line now and then.
        options: of the runner: ``rank`` and ``world_size`` for "rank"; for "ray" see
            `xai_fast.jobs.runners.ray.run_ray`.

    Returns:
        How the job stands: complete, with what failed.

    Raises:
        InputError: an argument is wrong, the store holds another job, or something that the job refers to is missing.
        StoreError: the store cannot be written or read.
        JobError: the data is not what it was when the job began, or is gone; workers cannot be started, or failed for a
            reason that is not an item's.
    """
    check_choice("runner", runner, RUNNERS)
    work = _runner(runner, workers, device, options)
    cores = int(options.get("num_cpus", 1)) or 1 if runner == "ray" else default_threads(device)
    job = prepare_job(spec, out, device=devices_of(device)[0], threads=threads or cores)
    if not job.complete:
        if progress:
            _watch(job, work)
        else:
            work(job, None, lambda done: None)
        left = next(job.shards.missing(), None)
        if left is not None:
            raise JobError(f"shard {left} is missing again: something has removed it")
    return status(out, exact=True)


def retry_failed(
    out: str | os.PathLike[str],
    *,
    runner: str = "local",
    workers: int | None = None,
    device: str | None = None,
    trust: bool = False,
    source: Any = None,
    **options: Any,
) -> JobStatus:
    """Do the failed items of a job again, such as after an unreadable file was replaced; the good ones are kept.

    Where nothing has failed, nothing is done or called.

    Args:
        out: folder of the store.
        runner: as in `run`, like all that follow.
        workers: processes.
        device: where the model runs.
        trust: call the functions that the store names (data set, model, methods); it is refused where there are any,
            with their names, unless the store is yours.
        source: where the data lies by now, if it was moved.
        options: of the runner.

    Returns:
        How the job stands.

    Raises:
        InputError: an argument is wrong.
        StoreError: there is no store, or it cannot be written or read.
        JobError: as in `run`.
    """
    check_choice("runner", runner, RUNNERS)
    work = _runner(runner, workers, device, options)
    job = open_job(out, **({} if source is None else {"source": source}))
    if not (stands := status(out, exact=True)).failed:
        return stands
    # A store that came from somewhere else could name any function of any module. The owner of the files says nothing:
    # what is unpacked from an archive belongs to whoever unpacked it.
    named = () if trust else JobSpec.from_dict(job.document["spec"]).calls
    if named:
        raise InputError(
            "trust: the store says which functions to call; look at them, and pass trust=True (--trust) if the store "
            f"is yours: {'; '.join(named)}"
        )
    job.check_writable()
    failed = (shard for shard in job.shards.all_done() if job.shards.header(shard).failed)
    work(job, failed, lambda done: None)
    return status(out, exact=True)


def _runner(name: str, workers: int | None, device: str | None, options: dict[str, Any]) -> _Work:
    """Import a runner, so that what it needs is missed before the job begins, and check its options."""
    function = getattr(importlib.import_module(f"xai_fast.jobs.runners.{name}"), f"run_{name}")
    given = {**options, "device": device} | ({} if workers is None else {"workers": workers})
    check_arguments(f"options of runner={name!r}", function, given, given=3)
    return functools.partial(function, **given)


def _watch(job: Job, work: _Work) -> None:
    """Work, and show how far it is: in a bar where standard error is a terminal, else in a line now and then."""
    failed = 0
    with Progress(len(job.items), lines=_INTERVAL) as bar:
        if not sys.stderr.isatty():
            bar.note = f"look from another shell with: xai-fast jobs status {printable(str(job.path))}"
        bar.advance(job.shards.items_done(), kept=True)
        bar.note = ""

        def seen(done: ShardDone) -> None:
            nonlocal failed
            failed += done.failed
            bar.note = f"{failed:,} failed" if failed else ""
            bar.advance(done.items)

        work(job, None, seen)

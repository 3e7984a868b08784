"""Running a job, whichever way: the store says what is left, a runner does it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from xai_fast.arguments import check_choice
from xai_fast.errors import JobError
from xai_fast.jobs import journal
from xai_fast.jobs.job import Job, open_job, prepare_job
from xai_fast.jobs.observe import JobProgress, JobStatus, Log, status
from xai_fast.jobs.retry import withdraw_failed
from xai_fast.jobs.spec import JobSpec
from xai_fast.jobs.store import Layout
from xai_fast.jobs.store.manifest import manifest_is_current, write_manifest
from xai_fast.jobs.trust import check_trust

__all__ = ["RUNNERS", "prepare_job", "retry_failed", "run"]

RUNNERS = ("local", "rank", "ray")


def run(
    spec: JobSpec,
    out: str | os.PathLike[str],
    *,
    runner: str = "local",
    workers: int | None = None,
    device: str | None = None,
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
        progress: show a bar where standard error is a terminal.
        options: of the runner: ``lease`` (seconds without a heartbeat after which a worker of another machine counts as
            dead), ``rank`` and ``world_size`` for "rank", ``address`` and others for "ray".

    Returns:
        How the job stands: complete, with what failed.

    Raises:
        InputError: an argument is wrong, the store holds another job, or something that the job refers to is missing.
        SourceChanged: the data is not what it was when the job began.
        StoreError: the store cannot be written or read.
        JobError: workers cannot be started, or failed for a reason that is not an item's.
    """
    check_choice("runner", runner, RUNNERS)
    work = _runner(runner, workers, options)
    job = prepare_job(spec, out)
    return _finish(job, work, runner, device, progress)


def retry_failed(
    out: str | os.PathLike[str],
    *,
    runner: str = "local",
    workers: int | None = None,
    device: str | None = None,
    progress: bool = True,
    trust: bool = False,
    **options: Any,
) -> JobStatus:
    """Do the failed items of a job again, such as after an unreadable file was replaced; the good ones are kept.

    Args:
        out: folder of the store.
        runner: as in `run`, like all that follow.
        workers: processes.
        device: where the model runs.
        progress: show a bar.
        trust: call the functions that the store names (data set, model, methods); it is refused where there are any,
            with their names, unless the store is yours.
        options: of the runner.

    Returns:
        How the job stands.

    Raises:
        InputError: an argument is wrong.
        SourceChanged: the data as a whole is not what it was when the job began.
        StoreError: there is no store, or it cannot be written or read.
        JobError: as in `run`.
    """
    check_choice("runner", runner, RUNNERS)
    work = _runner(runner, workers, options)
    layout = Layout(out)
    check_trust(out, trust)
    job = prepare_job(open_job(out).spec, out)
    layout.check_writable()
    shards = withdraw_failed(layout)
    Log(layout, f"driver-{journal.worker_name()}").event("retry_started", shards=len(shards))
    return _finish(job, work, runner, device, progress)


def _finish(
    job: Job, work: Callable[[Job, str | None], None], runner: str, device: str | None, progress: bool
) -> JobStatus:
    if job.pending():
        log = Log(job.layout, f"driver-{journal.worker_name()}")
        log.event("run_started", runner=runner, shards=job.shards, left=len(job.pending()))
        try:
            with JobProgress(job.layout, len(job.items), visible=None if progress else False):
                work(job, device)
        except BaseException as error:
            log.event("run_ended", error=f"{type(error).__name__}: {error}")
            raise
        log.event("run_finished")
    left = job.pending()
    if left:
        raise JobError(f"{len(left)} shards are left, such as {left[0]}: something has taken back their receipts")
    if not job.layout.read_only and not manifest_is_current(job.layout):
        write_manifest(job.layout)
    return status(job.layout.root)


def _runner(name: str, workers: int | None, options: dict[str, Any]) -> Callable[[Job, str | None], None]:
    """Import a runner, so that what it needs is missed before the job begins."""
    from xai_fast.jobs.references import check_arguments

    function: Any
    if name == "local":
        from xai_fast.jobs.runners.local import run_local as function
    elif name == "rank":
        from xai_fast.jobs.runners.rank import run_rank as function
    else:
        from xai_fast.jobs.runners.ray import run_ray as function
    given = dict(options) if workers is None else {**options, "workers": workers}
    check_arguments(f"options of runner={name!r}", function, {**given, "device": None}, given=1)

    def work(job: Job, device: str | None) -> None:
        function(job, device=device, **given)

    return work

"""One machine: a process per device, or per group of cores, each fed with shards through a pipe.

A worker that dies is replaced, and the journal says what it died over. Workers end when the driver does, however that
ends, since their end of the pipe is closed then. Nothing listens anywhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

import torch

from xai_fast import errors
from xai_fast.arguments import check_integer
from xai_fast.errors import JobError, XaiFastError, bad_argument
from xai_fast.jobs import journal
from xai_fast.jobs.job import Job
from xai_fast.jobs.runners.here import run_here
from xai_fast.jobs.runners.signals import ends_on_sigterm
from xai_fast.jobs.sources.base import SourceChanged
from xai_fast.jobs.threads import agree_on_threads

__all__ = ["Worker", "raised", "run_local"]

_STARTS = 3
"""Workers in a row that may die before they have begun."""
_AGAIN = 0.5
"""Seconds until a shard that somebody else is at is looked at again."""
_GRACE = 10.0
_MOST_WORKERS = 8
_START = "import sys; sys.path[:] = {path!r}; from xai_fast.jobs.runners.local_worker import main; main({descriptor})"


def run_local(
    job: Job,
    *,
    workers: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    lease: float = journal.LEASE,
) -> None:
    """Do what is left of a job with processes of this machine.

    Args:
        job: the job.
        workers: processes; None for one a GPU, or one a core (at most 8, which then share the cores); 0 to work in this
            process, such as in a debugger.
        device: "cpu", "cuda" for all GPUs, or one such as "cuda:1"; None for all GPUs if there are any, else the CPU.
        threads: of each worker's operations; None for its share of the cores if there were as many workers as by
            default, so that other numbers of workers give the same bits. A job that has begun with another number keeps
            that, and a warning says so.
        lease: seconds after which other machines may take a worker for dead, if they do not hear from it.

    Raises:
        XaiFastError: what a worker met that concerns the whole job. What is done so far is kept.
    """
    devices = _devices(device)
    cores = _cores()
    default = min(cores, _MOST_WORKERS) if devices == ["cpu"] else len(devices)
    count = default if workers is None else check_integer("workers", workers, 0, 1024)
    wanted = max(1, cores // default) if threads is None else check_integer("threads", threads, 1, 1024)
    pending = job.pending()
    if not pending:
        return
    if count == 0:
        run_here(job, pending, device=devices[0], threads=wanted, lease=lease)
        return
    agreed = agree_on_threads(job.layout, wanted)
    count = min(count, len(pending))
    driver = _Driver(job, [devices[i % len(devices)] for i in range(count)], agreed, lease)
    with ends_on_sigterm():
        try:
            while pending:  # again where receipts were taken back meanwhile
                driver.run(pending)
                pending = job.pending()
        finally:
            driver.stop()


class Worker:
    """A worker process, seen from the driver.

    Args:
        job: what it works on.
        device: where its model runs.
        threads: of its operations, where the job has not begun with another number.
        lease: of its claims, in seconds.
        name: in the journal and the logs; by default one that no other worker has.
    """

    def __init__(self, job: Job, device: str, threads: int, lease: float, name: str | None = None) -> None:
        self.device = device
        self.shard: int | None = None
        self.ready = False
        self.connection, theirs = Pipe()
        self.name = name or f"{journal.worker_name()}-local"
        threads = agree_on_threads(job.layout, threads)
        code = _START.format(path=sys.path, descriptor=theirs.fileno())
        with _blocked_interrupts():
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )
        theirs.close()
        self.send(
            out=str(job.layout.root),
            worker=self.name,
            device=device,
            threads=threads,
            lease=lease,
            batch_size=job.spec.batch_size,
            max_attempts=job.spec.max_attempts,
        )

    def send(self, **message: object) -> None:
        """Send an order; one that is dead is found when its answer is read."""
        try:
            self.connection.send_bytes(json.dumps(message).encode())
        except OSError:
            return

    def receive(self) -> dict[str, Any] | None:
        """Return what it says, or None where it has died."""
        try:
            return dict(json.loads(self.connection.recv_bytes()))
        except (EOFError, OSError):
            return None

    def ended(self, seconds: float) -> bool:
        """Return whether it ends by itself in this time; else it is killed."""
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return False
        return True


class _Driver:
    """Feeds workers, and replaces those that die; knows numbers of shards only."""

    def __init__(self, job: Job, devices: list[str], threads: int, lease: float) -> None:
        self.job, self.threads, self.lease = job, threads, lease
        self.idle_devices = list(reversed(devices))
        self.workers: dict[Connection, Worker] = {}
        self.waiting: deque[int] = deque()
        self.later: deque[tuple[float, int]] = deque()
        self.lost_at_start = 0

    def run(self, shards: list[int]) -> None:
        """Work until each of these shards is committed."""
        self.waiting.extend(shards)
        while self.waiting or self.later or any(worker.shard is not None for worker in self.workers.values()):
            while self.later and self.later[0][0] <= time.monotonic():
                self.waiting.append(self.later.popleft()[1])
            while self.waiting and self.idle_devices and len(self.workers) < self._needed():
                self._start(self.idle_devices.pop())
            self._feed()
            heard = wait(list(self.workers), timeout=_AGAIN if self.later else 2.0)
            for worker in [worker for connection, worker in self.workers.items() if connection in heard]:
                self._hear(worker)
            self._look_for_dead()

    def stop(self) -> None:
        """End all workers: those at work release what they are at."""
        for worker in self.workers.values():
            worker.connection.close()
        end = time.monotonic() + _GRACE
        for worker in self.workers.values():
            # It ended itself, or we end it: that is not the fault of one of its items.
            if not worker.ended(end - time.monotonic()) and worker.shard is not None:
                journal.Journal(self.job.layout, worker.shard).release(worker.name)
        self.workers.clear()

    def _needed(self) -> int:
        at_work = sum(worker.shard is not None for worker in self.workers.values())
        return at_work + len(self.waiting)

    def _start(self, device: str) -> None:
        worker = Worker(self.job, device, self.threads, self.lease)
        self.workers[worker.connection] = worker

    def _feed(self) -> None:
        for worker in self.workers.values():
            if worker.ready and worker.shard is None and self.waiting:
                worker.shard = self.waiting.popleft()
                worker.send(shard=worker.shard)

    def _hear(self, worker: Worker) -> None:
        message = worker.receive()
        if message is None:
            self._bury(worker)
        elif "error" in message:
            raise raised(message["error"])
        elif "ready" in message:
            worker.ready = True
            self.lost_at_start = 0
        else:
            if message["state"] == "busy":
                self.later.append((time.monotonic() + _AGAIN, message["shard"]))
            worker.shard = None

    def _look_for_dead(self) -> None:
        """Find those whose pipe is still open, because a process that they have started holds it."""
        for worker in list(self.workers.values()):
            if worker.process.poll() is not None and not worker.connection.poll():
                self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        worker.connection.close()
        del self.workers[worker.connection]
        code = worker.process.wait()
        self.idle_devices.append(worker.device)
        if worker.shard is not None:
            self.waiting.appendleft(worker.shard)
        elif not worker.ready:
            self.lost_at_start += 1
            if self.lost_at_start >= _STARTS:
                raise JobError(
                    f"{_STARTS} workers in a row died before they could begin, the last one with exit code {code}; "
                    "workers=0 runs the job in one process, where a debugger can look at it"
                )


def raised(error: Mapping[str, Any]) -> XaiFastError:
    """Make the error that another process met anew.

    Args:
        error: from `xai_fast.jobs.runners.local_worker.described`.

    Returns:
        An error of the same class where that is one of ours, else a `JobError`; its cause holds the trace.
    """
    kinds = {kind.__name__: kind for kind in (*_kinds(), SourceChanged)}
    kind = kinds.get(error["type"], JobError) if error["ours"] else JobError
    made: XaiFastError = kind(
        error["message"] if error["ours"] else f"a worker failed: {error['type']}: {error['message']}"
    )
    made.__cause__ = JobError("in a worker:\n" + error["traceback"])
    return made


def _kinds() -> Iterator[type[XaiFastError]]:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, XaiFastError):
            yield kind


def _devices(device: str | None) -> list[str]:
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if device is None:
        return gpus or ["cpu"]
    try:
        asked = torch.device(device)
    except (RuntimeError, TypeError):
        raise bad_argument("device", '"cpu", "cuda" or "cuda:0"', repr(device)) from None
    if asked.type == "cuda" and not gpus:
        raise bad_argument("device", "one that is there", f"{device}, and there is no GPU that torch can use")
    if str(asked) == "cuda":
        return gpus
    if asked.type == "cuda" and asked.index >= len(gpus):
        raise bad_argument("device", f"one of {', '.join(gpus)}", device)
    return [str(asked)]


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Start a process with SIGINT blocked, which it inherits, until it has said that it does not want any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

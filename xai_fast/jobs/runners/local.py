"""One machine: a process per device, or per group of cores, each fed with one shard after the other."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import FrameType

import torch

from xai_fast.arguments import check_integer
from xai_fast.errors import bad_argument
from xai_fast.jobs.job import Job
from xai_fast.jobs.work import Order, ShardDone, run_shard
from xai_fast.jobs.workers import Shepherd, setup_of

__all__ = ["default_threads", "devices_of", "feed", "run_local"]

_MOST_WORKERS = 8
Seen = Callable[[ShardDone], None]


def run_local(
    job: Job, shards: Iterator[int] | None, seen: Seen, *, device: str | None = None, workers: int | None = None
) -> None:
    """Do what is left of a job with processes of this machine."""
    devices = devices_of(device)
    count = _default_workers(devices) if workers is None else check_integer("workers", workers, 0, 1024)
    todo = job.shards.in_turn() if shards is None else shards
    if count:
        feed(job, todo, seen, [devices[i % len(devices)] for i in range(count)], retry=shards is not None)
        return
    before = torch.get_num_threads()
    torch.set_num_threads(job.plan.threads)
    try:
        held = job.compute_on(devices[0])
        for shard in todo:
            seen(run_shard(job, held, Order(shard, retry=shards is not None)))
    finally:
        torch.set_num_threads(before)


def feed(job: Job, shards: Iterator[int], seen: Seen, devices: list[str], *, retry: bool = False) -> None:
    """Give shards to workers, one on each of these devices, until there are no more."""
    shepherds = [Shepherd(setup_of(job, device), job.plan.threads) for device in devices]
    idle, busy = list(shepherds), dict[Future[ShardDone], Shepherd]()
    # At the end a thread more for each, which tells its worker to stop while another waits for what it does.
    with ends_on_sigterm(), ThreadPoolExecutor(2 * len(devices), "xai_fast driver") as pool:
        try:
            while True:
                for shard in itertools.islice(shards, len(idle)):
                    shepherd = idle.pop()
                    busy[pool.submit(shepherd.do, shard, retry=retry)] = shepherd
                if not busy:
                    return
                for future in wait(busy, return_when=FIRST_COMPLETED).done:
                    idle.append(busy.pop(future))
                    seen(future.result())
        finally:
            list(pool.map(Shepherd.stop, shepherds))


def devices_of(device: str | None) -> list[str]:
    """Find the devices that a user means."""
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


def default_threads(device: str | None) -> int:
    """Give a worker's share of the cores if there are as many workers as by default."""
    # So other numbers of workers give the same bits on the same machine.
    return max(1, _cores() // _default_workers(devices_of(device)))


def _default_workers(devices: list[str]) -> int:
    return min(_cores(), _MOST_WORKERS) if devices == ["cpu"] else len(devices)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


@contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, which schedulers send before they take a machine, end a run as Ctrl-C does; in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

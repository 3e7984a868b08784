"""Runner ``ray``: one task of Ray per shard.

Ray hands shards out, begins them again where a node is gone, and knows nodes and GPUs; that no item is lost or done
twice is the store's work, as in all runners. A task feeds a worker process as those of the runner ``local``, so an item
that kills it does not touch Ray. Ray leaves much behind in the process that drives it, so the driver is a process of
its own (`xai_fast.jobs.runners.ray_driver`); this module starts it, listens, and sees to it that nothing of it stays.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from xai_fast.arguments import check_integer, check_positive
from xai_fast.errors import InputError, JobError, bad_argument
from xai_fast.jobs.job import Job
from xai_fast.jobs.runners.local import Seen, ends_on_sigterm
from xai_fast.jobs.work import ShardDone
from xai_fast.jobs.workers import Child, setup_of

__all__ = ["run_ray"]

_PREFIX = "xai-fast-ray-"
_SECONDS_TO_END = 20.0
_LINES = 20
_LONGEST_PATH = 30
"""Of the folder for temporary ones; the names of sockets in it may have 107 bytes in all."""


def run_ray(
    job: Job,
    shards: Iterator[int] | None,
    seen: Seen,
    *,
    workers: int | None = None,
    device: str | None = None,
    address: str | None = None,
    num_cpus: float = 1.0,
    num_gpus: float | None = None,
    patience: float = 60.0,
) -> None:
    """Do what is left of a job on a cluster of Ray.

    With an address, the cluster has to see the store under the same path (a shared file system) and to have xai_fast
    and what the job refers to installed; its token, if it asks for one, is taken as Ray does (``RAY_AUTH_MODE``,
    ``RAY_AUTH_TOKEN`` or ``RAY_AUTH_TOKEN_PATH``). Without one, a cluster is started on this machine: it listens on
    the loopback interface only, asks for a token of its own, sends no usage statistics, and ends with the run.

    Args:
        job: the job.
        shards: whose failed items are done again; None to do what is missing.
        seen: called with each shard that is done.
        workers: tasks at once; by default as many as the cluster has room for.
        device: where the models run, "cpu" or "cuda": Ray says which GPU. By default "cuda" where this machine has GPUs
            or ``num_gpus`` says so.
        address: of the cluster, such as "10.0.0.1:6379", or "auto"; by default one is started.
        num_cpus: processors of a task.
        num_gpus: GPUs of a task, also a fraction; by default 1 on "cuda" and 0 on "cpu".
        patience: seconds to wait for a node that has room for a task.

    Raises:
        InputError: an argument is wrong, or Ray is not installed.
        JobError: the cluster cannot be reached, has no room for a task, or its driver was killed.
        XaiFastError: what a worker says of the whole job, such as a store that is full.
    """
    if importlib.util.find_spec("ray") is None:
        raise InputError("runner: 'ray' needs the package ray; install it with pip install 'xai-fast[ray]'")
    if workers is not None:
        check_integer("workers", workers, 1)
    check_positive("num_cpus", num_cpus)
    if num_gpus is not None and not num_gpus >= 0:
        raise bad_argument("num_gpus", "a number of GPUs", repr(num_gpus))
    kind = _device(device, num_gpus)
    num_gpus = (1.0 if kind != "cpu" else 0.0) if num_gpus is None else float(num_gpus)
    cores = workers * num_cpus if workers else max(len(os.sched_getaffinity(0)), num_cpus)
    with _temporary_folder() as folder:
        setup = {
            "worker": setup_of(job, kind),
            "retry": None if shards is None else list(shards),
            "tasks": workers,
            "address": address,
            "num_cpus": float(num_cpus),
            "num_gpus": num_gpus,
            "own_cpus": math.ceil(cores),
            "own_gpus": torch.cuda.device_count() if num_gpus else 0,
            "patience": float(patience) if address is not None else 0.0,
            "folder": str(folder),
        }
        _drive(setup, folder, seen)


def _device(device: str | None, num_gpus: float | None) -> str:
    if device is None:
        return "cuda" if num_gpus or (num_gpus is None and torch.cuda.is_available()) else "cpu"
    found = torch.device(device)
    if str(found) != found.type:
        expected = f"{found.type!r} without a number, since Ray gives each task its own"
        raise bad_argument("device", expected, str(device))
    return found.type


def _drive(setup: dict[str, Any], folder: Path, seen: Seen) -> None:
    """Run the driver to its end, and raise what it answers."""
    with open(folder / "driver.log", "wb") as output, ends_on_sigterm():
        how = {"env": _environment(setup), "stdout": output, "stderr": output}
        child, lost = Child("xai_fast.jobs.runners.ray_driver", setup, **how), False
        try:
            while "ended" not in (answer := child.answer()):
                seen(ShardDone(**answer["done"]))
        except (EOFError, OSError):
            lost = True
        finally:
            _end(child)
    if lost:
        told = "\n".join((folder / "driver.log").read_text(errors="replace").splitlines()[-_LINES:])
        raise JobError(f"ray: the driver ended with exit code {child.process.returncode}; its last lines are:\n{told}")


def _end(child: Child) -> None:
    """Wait for the driver and all that it has started to end; end what does not."""
    child.end(_SECONDS_TO_END)
    child.connection.close()
    ends = time.monotonic() + _SECONDS_TO_END / 2
    while found := _processes(child.process.pid):
        for pid in found if time.monotonic() > ends else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _processes(session: int) -> list[int]:
    """List the processes of a session, in which all processes of a cluster are; none where there is no /proc."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = entry.read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session and fields[0] != b"Z":
                found.append(int(entry.parent.name))
    return found


def _environment(setup: dict[str, Any]) -> dict[str, str]:
    """Make the environment of the driver, which its cluster takes over; Ray reads most of this when it is imported."""
    found = dict(os.environ)
    found["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    found["RAY_USAGE_STATS_ENABLED"] = "0"
    found["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    host = "127.0.0.1" if setup["address"] is None else str(setup["address"]).rpartition(":")[0].strip("[]")
    if host in ("127.0.0.1", "localhost", "::1"):
        # Else Ray puts the machine's public address in the place of a loopback address, on Linux too.
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if setup["address"] is None:
        found["RAY_TMPDIR"] = setup["folder"]
        found["RAY_AUTH_MODE"] = "token"
        found["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        # What fills the memory is ended by the system, and counts; Ray would begin it again for ever.
        found["RAY_memory_monitor_refresh_ms"] = "0"
        # Ray's workers stand back behind all other processes by default, so that the raylet answers; with a core or
        # two, whatever else runs on the machine would bring the job to a halt.
        found["RAY_worker_niceness"] = "0"
        found.pop("RAY_ADDRESS", None)
        found.pop("RAY_AUTH_TOKEN_PATH", None)
    return found


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder for sockets and logs, whose path is short as sockets need it; remove those of killed runs."""
    above = Path(tempfile.gettempdir())
    if len(str(above)) > _LONGEST_PATH and os.access("/tmp", os.W_OK):
        above = Path("/tmp")
    for old in above.glob(f"{_PREFIX}*"):
        pid = old.name[len(_PREFIX) :].partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and old.lstat().st_uid == os.getuid():
            shutil.rmtree(old, ignore_errors=True)
    prefix = f"{_PREFIX}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=above, ignore_cleanup_errors=True) as folder:
        yield Path(folder)

"""Worker processes: what runs in one, and who looks after it.

A worker takes orders from a pipe, and ends when the other end is closed, however that came about; nothing listens
anywhere. What goes over the pipe is JSON; what is computed is in the store. When a worker dies, its shard is tried
again; after every second death each item is tried by itself, so that one that kills is found and named.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from multiprocessing.connection import Connection, Pipe
from typing import Any

import torch

from xai_fast import errors
from xai_fast.errors import JobError, XaiFastError
from xai_fast.jobs.job import Job, open_job
from xai_fast.jobs.sources import SourceChanged
from xai_fast.jobs.work import WRITING, DeviceLost, Order, ShardDone, run_shard, try_alone

__all__ = ["Child", "Shepherd", "described", "main", "raised", "serve", "setup_of"]

_STARTS = 25
"""Workers in a row that may die before they have begun."""
_SEARCH_EVERY = 2
"""Deaths over a shard until its items are tried one by one."""
_ALONE_AFTER = 12
"""Deaths over a shard, none of whose items kills by itself, until they are explained one by one."""
_MOST_DEATHS = 60
_GRACE = 10.0
_LOOK = 2.0


def setup_of(job: Job, device: str) -> dict[str, Any]:
    """Say what a worker has to know of a job."""
    attempts = {"max_attempts": job.spec.max_attempts}
    return {"out": str(job.path.absolute()), "device": device, "source": job.spec.source, **attempts}


class Child:
    """A process that is told what to do in JSON, over a pipe, and ends when that is closed, however that came about."""

    def __init__(self, module: str, setup: Mapping[str, Any], **how: Any) -> None:
        self.connection, theirs = Pipe()
        code = f"import sys; sys.path[:] = {sys.path!r}; from {module} import main; main({theirs.fileno()})"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C in a terminal is for the driver, which decides
            **how,
        )
        theirs.close()
        with suppress(OSError):  # that it is gone is told by `answer`
            self.send(setup)

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message."""
        self.connection.send_bytes(json.dumps(message).encode())

    def answer(self) -> dict[str, Any]:
        """Wait for a message; raise the error that it tells of, or `EOFError` where the process is gone."""
        # A process that it has started may hold its end of the pipe open.
        while not self.connection.poll(_LOOK):
            if self.process.poll() is not None and not self.connection.poll():
                raise EOFError
        answer = dict(json.loads(self.connection.recv_bytes()))
        if "error" in answer:
            raise raised(answer["error"])
        return answer

    def end(self, seconds: float = _GRACE) -> None:
        """End the process; what it is writing is finished first."""
        with suppress(OSError), socket.fromfd(self.connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.shutdown(socket.SHUT_RDWR)  # closing it would not wake a thread that reads from it
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Shepherd:
    """One worker process, started anew when it dies; gives it one shard at a time, from any thread."""

    def __init__(self, setup: Mapping[str, Any], threads: int) -> None:
        self._setup, self._threads = setup, threads
        self._child: Child | None = None
        self._stopped = False
        self._lock = threading.Lock()

    def do(self, shard: int, *, retry: bool = False) -> ShardDone:
        """Process a shard, however often the worker dies."""
        order = Order(shard, retry)
        for death in range(1, _MOST_DEATHS + 1):
            answer = next(self._told({"order": asdict(order)}), None)
            if answer is not None:
                return ShardDone(**answer["done"])
            if death % _SEARCH_EVERY == 0:
                killed = self._search(shard, order.killed)
                order = replace(order, killed={**order.killed, **killed}, alone=death >= _ALONE_AFTER)
        raise JobError(f"shard {shard}: {_MOST_DEATHS} workers died over it, though none of its items kills by itself")

    def stop(self) -> None:
        """End the worker."""
        with self._lock:
            self._stopped, child = True, self._child
        if child is not None:
            child.end()

    def _search(self, shard: int, known: Mapping[int, str]) -> dict[int, str]:
        """Find the items of a shard that kill the process that works on them alone."""
        found: dict[int, str] = {}
        deaths: Counter[int] = Counter()
        at = -1
        while True:
            skip = [int(index) for index in (*known, *found)]
            for message in self._told({"search": shard, "from": at, "skip": skip}):
                if "searched" in message:
                    return found
                at = message["at"]
            deaths[at] += 1
            if deaths[at] >= self._setup["max_attempts"]:
                found[at] = f"it killed the process that worked on it, {deaths[at]} times"

    def _told(self, message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a message; yield the answers, which end early where the worker dies."""
        child = self._started()
        try:
            child.send(message)
            while True:
                yield child.answer()
        except (EOFError, OSError):
            self._bury(child)

    def _started(self) -> Child:
        """Give the worker when it is ready."""
        if self._child is not None:
            return self._child
        code = 0
        for _ in range(_STARTS):
            with self._lock:
                if self._stopped:
                    raise JobError("the run was ended")
                threads = {"OMP_NUM_THREADS": str(self._threads)}
                self._child = child = Child("xai_fast.jobs.workers", self._setup, env=os.environ | threads)
            try:
                child.answer()
                return child
            except (EOFError, OSError):
                code = self._bury(child)
        raise JobError(
            f"{_STARTS} workers in a row died before they could begin, the last one with exit code {code}; "
            "workers=0 runs the job in one process, where a debugger can look at it"
        )

    def _bury(self, child: Child) -> int:
        self._child = None
        child.connection.close()
        code = child.process.wait()
        if self._stopped:
            raise JobError("the run was ended")
        return code


def serve(descriptor: int, work: Callable[[Connection, dict[str, Any]], object]) -> None:
    """Be the process of a `Child`."""
    os.set_inheritable(descriptor, False)
    connection = Connection(descriptor)
    setup = json.loads(connection.recv_bytes())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work(connection, setup)
    except DeviceLost:  # another process may have it back
        pass
    except Exception as error:  # the parent raises it, and ends the run
        _send(connection, {"error": described(error)})
    sys.stdout.flush()
    # Without the interpreter's own end, which takes long with torch, and could wait for threads of the user's code.
    os._exit(0)


def main(descriptor: int) -> None:
    """Be the process that computes."""
    serve(descriptor, _work)


def _work(connection: Connection, setup: Mapping[str, Any]) -> None:
    """Follow orders for ever."""
    orders = queue.SimpleQueue[dict[str, Any]]()
    threading.Thread(target=_follow, args=[connection, orders], name="xai_fast orders", daemon=True).start()
    job = open_job(setup["out"], source=setup["source"])
    torch.set_num_threads(job.plan.threads)
    held = job.compute_on(setup["device"])
    _send(connection, {"ready": True})
    while True:
        message = orders.get()
        if "order" in message:
            killed = {int(index): reason for index, reason in message["order"]["killed"].items()}
            order = Order(**{**message["order"], "killed": killed})
            _send(connection, {"done": asdict(run_shard(job, held, order))})
            continue
        for index in job.shards.span(message["search"]):
            if index >= message["from"] and index not in message["skip"]:
                _send(connection, {"at": index})
                try_alone(job, held, index)
        _send(connection, {"searched": True})


def _follow(connection: Connection, orders: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Read orders until the driver closes its end, or is gone; then end the process, whatever it is doing."""
    try:
        while True:
            orders.put(json.loads(connection.recv_bytes()))
    except (EOFError, OSError):
        WRITING.acquire(timeout=_GRACE)
        os._exit(0)


def _send(connection: Connection, message: Mapping[str, Any]) -> None:
    try:
        connection.send_bytes(json.dumps(message).encode())
    except OSError:  # the driver is gone
        os._exit(0)


def described(error: BaseException) -> dict[str, Any]:
    """Write the error that is being handled down for another process, see `raised`."""
    return {
        "type": type(error).__name__,
        "ours": isinstance(error, XaiFastError),
        "message": str(error),
        "traceback": traceback.format_exc(),
    }


def raised(error: Mapping[str, Any]) -> XaiFastError:
    """Make the error that another process met anew."""
    ours = {name: getattr(errors, name) for name in errors.__all__} | {SourceChanged.__name__: SourceChanged}
    kind = ours.get(error["type"], JobError) if error["ours"] else JobError
    message = error["message"] if error["ours"] else f"a worker failed: {error['type']}: {error['message']}"
    made: XaiFastError = kind(message)
    made.__cause__ = JobError("in a worker:\n" + error["traceback"])
    return made

"""A worker process of the local runner: takes numbers of shards from a pipe, and ends when its driver does.

What goes over the pipe is JSON; what is to be computed is in the store.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sys
import threading
import traceback
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from xai_fast.errors import XaiFastError
from xai_fast.jobs import journal
from xai_fast.jobs.job import open_job
from xai_fast.jobs.observe import Log
from xai_fast.jobs.store import Layout
from xai_fast.jobs.worker import DeviceLost, Preempted, run_shard

__all__ = ["DEVICE_LOST", "described", "main"]

DEVICE_LOST = 70
"""Exit code of a worker whose device cannot be used any more."""
_GRACE = 1.0
"""Seconds for the current chunk to end before the process is ended under it."""


class _Orders:
    """What the driver says, and the signals of the system: read by a thread, so that neither waits for the model."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.shards: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.stopped = threading.Event()
        # The interpreter writes to it as soon as a signal comes, also while the main thread is inside the model.
        self._signals, wakeup = socket.socketpair()
        wakeup.setblocking(False)
        signal.set_wakeup_fd(wakeup.detach(), warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        # Ctrl-C reaches all processes of a terminal; it is the driver that decides.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def follow(self) -> None:
        """Read until the end is asked for, the driver is gone, or the system sends SIGTERM; then end the process."""
        threading.Thread(target=self._follow, name="xai_fast orders", daemon=True).start()

    def check(self) -> None:
        """Raise `Preempted` when the process is to end."""
        if self.stopped.is_set():
            raise Preempted

    def _follow(self) -> None:
        try:
            while self._signals not in wait([self.connection, self._signals]):
                self.shards.put(int(json.loads(self.connection.recv_bytes())["shard"]))
        except (EOFError, OSError):  # the driver has closed its end, or is dead
            pass
        self.stopped.set()
        self.shards.put(None)
        # An event that nobody sets: the process is over when the main thread is.
        threading.Event().wait(_GRACE)
        journal.release_all()
        os._exit(0)


def main(descriptor: int) -> None:
    """Work until there is no more to do.

    Args:
        descriptor: of the worker's end of the pipe.
    """
    connection = Connection(descriptor)
    os.set_inheritable(descriptor, False)
    settings = json.loads(connection.recv_bytes())
    orders = _Orders(connection)
    orders.follow()
    code = 0
    try:
        _work(orders, settings)
    except Preempted:
        pass
    except DeviceLost as error:
        _logger_of(settings).event("device_lost", error=str(error))
        code = DEVICE_LOST
    except Exception as error:  # the driver raises it, and ends the run
        _send(connection, {"error": described(error)})
    sys.stdout.flush()
    # Without the interpreter's own end, which takes long with torch, and could wait for threads of the user's code.
    os._exit(code)


def _work(orders: _Orders, settings: dict[str, Any]) -> None:
    torch.set_num_threads(settings["threads"])
    job = open_job(settings["out"], batch_size=settings["batch_size"], max_attempts=settings["max_attempts"])
    computation = job.compute_on(settings["device"])
    log = _logger_of(settings)
    log.event("worker_ready", device=settings["device"], threads=settings["threads"])
    _send(orders.connection, {"ready": True})
    while (shard := orders.shards.get()) is not None:
        result = run_shard(
            job,
            computation,
            shard,
            beat=orders.check,
            lease=settings["lease"],
            worker=settings["worker"],
            log=log,
        )
        _send(orders.connection, {"shard": result.shard, "state": result.state})


def _logger_of(settings: dict[str, Any]) -> Log:
    return Log(Layout(settings["out"]), settings["worker"])


def _send(connection: Connection, message: dict[str, Any]) -> None:
    try:
        connection.send_bytes(json.dumps(message).encode())
    except OSError as error:  # the driver is gone
        raise Preempted from error


def described(error: BaseException) -> dict[str, Any]:
    """Write an error down for another process, see `xai_fast.jobs.runners.local.raised`.

    Args:
        error: the one that is being handled.

    Returns:
        Plain values.
    """
    return {
        "type": type(error).__name__,
        "ours": isinstance(error, XaiFastError),
        "message": str(error),
        "traceback": traceback.format_exc(),
    }

"""Processes and machines, as far as one can tell whether they are still there."""

from __future__ import annotations

import os
import secrets
import socket
from functools import cache

__all__ = ["host_name", "is_active", "runs", "started", "worker_name"]


def worker_name() -> str:
    """Make a name for this worker, which no other one has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


def runs(host: str, pid: int, since: int | None) -> bool:
    """Tell whether a process may still run: only its own machine knows better than its heartbeat.

    Args:
        host: where, see `host_name`.
        pid: its number.
        since: when it began, see `started`.

    Returns:
        False where it is known to be gone.
    """
    if host != host_name():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    # A pid is given again after a while, and a process that nobody has waited for keeps its own though it is dead.
    return started(pid) == since


def is_active(pid: int) -> bool:
    """Tell whether a process of this machine is known to go on: it is there, and neither dead nor stopped (SIGSTOP).

    Args:
        pid: its number.

    Returns:
        False also where that is not to be known.
    """
    fields = _stat(pid)
    return fields is not None and fields[0] not in (b"Z", b"X", b"T", b"t")


def started(pid: int) -> int | None:
    """Give when a process began.

    Args:
        pid: its number.

    Returns:
        In clock ticks since the machine did; -1 for a process that is dead and only waited for; None where that is not
        to be known.
    """
    fields = _stat(pid)
    if fields is None:
        return None
    return -1 if fields[0] in (b"Z", b"X") else int(fields[19])


def _stat(pid: int) -> list[bytes] | None:
    """Read what the system says of a process, from its state on."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field is the name of the program in parentheses, which may hold spaces and parentheses.
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return None


@cache
def host_name() -> str:
    """Name this machine since it was started, and the process numbers of which container are meant."""
    parts = [socket.gethostname()]
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            parts.append(file.read().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:  # no Linux
        pass
    return " ".join(parts)

"""What other processes do, as Linux tells it in /proc."""

from __future__ import annotations

import os
from pathlib import Path

MARK = "XAI_FAST_TEST_MARK"
"""A variable of the environment, which all that a process starts inherits."""


def marked(mark: str) -> set[int]:
    """Return the live processes that have a mark in their environment, be their parents dead."""
    return {pid for pid in _pids() if f"{MARK}={mark}".encode() in _read(pid, "environ").split(b"\0") and is_live(pid)}


def workers_of(pid: int) -> set[int]:
    """Return the live workers that a process has started."""
    return {
        child
        for child in _pids()
        if (fields := _stat(child))
        and int(fields[1]) == pid
        and fields[0] not in (b"Z", b"X")
        and b"xai_fast.jobs.workers" in _read(child, "cmdline")
    }


def is_live(pid: int) -> bool:
    """Return whether a process is there, and not only waited for."""
    fields = _stat(pid)
    return bool(fields) and fields[0] not in (b"Z", b"X")


def is_stopped(pid: int) -> bool:
    """Return whether a process waits to be continued."""
    return _stat(pid)[:1] == [b"T"]


def listening(processes: set[int]) -> list[str]:
    """Return the local addresses, as the system writes them, at which any of these processes waits for connections."""
    # A file that is closed meanwhile resolves to itself.
    sockets = {
        os.path.realpath(file).rpartition("/")[2] for pid in processes for file in Path(f"/proc/{pid}/fd").iterdir()
    }
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [fields[1] for fields in lines if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets]


def _pids() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _stat(pid: int) -> list[bytes]:
    return _read(pid, "stat").rpartition(b")")[2].split()


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:  # it has ended meanwhile
        return b""

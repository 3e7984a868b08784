"""What other processes do, as Linux tells it in /proc."""

from __future__ import annotations

import os
from pathlib import Path


def processes_of(group: int) -> set[int]:
    """Return the live processes of a group, be their parents dead."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, parent_group = (folder / "stat").read_bytes().rpartition(b")")[2].split()[:3]
            except OSError:
                continue
            if int(parent_group) == group and state not in (b"Z", b"X"):
                found.add(int(folder.name))
    return found


def is_stopped(process: int) -> bool:
    """Return whether a process waits to be continued."""
    return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"


def listening(processes: set[int]) -> list[str]:
    """Return the local addresses, as the system writes them, at which any of these processes waits for connections."""
    # A file that is closed meanwhile resolves to itself.
    sockets = {
        os.path.realpath(file).rpartition("/")[2] for pid in processes for file in Path(f"/proc/{pid}/fd").iterdir()
    }
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [fields[1] for fields in lines if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets]

"""A cluster of Ray with several nodes in one machine, in a process of its own; run as a script it is that process.

Tests do not import Ray: what it leaves in a process (threads, signal handlers, environment) is not for the others.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NODES = 3
_STARTED = 120.0
_STORE = 80 << 20


class Cluster:
    """A cluster of three nodes with one processor each, on the loopback interface; a context manager.

    Attributes:
        address: for the runner.
        environment: what a driver needs to be let in.
        session: of all its processes.
    """

    def __enter__(self) -> Cluster:
        self.folder = Path(tempfile.mkdtemp(prefix="ray-test-", dir="/tmp"))
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        self._output = open(self.folder / "output", "wb")
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            text=True,
            start_new_session=True,
            env={
                **os.environ,
                **self.environment,
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "RAY_TMPDIR": str(self.folder),
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
                "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
                # A node that is gone refuses connections, and is missed after seconds instead of half a minute. One
                # that does not answer is slow, or stopped while something else is measured: a raylet that is taken for
                # dead ends, and when all have, drivers hear "Failed to connect to Ray cluster".
                "RAY_health_check_initial_delay_ms": "500",
                "RAY_health_check_period_ms": "500",
                "RAY_health_check_timeout_ms": "120000",
                "RAY_health_check_failure_threshold": "5",
                "RAY_memory_monitor_refresh_ms": "0",
                "RAY_worker_niceness": "0",
            },
        )
        self.session = self._process.pid
        self.address = self._say("address")
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._output.close()
        left = wait_for_end(self.session)
        shutil.rmtree(self.folder, ignore_errors=True)
        if error == (None, None, None):
            assert left == []

    def remove_node(self) -> None:
        """End the processes of one node that is not the first, as if it were switched off."""
        self._say("remove")

    def add_node(self) -> None:
        """Start a node."""
        self._say("add")

    def _say(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError((self.folder / "output").read_text(errors="replace")[-4000:])
        return answer


def processes(session: int) -> list[int]:
    """List the processes of a session, that of a cluster or a driver."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = entry.read_bytes().rpartition(b")")[2].split()
            if int(fields[3]) == session and fields[0] != b"Z":
                found.append(int(entry.parent.name))
    return found


def title(pid: int) -> str:
    """Return the command line of a process, empty for one that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def session_of(folder: Path) -> int:
    """Return the session of a cluster whose folder is known."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"RAY_TMPDIR={folder}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                return os.getsid(int(entry.name))
    raise LookupError(f"no cluster in {folder}")


def wait_for_end(session: int, seconds: float = 20.0) -> list[str]:
    """Wait for the processes of a session to end; kill those that do not, and name them."""
    ends = time.monotonic() + seconds
    while found := processes(session):
        if time.monotonic() > ends:
            names = [title(pid) for pid in found]
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return names
        time.sleep(0.05)
    return []


def _main() -> None:
    from ray.cluster_utils import Cluster as Nodes

    options = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": _STORE}
    nodes = Nodes(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    others = [nodes.add_node(**options) for _ in range(NODES - 1)]
    for line in sys.stdin:
        word = line.strip()
        if word == "remove":
            nodes.remove_node(others.pop(), allow_graceful=False)
        elif word == "add":
            others.append(nodes.add_node(**options))
        print(nodes.address, flush=True)
    nodes.shutdown()


if __name__ == "__main__":
    _main()

"""Who works on what, and what was tried before: decided from files only, so that any worker on any machine can go on.

An attempt at a range of items is a file, ``journal/shard-000012/0-1024.1.json``. Creating it is the claim: the name is
numbered and taken with a hard link, so that one of several workers gets it. Its modification time is the heartbeat.
Whoever ends in an orderly way removes its file, also when it is told to stop: that was nobody's fault. A file whose
process is gone is what is left of a crash, and counts.

A range that crashed often enough is halved, down to the item, so that one item that kills its process does not take the
others with it.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from xai_fast.errors import StoreError, bad_argument
from xai_fast.jobs.processes import host_name, is_active, runs, started, worker_name
from xai_fast.jobs.store.folders import Folder, dump_json, load_json
from xai_fast.jobs.store.layout import Layout, is_whole

__all__ = ["LEASE", "Attempt", "Claim", "Journal", "Plan", "live_attempts", "plan_ranges", "release_all", "worker_name"]

LEASE = 60.0
"""Seconds without a heartbeat after which a worker on another machine is taken for dead."""
_BEATS = 6
"""Heartbeats a lease: a few may be late before anybody draws a conclusion."""
_ENTRY = re.compile(r"(\d{1,15})-(\d{1,15})\.(\d{1,9})\.json")
_SHARD = re.compile(r"shard-(\d{6,15})")
_LIMIT = 1 << 14
_GONE = (errno.ENOENT, errno.ESTALE)
"""What systems and file servers say of a file whose folder was removed."""


@dataclass(frozen=True)
class Attempt:
    """An attempt at a range of items whose file is there.

    Attributes:
        shard: its number.
        start: index of the first item.
        stop: index after the last one.
        number: which attempt at this range.
        alive: whether its worker still works on it; else it died over it.
        worker: name of the worker.
    """

    shard: int
    start: int
    stop: int
    number: int
    alive: bool
    worker: str


@dataclass(frozen=True)
class Plan:
    """What is left to do in a shard.

    Attributes:
        pending: (start, stop, number of the next attempt) of the ranges that nobody is at.
        busy: whether somebody is at another one.
        killed: (index, attempts) of the items that are given up, each of which killed every worker that tried it.
        done: the finished ranges that make up the result, in order.
    """

    pending: tuple[tuple[int, int, int], ...]
    busy: bool
    killed: tuple[tuple[int, int], ...]
    done: tuple[tuple[int, int], ...]


def plan_ranges(
    start: int, stop: int, done: Collection[tuple[int, int]], attempts: Sequence[Attempt], max_attempts: int
) -> Plan:
    """Say what is left to do in a shard.

    The whole shard is tried ``max_attempts`` times, then each half of what failed once before it is halved in turn, and
    a single item ``max_attempts`` times again: one bad item among n costs about ``2 * max_attempts + log2(n)`` deaths.

    Args:
        start: index of the shard's first item.
        stop: index after the last one.
        done: the ranges that are finished.
        attempts: whose files are there.
        max_attempts: at least 1.

    Returns:
        The plan.
    """
    pending: list[tuple[int, int, int]] = []
    killed: list[tuple[int, int]] = []
    kept: list[tuple[int, int]] = []
    busy = False
    ranges = [(start, stop)]
    while ranges:
        low, high = ranges.pop()
        if (low, high) in done:
            kept.append((low, high))
            continue
        here = [attempt for attempt in attempts if (attempt.start, attempt.stop) == (low, high)]
        if any(attempt.alive for attempt in here):
            busy = True
            continue
        allowed = max_attempts if (low, high) == (start, stop) or high - low == 1 else 1
        if len(here) < allowed:
            pending.append((low, high, 1 + max((attempt.number for attempt in here), default=0)))
        elif high - low == 1:
            killed.append((low, len(here)))
        else:
            middle = (low + high) // 2
            ranges += [(middle, high), (low, middle)]
    return Plan(tuple(pending), busy, tuple(killed), tuple(kept))


class Journal:
    """The attempts at one shard.

    Args:
        layout: of the store.
        shard: its number.
    """

    def __init__(self, layout: Layout, shard: int) -> None:
        self._layout = layout
        self._shard = shard
        self._names = (layout.journal.name, layout.journal_of(shard).name)

    def attempts(self, *, exact: bool = True) -> list[Attempt]:
        """Read the attempts whose files are there.

        Args:
            exact: ask the file system for its time, by writing a file for a moment, where that matters: the times of
                files are not by our clock. Else our own clock will do, such as where nothing is to be written.

        Returns:
            The attempts, in no order.

        Raises:
            StoreError: the folder cannot be read.
        """
        if not self._layout.journal_of(self._shard).is_dir():
            return []
        try:
            with self._layout.folder(*self._names) as folder:
                return self._read(folder, exact)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError):  # whoever finished the shard removed it meanwhile
                return []
            raise

    def claim(self, start: int, stop: int, number: int, worker: str, lease: float = LEASE) -> Claim | None:
        """Begin an attempt at a range.

        Args:
            start: index of the first item.
            stop: index after the last one.
            number: of the attempt, see `Plan`.
            worker: name of the worker.
            lease: seconds after which other machines may take this worker for dead, if they do not hear from it.

        Returns:
            The claim, a context manager that keeps the heartbeat and removes the file at the end; None where somebody
            else has it.

        Raises:
            StoreError: the file cannot be written.
        """
        if not lease > 0:
            raise bad_argument("lease", "a positive number of seconds", repr(lease))
        name = f"{start}-{stop}.{number}.json"
        pid = os.getpid()
        content = {
            "worker": worker,
            "host": host_name(),
            "pid": pid,
            "pid_started": started(pid),
            "lease": float(lease),
        }
        for _ in range(100):
            folder = self._layout.folder(*self._names, create=True)
            try:
                if folder.write_first(name, dump_json(content)):
                    return Claim(folder, name, lease)
            except StoreError as error:
                folder.__exit__(None, None, None)
                # The folder was removed by whoever finished the shard, after this one had opened it.
                if isinstance(error.__cause__, FileNotFoundError):
                    continue
                raise
            folder.__exit__(None, None, None)
            return None
        return None

    def release(self, worker: str) -> None:
        """Remove the attempts of a worker that was ended for a reason that is not its items' fault.

        Args:
            worker: its name.
        """
        names = [f"{one.start}-{one.stop}.{one.number}.json" for one in self.attempts() if one.worker == worker]
        if not names:
            return
        try:
            with self._layout.folder(*self._names) as folder:
                for name in names:
                    folder.remove(name)
        except StoreError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise

    def forget(self) -> None:
        """Remove all of it, since the shard is finished; what others make meanwhile stays."""
        if not self._layout.journal_of(self._shard).is_dir():
            return
        with self._layout.folder(self._names[0]) as above:
            try:
                with self._layout.folder(*self._names) as folder:
                    for name in folder.names():
                        folder.remove(name)
                os.rmdir(self._names[1], dir_fd=above.fd)
            except (OSError, StoreError) as error:
                cause = error if isinstance(error, OSError) else error.__cause__
                if not isinstance(cause, OSError):
                    raise
                # Gone already, or a late worker has just begun an attempt there: `clean` removes that later.

    def _read(self, folder: Folder, exact: bool) -> list[Attempt]:
        found = []
        theirs: float | None = None
        for name in folder.names():
            match = _ENTRY.fullmatch(name)
            if match is None:
                continue
            try:
                beat, content = _entry(folder, name)
            except StoreError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    continue
                beat, content = 0.0, {}  # what is not ours to understand is what is left of a crash
            alive = beat > 0 and runs(content["host"], content["pid"], content["pid_started"])
            # Of a process of this machine that goes on, the system knows more than any clock.
            if alive and not (content["host"] == host_name() and is_active(content["pid"])):
                if theirs is None:
                    theirs = _clock(folder) if exact else time.time()
                alive = theirs - beat <= content["lease"]
            start, stop, number = (int(part) for part in match.groups())
            found.append(Attempt(self._shard, start, stop, number, alive, str(content.get("worker", "unknown"))))
        return found


class Claim:
    """A running attempt; a context manager, at whose end the file goes, however the work ended.

    Args:
        folder: of the shard's attempts, open; the claim closes it.
        name: of the file.
        lease: in seconds; several heartbeats fall into it.
    """

    def __init__(self, folder: Folder, name: str, lease: float) -> None:
        self._folder = folder
        self._name = name
        self._interval = lease / _BEATS
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._released = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._keep, name="xai_fast heartbeat", daemon=True)
        with _registry_lock:
            _running.append(self)

    def __enter__(self) -> Claim:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        with _registry_lock:
            if self in _running:
                _running.remove(self)
        try:
            self.release()
        finally:
            self._folder.__exit__(None, None, None)

    def release(self) -> None:
        """Remove the file, so that the attempt does not count; the work may go on for a moment."""
        with self._lock:
            if not self._released and os.getpid() == self._pid:
                self._released = True
                self._folder.remove(self._name)

    def abandon(self) -> None:
        """Leave the file as that of an attempt that failed, though this process lives on."""
        with self._lock:
            if not self._released and os.getpid() == self._pid:
                self._released = True
                try:
                    # A heartbeat from the beginning of time: what nobody has who is alive.
                    os.utime(self._name, (0, 0), dir_fd=self._folder.fd, follow_symlinks=False)
                except OSError as error:
                    if error.errno not in _GONE:
                        raise

    def _keep(self) -> None:
        while not self._ended.wait(self._interval):
            with self._lock:
                if self._released:
                    return
                try:
                    os.utime(self._name, dir_fd=self._folder.fd, follow_symlinks=False)
                except OSError as error:
                    if error.errno in _GONE:  # the shard was finished by another worker
                        return
                    continue  # a file server that does not answer now may answer the next time


_running: list[Claim] = []
_registry_lock = threading.Lock()


def release_all() -> None:
    """Release all claims of this process, which is about to be ended for a reason that is not its items' fault."""
    with _registry_lock:
        claims = list(_running)
    for claim in claims:
        claim.release()


def live_attempts(layout: Layout, *, exact: bool = True) -> list[Attempt]:
    """List what is being worked on now.

    Args:
        layout: of the store.
        exact: as in `Journal.attempts`.

    Returns:
        The attempts whose workers are alive, by shard.
    """
    if not layout.journal.is_dir():
        return []
    with layout.folder(layout.journal.name) as folder:
        shards = sorted(int(match[1]) for name in folder.names() if (match := _SHARD.fullmatch(name)))
    return [attempt for shard in shards for attempt in Journal(layout, shard).attempts(exact=exact) if attempt.alive]


def _entry(folder: Folder, name: str) -> tuple[float, dict[str, Any]]:
    """Read an attempt and its last heartbeat; a file server tells the newest time to who opens the file."""
    with os.fdopen(folder.open_file(name), "rb") as file:
        try:
            return os.fstat(file.fileno()).st_mtime, _content(file.read(_LIMIT), name)
        except OSError as error:
            cause = FileNotFoundError(*error.args) if error.errno in _GONE else error
            raise StoreError(f"{folder.path / name}: cannot read: {error.strerror}") from cause


def _content(data: bytes, name: str) -> dict[str, Any]:
    def fits(entry: Any) -> bool:
        return (
            isinstance(entry, dict)
            and isinstance(entry.get("worker"), str)
            and isinstance(entry.get("host"), str)
            and is_whole(entry.get("pid"), 1)
            and (entry.get("pid_started") is None or is_whole(entry["pid_started"]))
            and isinstance(entry.get("lease"), float)
            and entry["lease"] > 0
        )

    return dict(load_json(data, name, fits))


def _clock(folder: Folder) -> float:
    """Tell the time by the clock that gives files their times, which on a file server is not ours."""
    try:
        probe = folder.write_temporary([])
    except StoreError:  # the folder was removed, or is read-only
        return time.time()
    try:
        return os.stat(probe, dir_fd=folder.fd).st_mtime
    except OSError as error:  # removed with the folder
        if error.errno not in _GONE:
            raise
        return time.time()
    finally:
        folder.remove(probe)

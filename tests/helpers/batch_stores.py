"""Small stores, and file systems that fail, for the tests of long jobs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xai_fast import Explanation
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import Status, create_job, read_job
from xai_fast.jobs.store.rows import Rows
from xai_fast.jobs.store.shards import Header, Shards

COUNT, SIZE = 10, 4
JOB = "0123"
_barrier: Barrier  # of a racer's process


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Known(Explanation):
    """With a list of booleans."""

    kept: Tensor


def values(i: int) -> dict[str, Tensor]:
    """The results of item i: a map, a score, integers and a list of booleans."""
    generator = torch.Generator().manual_seed(i)
    return {
        "attributions": torch.randn(3, 5, generator=generator) * 10.0 ** -(i % 9),
        "scores": torch.rand((), generator=generator),
        "targets": torch.tensor(i),
        "evaluations": torch.tensor(2),
        "kept": torch.tensor([True, i % 2 == 0]),
    }


def failed(i: int) -> tuple[Status, str] | None:
    """Every fourth item from 2 fails."""
    return (Status(1 + i // 4 % 5), f"item {i} is b\u00e4d") if i % 4 == 2 else None


def opened(root: Path) -> tuple[Folder, Shards, str]:
    """Open the folder of a store and its shards; the last is the codec."""
    job, folder = read_job(root), Folder(root)
    return folder, Shards(folder, JOB, job["items"]["count"], job["spec"]["shard_size"]), job["spec"]["dtype"]


def begin(root: Path, count: int = COUNT, size: int = SIZE, dtype: str = "float16_scaled") -> Path:
    """A store without results."""
    folder = Folder(root, create=True)
    items = Items.freeze(folder, ("size",), ((f"item {i}", (i,)) for i in range(count)))
    create_job(folder, {"spec": {"shard_size": size, "dtype": dtype}, "fingerprint": JOB, "items": items})
    return root


def commit(
    root: Path, shard: int, *, replace: bool = False, bad: Callable[[int], tuple[Status, str] | None] = failed
) -> bool:
    """Write a shard of a job that `begin` made."""
    _, shards, dtype = opened(root)
    span = shards.span(shard)
    rows = Rows(len(span), dtype)
    for i in span:
        wrong = bad(i)
        if wrong:
            rows.fail(i - span.start, *wrong)
        else:
            rows.put([i - span.start], {name: value[None] for name, value in values(i).items()})
    header = Header(
        job=JOB,
        start=span.start,
        stop=span.stop,
        failed={row: (status.label, reason) for row, (status, reason) in rows.failed.items()},
        seconds={"decode": 0.5, "explain": 1.0, "total": 2.0},
        evaluations=12,
        worker="tester",
        methods={"known": {"kind": "Known"}} if rows.tensors else {},
        finished=1000.0 + shard,
    )
    return shards.write(shard, header, rows.tensors, replace=replace)


def complete(root: Path, count: int = COUNT, size: int = SIZE, dtype: str = "float16_scaled") -> Path:
    """A store of a job that is done."""
    begin(root, count, size, dtype)
    for shard in range(-(-count // size)):
        assert commit(root, shard)
    return root


def meet_at(barrier: Barrier) -> None:
    """Say where the racers of a pool meet before each shard: a barrier reaches a process only when it starts."""
    global _barrier
    _barrier = barrier


def race(root: str, shards: int) -> list[int]:
    """Commit every shard at the same time as the other racers; returns those that were won.

    It is here and not in a test, because a spawned process must be able to import it.
    """
    won = []
    for shard in range(shards):
        _barrier.wait(60)
        if commit(Path(root), shard):
            won.append(shard)
    return won


def files(root: Path) -> list[str]:
    """All files of a store, the unique part of their names left out."""
    names = (str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())
    return sorted(re.sub("-[0-9a-f]{12}", "", name) for name in names)


class Crashed(BaseException):
    """The process, or the machine, stopped here; no handler of errors is meant to catch it."""


class FragileOS:
    """The module os, which stops at a given call; afterwards nothing works, as nothing does in a dead process.

    Where it is the machine that stops, `lose` takes back what no fsync has forced to the disk.
    """

    CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "rmdir")

    def __init__(
        self, stash: Path, stop_at: int | None = None, fail: Callable[[str, int], OSError | None] | None = None
    ) -> None:
        stash.mkdir(exist_ok=True)
        self.calls: list[str] = []
        self.stop_at, self.fail = stop_at, fail
        self._stash = stash
        self._undo: list[tuple[int, str, Callable[[], None]]] = []
        self._unsynced: dict[int, int] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return (lambda *a, **k: self._call(name, real, *a, **k)) if name in self.CALLS else real

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        if self.stop_at is not None and len(self.calls) >= self.stop_at:
            raise Crashed
        self.calls.append(name)
        error = self.fail(name, self.calls.count(name)) if self.fail else None
        if error is not None:
            raise error
        before = self._before(name, arguments, options)
        result = real(*arguments, **options)
        self._after(name, arguments, options, result, before)
        return result

    def _before(self, name: str, arguments: tuple, options: dict) -> Path | None:
        """Keep what is about to be removed."""
        if name not in ("unlink", "rename"):
            return None
        gone = arguments[0] if name == "unlink" else arguments[1]
        folder = options["dir_fd"] if name == "unlink" else options["dst_dir_fd"]
        kept = self._stash / str(len(self.calls))
        try:
            os.link(gone, kept, src_dir_fd=folder)
        except OSError:
            return None
        return kept

    def _after(self, name: str, arguments: tuple, options: dict, result: Any, kept: Path | None) -> None:
        if name == "open" and arguments[1] & os.O_CREAT:
            stat = os.fstat(result)
            self._unsynced[stat.st_ino] = os.dup(result)  # whatever its name will be by then
        if name == "fsync":
            stat = os.fstat(arguments[0])
            if stat.st_ino in self._unsynced:
                os.close(self._unsynced.pop(stat.st_ino))
            self._undo = [entry for entry in self._undo if entry[0] != stat.st_ino]
        if name in ("rename", "link"):
            source, target = _path(options["src_dir_fd"]), _path(options["dst_dir_fd"])
            self._note(options["dst_dir_fd"], name, self._taken_back(name, source, target, arguments, kept))
        if name == "unlink" and kept is not None:
            place = f"{_path(options['dir_fd'])}/{arguments[0]}"
            self._note(options["dir_fd"], name, lambda: _put_back(kept, place))

    def _note(self, folder: int, name: str, undo: Callable[[], None]) -> None:
        self._undo.append((os.fstat(folder).st_ino, name, undo))

    @staticmethod
    def _taken_back(name: str, source: str, target: str, arguments: tuple, kept: Path | None) -> Callable[[], None]:
        def undo() -> None:
            if name == "rename":
                os.rename(f"{target}/{arguments[1]}", f"{source}/{arguments[0]}")
            else:
                os.unlink(f"{target}/{arguments[1]}")
            if kept is not None:
                _put_back(kept, f"{target}/{arguments[1]}")

        return undo

    def lose(self, names: bool) -> None:
        """Take back what is not on the disk: the content of files, and the changes of names too or not."""
        for fd in self._unsynced.values():
            os.ftruncate(fd, 0)
            os.close(fd)
        if names:
            for _, _, undo in reversed(self._undo):
                undo()


def _put_back(kept: Path, place: str) -> None:
    if not os.path.exists(place):
        os.link(kept, place)


def _path(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def failing(call: str, which: int, code: int) -> Callable[[str, int], OSError | None]:
    """A disk on which one call fails, such as the third write because it is full."""
    return lambda name, number: OSError(code, os.strerror(code)) if (name, number) == (call, which) else None


def copy(source: Path, target: Path) -> Path:
    """Copy a store."""
    shutil.copytree(source, target)
    return target

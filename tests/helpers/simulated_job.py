"""A job of very many shards with empty results, by very many workers that die: what the file system has to do."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batch_stores import Crashed

from xai_fast.jobs import status
from xai_fast.jobs.store import folder as module
from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.job_file import create_job
from xai_fast.jobs.store.shards import Header, Shards


class CountingOS:
    """The module os, which counts what a file server would have to do, and stops a process at a given call."""

    CALLS = ("open", "stat", "link", "rename", "unlink", "mkdir", "rmdir", "listdir", "fsync")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.left: int | None = None
        for name in self.CALLS:
            setattr(self, name, self._counted(name, (lambda fd: None) if name == "fsync" else getattr(os, name)))

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if self.left is not None:
                if not self.left:
                    raise Crashed
                self.left -= 1
            self.counts[name] += 1
            return real(*arguments, **options)

        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@dataclass(frozen=True)
class Simulated:
    """How a simulated job went.

    Attributes:
        complete: every shard is there.
        deaths: of workers.
        twice: shards that were written by a second worker, in vain.
        operations_per_shard: of metadata: open, stat, link, unlink, mkdir, listdir, fsync.
        counts: of each of them.
        largest_folder: entries of the largest folder there ever was.
        seconds_of_status: that `status` takes at the end.
    """

    complete: bool
    deaths: int
    twice: int
    operations_per_shard: float
    counts: dict[str, int]
    largest_folder: int
    seconds_of_status: float


def simulate(root: Path, *, shards: int, workers: int, deaths: float, seed: int = 0) -> Simulated:
    """Have workers take turns, a shard each; some die at any step, and one in ten of these with all that it knows.

    Args:
        root: folder of the store.
        shards: of the job, one item each.
        workers: numbered as those of the runner ``rank``.
        deaths: share of attempts that end with the death of the worker.
        seed: of the deaths.

    Returns:
        How it went.
    """
    counting, chance = CountingOS(), random.Random(seed)
    module.os = counting  # type: ignore[attr-defined, assignment]
    try:
        folder = Folder(root, create=True)
        items = {"count": shards, "folder": None}
        create_job(folder, {"spec": {"shard_size": 1, "dtype": "float32"}, "fingerprint": "0", "items": items})
        store = Shards(folder, "0", shards, 1)
        turns = {rank: store.in_turn(rank, workers) for rank in range(workers)}
        again: dict[int, int] = {}
        died = twice = largest = 0
        while turns:
            for rank, turn in list(turns.items()):
                shard = again.pop(rank, None)
                shard = next(turn, None) if shard is None else shard
                if shard is None:
                    del turns[rank]
                    continue
                counting.left = chance.randrange(8) if chance.random() < deaths else None
                try:
                    twice += not store.write(shard, Header("0", shard, shard + 1, {0: ("failed", "")}), {})
                except Crashed:
                    died += 1
                    if chance.random() < 0.1:  # the machine
                        turns[rank] = store.in_turn(rank, workers)
                    else:  # a child, whose parent knows what it was at
                        again[rank] = shard
                counting.left = None
        largest = max(len(os.listdir(path)) for path in [root, root / "shards", *(root / "shards").iterdir()])
    finally:
        module.os = os  # type: ignore[attr-defined]
    began = time.perf_counter()
    now = status(root)
    return Simulated(
        now.complete and now.shards_done == shards,
        died,
        twice,
        counting.counts.total() / shards,
        dict(counting.counts),
        largest,
        time.perf_counter() - began,
    )

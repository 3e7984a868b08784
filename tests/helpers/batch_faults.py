"""Faults of long jobs, one table for every runner: data and methods that misbehave, and what must hold afterwards.

Workers import this module by its name, so the folder of the tests has to be on their path.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from live_processes import MARK, marked
from torch import Tensor, nn

from xai_fast import Explanation, Method
from xai_fast.engine.call import Call
from xai_fast.jobs import JobSpec, clean, open, status, verify

COUNT = 45
SHARD = 10
SIDE = 4


class Numbers:
    """Items that are made of their index: (SIDE, SIDE), the first entry is the index itself.

    Args:
        count: items.
        pause: seconds that reading one takes, until there is a file "repaired" in the folder.
        unreadable: indices that raise, until there is a file "repaired" in the folder.
        nan: indices with NaN.
        kills: indices that kill the process that reads them, until "repaired" too.
        folder: of markers.
        crash: what happens to a worker once, while it writes a shard: "temporary" kills it in the middle of the file,
            "before" before the file has its name, "after" just after that; "pause" stops it before, until somebody lets
            it go on. In workers only, and always: "refuse" raises when the source is opened, "start" kills.
            Several have commas between them.
    """

    def __init__(
        self,
        count: int = COUNT,
        pause: float = 0.0,
        unreadable: Sequence[int] = (),
        nan: Sequence[int] = (),
        kills: Sequence[int] = (),
        folder: str = "",
        crash: str = "",
    ) -> None:
        self.count, self.pause = count, pause
        self.unreadable, self.nan, self.kills = set(unreadable), set(nan), set(kills)
        self.folder = Path(folder) if folder else None
        for kind in filter(None, crash.split(",")):
            _arm(kind, Path(folder))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        repaired = self.folder is not None and (self.folder / "repaired").exists()
        if self.pause and not repaired:
            time.sleep(self.pause)
        if index in self.kills and not repaired:
            die()
        if index in self.unreadable and not repaired:
            raise OSError(f"item {index} is scratched")
        item = torch.arange(SIDE * SIDE, dtype=torch.float32).reshape(SIDE, SIDE).sin() * (1 + index % 7)
        item[0, 0] = index
        if index in self.nan:
            item[1, 2] = torch.nan
        return item


def model() -> nn.Module:
    """A model for methods that need none."""
    return nn.Identity()


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MapsExplanation(Explanation):
    """With a number that depends on the identity of the item, and a sum that depends on the number of threads."""

    noise: Tensor
    sums: Tensor


class Maps(Method):
    """A method for numbers: a map and a score, by a product of matrices, whose rounding may depend on the batch.

    Args:
        model: not used.
        pause: seconds per call.
        kills: indices that kill the process that explains them.
        raises: indices that the method refuses.
        memory: rows at once that fit; more raise as if memory did not suffice. 0 for any number.
        loses: indices that leave the device of the process useless.
        large: indices that do not fit into memory.
        length: numbers in a sum, whose rounding depends on the number of threads where they are many.
    """

    score = "logit"

    def __init__(
        self,
        model: Callable[..., object],
        *,
        pause: float = 0.0,
        kills: Sequence[int] = (),
        raises: Sequence[int] = (),
        memory: int = 0,
        loses: Sequence[int] = (),
        large: Sequence[int] = (),
        length: int = 1,
    ) -> None:
        super().__init__(model)
        self.pause, self.kills, self.raises, self.memory = pause, kills, raises, memory
        self.loses, self.large, self.length = loses, large, length
        generator = torch.Generator().manual_seed(1)
        self.weights = torch.rand(SIDE * SIDE, SIDE * SIDE, generator=generator)
        self.many = torch.randn(length, generator=generator)

    def _explain(self, call: Call) -> MapsExplanation:
        inputs = call.values[0]
        indices = {int(item[0, 0]) for item in inputs}
        if self.pause:
            time.sleep(self.pause)
        if indices & set(self.kills):
            die()
        if (self.memory and call.rows > self.memory) or indices & set(self.large):
            raise torch.OutOfMemoryError(f"{call.rows} rows do not fit")
        if indices & set(self.loses):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if indices & set(self.raises):
            raise ValueError(f"cannot explain {sorted(indices & set(self.raises))}")
        flat = [call.take(chunk)[0].flatten(1) for chunk in call.chunks()]
        maps = torch.cat([(rows / (1 + rows[:, :1])) @ self.weights for rows in flat])
        return MapsExplanation(
            attributions=maps.reshape(inputs.shape),
            scores=maps.sum(1),
            targets=None,
            evaluations=torch.ones(len(maps), dtype=torch.int64),
            noise=(17 * call.item_ids % 101).float(),
            sums=torch.stack([(self.many * (1 + row[0])).sum() for rows in flat for row in rows]),
        )


def die() -> None:
    """End this process as the system does: no handler, no clean-up."""
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def once(folder: Path, name: str) -> bool:
    """Return True to one process, once."""
    try:
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _arm(crash: str, folder: Path) -> None:
    """Make a worker die or stop at a certain step of writing a shard, once in the life of the folder."""
    link, fsync = os.link, os.fsync
    # Not by what is imported: the tests' own process may have imported anything.
    in_worker = any("xai_fast.jobs.workers import main" in word for word in sys.orig_argv)
    if in_worker and crash == "refuse":
        raise ZeroDivisionError("not in a worker")
    if in_worker and crash == "start":
        die()

    def linked(source: Any, target: Any, **others: Any) -> None:
        shard = str(target).endswith(".safetensors")
        if shard and crash == "before" and once(folder, crash):
            die()
        if shard and crash == "pause" and once(folder, crash):
            os.kill(os.getpid(), signal.SIGSTOP)
        link(source, target, **others)
        if shard and crash == "after" and once(folder, crash):
            die()

    def synced(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if crash == "temporary" and "/.tmp-" in path and ".safetensors" in path and once(folder, crash):
            os.ftruncate(fd, os.fstat(fd).st_size // 2)
            die()
        fsync(fd)

    os.link, os.fsync = linked, synced  # type: ignore[assignment]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong in a job, by itself.

    Attributes:
        name: of the test.
        source: arguments of `Numbers`.
        method: options of `Maps`.
        failed: index to the label of its status; all others are fine.
        reasons: index to what its reason contains.
        kills: whether workers are killed.
        options: of the `JobSpec`.
        exact: whether the others are equal bit for bit to the undisturbed run; else, where chunks lack an item or rows
            at once are fewer, to 1e-5.
    """

    name: str
    source: Mapping[str, Any] = field(default_factory=dict)
    method: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    kills: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False


FAULTS = (
    Fault(
        "items",
        source={"unreadable": [3, 44], "nan": [13]},
        method={"raises": [20], "large": [30], "memory": 3},
        failed={3: "unreadable", 44: "unreadable", 13: "not_finite", 20: "failed", 30: "failed"},
        reasons={3: "scratched", 13: "NaN", 20: "cannot explain [20]", 30: "one row at a time does not fit"},
    ),
    Fault(
        "poison",
        source={"kills": [8]},
        method={"kills": [27], "loses": [28]},
        failed={8: "killed", 27: "killed", 28: "killed"},
        reasons={8: "1 times", 27: "1 times", 28: "1 times"},
        kills=True,
        options={"max_attempts": 1},
    ),
    Fault("crashes while a shard is written", source={"crash": "temporary,before,after"}, kills=True, exact=True),
)
"""Faults that need nobody from outside. ``folder`` is to be added to the source of those that crash."""


def make_spec(
    source: Mapping[str, Any] | None = None, method: Mapping[str, Any] | None = None, **options: Any
) -> JobSpec:
    """Describe a job over `Numbers`, by default in float32 (so that equal is equal) and with 4 rows at once.

    Args:
        source: arguments of `Numbers`.
        method: options of `Maps`.
        options: of the `JobSpec`.

    Returns:
        The description.
    """
    return JobSpec(
        source={"kind": "indexable", "path": "batch_faults:Numbers", "arguments": dict(source or {})},
        method="batch_faults:Maps",
        options=dict(method or {}),
        model="batch_faults:model",
        **{"shard_size": SHARD, "dtype": "float32", "batch_size": 4, **options},
    )


def spec_of(fault: Fault, folder: Path) -> JobSpec:
    """Describe the job of a fault; ``folder`` is for its markers."""
    source = {**fault.source, **({"folder": str(folder)} if "crash" in fault.source else {})}
    return make_spec(source, fault.method, **fault.options)


@contextmanager
def driver_of(out: Path, spec: JobSpec, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start `xai_fast.jobs.run` in a process of its own; at the end it and its workers are gone, whatever happened.

    Args:
        out: folder of the store.
        spec: what is computed.
        options: of `run`, as JSON holds them.

    Yields:
        The process, which has an attribute ``mark``, see `marked`; its standard error is a pipe.
    """
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from xai_fast.jobs import JobSpec, run\n"
        "spec, out, options = json.loads(sys.argv[2]); run(JobSpec.from_dict(spec), out, **options)"
    )
    mark = secrets.token_hex(8)
    arguments = json.dumps([spec.to_dict(), str(out), options])
    command = [sys.executable, "-c", program, str(Path(__file__).parent), arguments]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True, env={**os.environ, MARK: mark}
    ) as process:
        process.mark = mark  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            for pid in marked(mark):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


class Killer(threading.Thread):
    """Kills processes at random instants while a run goes on; a context manager.

    Args:
        victims: lists the processes that may be killed.
        times: how often.
        longest: seconds between two kills.
        folder: where to write "repaired" after the last one.

    Attributes:
        killed: how many so far.
    """

    def __init__(self, victims: Callable[[], set[int]], times: int, longest: float, folder: Path) -> None:
        super().__init__(daemon=True)
        self.victims, self.times, self.longest, self.killed = victims, times, longest, 0
        self.folder = folder
        self._ended = threading.Event()

    def run(self) -> None:
        chance = random.Random(0)
        while self.killed < self.times and not self._ended.wait(chance.uniform(0, self.longest)):
            victims = sorted(self.victims())
            if victims:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    self.killed += 1
        (self.folder / "repaired").touch()

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self.join(60)


def our_threads() -> list[str]:
    """Return the names of the threads of this process that long jobs have started; other tests may have theirs."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("xai_fast")]


def results(out: Path) -> list[tuple[str, str, dict[str, Tensor]]]:
    """Read a store: (id, status, fields) of each item."""
    return [(id, result.status.label, dict(result.fields)) for id, result in open(out)]


def check_undisturbed(
    out: Path, expected: Sequence[tuple[str, str, dict[str, Tensor]]], failed: Mapping[int, str], *, exact: bool
) -> None:
    """Check a store against an undisturbed run: every id once, the same results, the failed ones with a reason.

    Args:
        out: the store.
        expected: of the undisturbed run.
        failed: index to the label of its status.
        exact: whether the results are equal bit for bit.
    """
    found = results(out)
    assert [id for id, _, _ in found] == [id for id, _, _ in expected]
    assert {i: label for i, (_, label, _) in enumerate(found) if label != "ok"} == dict(failed)
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-5}
    for (_, label, ours), (_, _, theirs) in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs if label == "ok" else ():
            torch.testing.assert_close(ours[name], theirs[name], **tolerance)
    now = status(out)
    assert (now.complete, now.done, now.failed) == (True, len(expected), len(failed))
    assert {one.index: one.reason for one in now.failures}.keys() == failed.keys()
    assert verify(out) == []


def check_clean(out: Path) -> None:
    """Check that after `clean` only what belongs to the results is left."""
    clean(out, force=True)
    shards = status(out).shards
    expected = {f"shards/{shard // 1000:06d}/{shard:09d}.safetensors" for shard in range(shards)}
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("items-")} - {"job.json"} == expected


def shards_of(out: Path) -> list[str]:
    """List the shards that are done."""
    return sorted(path.name for path in out.glob("shards/*/0*.safetensors"))


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} did not come true in {seconds} s")
        time.sleep(0.02)

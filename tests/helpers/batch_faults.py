"""Faults of long jobs, one table for every runner: data and explainers that misbehave, and what must hold afterwards.

Workers import this module by its name, so the folder of the tests has to be on their path.
"""

from __future__ import annotations

import json
import os
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
from live_processes import processes_of
from torch import Tensor

from xai_fast.jobs import JobSpec, clean, open, status, verify
from xai_fast.jobs.journal import live_attempts
from xai_fast.jobs.store import Layout

COUNT = 45
SHARD = 10
SIDE = 4


class Numbers:
    """Items that are made of their index: (SIDE, SIDE), the first entry is the index itself.

    Args:
        count: items.
        pause: seconds that reading one takes.
        unreadable: indices that raise, until there is a file "repaired" in the folder.
        nan: indices with NaN.
        kills: indices that kill the process that reads them, until "repaired" too.
        folder: of markers.
        crash: what happens to a worker once: "between" kills it between data and receipt, "part" between data and
            receipt of a part, "after" just after the receipt, "temporary" while it writes data, "rename" just before
            data get their name; "pause" stops it between data and receipt, until somebody lets it go on. In workers
            only, and always: "refuse" raises when the source is opened, "start" kills.
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
        if self.pause:
            time.sleep(self.pause)
        repaired = self.folder is not None and (self.folder / "repaired").exists()
        if index in self.kills and not repaired:
            die()
        if index in self.unreadable and not repaired:
            raise OSError(f"item {index} is scratched")
        item = torch.arange(SIDE * SIDE, dtype=torch.float32).reshape(SIDE, SIDE).sin() * (1 + index % 7)
        item[0, 0] = index
        if index in self.nan:
            item[1, 2] = torch.nan
        return item


class Maps:
    """An explainer of numbers: a map and a score, by a product of matrices, whose rounding may depend on the batch.

    Args:
        pause: seconds a call.
        kills: indices that kill the process that explains them.
        raises: indices that the explainer refuses.
        memory: items at once that fit; more raise as if memory did not suffice. 0 for any number.
        loses: indices that leave the device of the process useless.
        large: indices that do not fit into memory.
        length: numbers in a sum, whose rounding depends on the number of threads where they are many.
    """

    def __init__(
        self,
        pause: float = 0.0,
        kills: Sequence[int] = (),
        raises: Sequence[int] = (),
        memory: int = 0,
        loses: Sequence[int] = (),
        large: Sequence[int] = (),
        length: int = 1,
    ) -> None:
        self.pause, self.kills, self.raises, self.memory = pause, set(kills), set(raises), memory
        self.loses, self.large = set(loses), set(large)
        generator = torch.Generator().manual_seed(1)
        self.weights = torch.rand(SIDE * SIDE, SIDE * SIDE, generator=generator)
        self.many = torch.randn(length, generator=generator)

    def explain(self, inputs: Tensor, item_ids: Sequence[int]) -> dict[str, Tensor]:
        indices = {int(item[0, 0]) for item in inputs}
        if self.pause:
            time.sleep(self.pause)
        if indices & self.kills:
            die()
        if (self.memory and len(inputs) > self.memory) or indices & self.large:
            raise torch.OutOfMemoryError(f"{len(inputs)} items do not fit")
        if indices & self.loses:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if indices & self.raises:
            raise ValueError(f"cannot explain {sorted(indices & self.raises)}")
        flat = inputs.flatten(1)
        maps = (flat / (1 + flat[:, :1])) @ self.weights
        noise = torch.tensor([(17 * one) % 101 for one in item_ids], dtype=torch.float32)
        sums = torch.stack([(self.many * (1 + item[:1])).sum() for item in flat])
        return {"attributions": maps.reshape(inputs.shape), "scores": maps.sum(1), "noise": noise, "sums": sums}


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
    """Make a worker die or stop at a certain step of a commit, once in the life of the folder."""
    link, rename, fsync = os.link, os.rename, os.fsync
    # Not by what is imported: the tests' own process may have imported anything.
    in_worker = any("xai_fast.jobs.runners.local_worker import main" in word for word in sys.orig_argv)
    if in_worker and crash == "refuse":
        raise ZeroDivisionError("not in a worker")
    if in_worker and crash == "start":
        die()

    def in_folder(fd: int | None, name: str) -> bool:
        return fd is not None and os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) == name

    def linked(source: Any, target: Any, *, dst_dir_fd: int | None = None, **others: Any) -> None:
        place = {"between": "commits", "part": "parts"}.get(crash)
        if place is not None and in_folder(dst_dir_fd, place) and once(folder, crash):
            die()
        if crash == "pause" and in_folder(dst_dir_fd, "commits") and once(folder, crash):
            os.kill(os.getpid(), signal.SIGSTOP)
        link(source, target, dst_dir_fd=dst_dir_fd, **others)
        if crash == "after" and in_folder(dst_dir_fd, "commits") and once(folder, crash):
            die()

    def renamed(source: Any, target: Any, *, dst_dir_fd: int | None = None, **others: Any) -> None:
        if crash == "rename" and in_folder(dst_dir_fd, "data") and once(folder, crash):
            die()
        rename(source, target, dst_dir_fd=dst_dir_fd, **others)

    def synced(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        if crash == "temporary" and "/data/.tmp-" in path and once(folder, crash):
            os.ftruncate(fd, os.fstat(fd).st_size // 2)
            die()
        fsync(fd)

    os.link, os.rename, os.fsync = linked, renamed, synced  # type: ignore[assignment]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong in a job, by itself.

    Attributes:
        name: of the test.
        source: arguments of `Numbers`.
        explainer: arguments of `Maps`.
        failed: index to the label of its status; all others are fine.
        reason: what each reason contains.
        deaths: workers that are killed at least.
        options: of the `JobSpec`.
        exact: whether the others are equal bit for bit to the undisturbed run; else, where chunks lack an item or are
            smaller, to 1e-5.
    """

    name: str
    source: Mapping[str, Any] = field(default_factory=dict)
    explainer: Mapping[str, Any] = field(default_factory=dict)
    failed: Mapping[int, str] = field(default_factory=dict)
    reason: str = ""
    deaths: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = True


FAULTS = (
    Fault(
        "unreadable",
        source={"unreadable": [3, 44]},
        failed={3: "unreadable", 44: "unreadable"},
        reason="scratched",
        exact=False,
    ),
    Fault("not_finite", source={"nan": [13]}, failed={13: "not_finite"}, reason="NaN", exact=False),
    Fault("refused", explainer={"raises": [20]}, failed={20: "failed"}, reason="cannot explain [20]", exact=False),
    Fault("out_of_memory", explainer={"memory": 3}, exact=False),
    Fault(
        "too_large_for_the_memory",
        explainer={"large": [12]},
        failed={12: "failed"},
        reason="batch_size (now 4; 1 was tried)",
        exact=False,
    ),
    Fault(
        "lost_device",
        explainer={"loses": [30]},
        failed={30: "killed"},
        reason="1 times",
        deaths=1,
        options={"max_attempts": 1, "shard_size": 1},
        exact=False,
    ),
    Fault(
        "poison",
        explainer={"kills": [13]},
        failed={13: "killed"},
        reason="2 times",
        deaths=2 + 2,  # 12-14, and 13 by itself
        options={"max_attempts": 2, "shard_size": 2},
        exact=False,
    ),
    Fault(
        "poison_in_decoding",
        source={"kills": [8]},
        failed={8: "killed"},
        reason="1 times",
        deaths=1,
        options={"max_attempts": 1, "shard_size": 1},
        exact=False,
    ),
    Fault("crash_between_data_and_receipt", source={"crash": "between"}, deaths=1),
    Fault("crash_after_the_receipt", source={"crash": "after"}, deaths=1),
    Fault("crash_before_data_have_a_name", source={"crash": "rename"}, deaths=1),
    Fault("crash_while_data_are_written", source={"crash": "temporary"}, deaths=1),
)
"""Faults that need nobody from outside. ``folder`` is to be added to the source of those that crash."""


def make_spec(
    source: Mapping[str, Any] | None = None, explainer: Mapping[str, Any] | None = None, **options: Any
) -> JobSpec:
    """Describe a job over `Numbers`.

    Args:
        source: arguments of `Numbers`.
        explainer: arguments of `Maps`.
        options: of the `JobSpec`.

    Returns:
        The description, by default in float32 (so that equal is equal) and with 4 items at once.
    """
    return JobSpec(
        source={"kind": "indexable", "path": "batch_faults:Numbers", "arguments": dict(source or {})},
        explainer="batch_faults:Maps",
        parameters=dict(explainer or {}),
        **{"shard_size": SHARD, "dtype": "float32", "batch_size": 4, **options},
    )


def spec_of(fault: Fault, folder: Path) -> JobSpec:
    """Describe the job of a fault; ``folder`` is for its markers."""
    source = {**fault.source, **({"folder": str(folder)} if "crash" in fault.source else {})}
    return make_spec(source, fault.explainer, **fault.options)


@contextmanager
def driver_of(out: Path, spec: JobSpec, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start `xai_fast.jobs.run` in a process of its own; at the end it and its workers are gone, whatever happened.

    Args:
        out: folder of the store.
        spec: what is computed.
        options: of `run`, as JSON holds them.

    Yields:
        The process, which is the first of a group of its own; its standard error is a pipe.
    """
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from xai_fast.jobs import JobSpec, run\n"
        "spec, out, options = json.loads(sys.argv[2]); run(JobSpec.from_dict(spec), out, **options)"
    )
    arguments = json.dumps([spec.to_dict(), str(out), options])
    command = [sys.executable, "-c", program, str(Path(__file__).parent), arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            for pid in processes_of(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def our_threads() -> list[str]:
    """Return the names of the threads of this process that long jobs have started; other tests may have theirs."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("xai_fast", "progress"))]


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
    tolerance = {"rtol": 0, "atol": 0} if exact else {"rtol": 1e-5, "atol": 1e-6}
    for (_, label, ours), (_, _, theirs) in zip(found, expected, strict=True):
        assert ours.keys() == theirs.keys()
        for name in theirs if label == "ok" else ():
            torch.testing.assert_close(ours[name], theirs[name], **tolerance)
    now = status(out)
    assert (now.complete, now.done, now.failed) == (True, len(expected), len(failed))
    assert {one.index: one.reason for one in now.failures}.keys() == failed.keys()
    assert verify(out) == []


def check_clean(out: Path) -> None:
    """Check that nothing is left behind: no live attempt, and after `clean` only what belongs to the results."""
    layout = Layout(out)
    assert live_attempts(layout) == []
    clean(out, force=True)  # also what is new
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    shards = status(out).shards
    data = {name for name in files if name.startswith("data/shard-")}
    receipts = {f"commits/shard-{shard:06d}.json" for shard in range(shards)}
    other = {name for name in files if not name.startswith(("items/", "logs/"))} - data - receipts
    assert receipts <= files
    assert len(data) == shards
    assert other <= {"job.json", "fields.json", "threads.json", "manifest.json"}
    assert not [path for folder in (layout.journal, layout.parts) for path in folder.iterdir()]


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{condition} did not come true in {seconds} s")
        time.sleep(0.02)

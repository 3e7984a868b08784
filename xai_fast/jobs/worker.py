"""What every runner calls, in whichever process: it brings one shard forward as far as it can be brought.

It decides from files only, see `xai_fast.jobs.journal`, so that any worker on any machine continues what another one
has left; and it leaves no thread and no claim behind, however it ends.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xai_fast.errors import JobError, XaiFastError
from xai_fast.jobs import journal, memory, retry
from xai_fast.jobs.computation import Computation
from xai_fast.jobs.decoding import Decoded, decoded_ahead
from xai_fast.jobs.job import Job, versions
from xai_fast.jobs.observe import Log
from xai_fast.jobs.store import Part, Receipt, Rows, Status, read_fields, read_parts, write_part, write_shard
from xai_fast.jobs.store.layout import shard_stem

__all__ = ["DeviceLost", "Preempted", "ShardResult", "run_shard"]

_PARTS = ("decode", "model", "kernels", "write")
_DECODING_THREADS = 4
_TRIES = 1000
_HOPELESS = 32
"""So many first items that fail alike are a sign that the job is described wrongly."""
_TOO_LARGE = 3
"""Items of a range that may be too large for the memory, before that is taken for a fault of the whole job."""
_proven: weakref.WeakSet[Computation] = weakref.WeakSet()
"""What has explained at least one item in this process."""


class Preempted(BaseException):
    """The worker has to end for a reason that is not its items' fault; its attempt does not count."""


class DeviceLost(XaiFastError, RuntimeError):
    """The device cannot be used any more by this process, perhaps because of an item: the attempt counts."""


@dataclass(frozen=True)
class ShardResult:
    """How a call of `run_shard` ended.

    Attributes:
        shard: its number.
        state: "committed" where this call wrote the receipt, "present" where somebody else has, "busy" where another
            worker is at it, so that one may look again later.
        items: explained or failed in this call.
        failed: of these.
    """

    shard: int
    state: str
    items: int = 0
    failed: int = 0


@dataclass
class _Work:
    """What adds up over the ranges of a shard."""

    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("decode", "model", "kernels", "write"), 0.0)
    )
    evaluations: int = 0
    peak_memory: int = 0
    too_large: int = 0

    def about(self, started: float, worker: str, attempts: int) -> dict[str, object]:
        return {
            "seconds": {**self.seconds, "total": time.perf_counter() - started},
            "evaluations": self.evaluations,
            "peak_memory": self.peak_memory,
            "worker": worker,
            "versions": versions(),
            "attempts": attempts,
        }

    def add(self, part: Part) -> float:
        """Add what another attempt has spent on a part; return its whole time."""
        for name in self.seconds:
            self.seconds[name] += part.about["seconds"].get(name, 0.0)
        self.evaluations += part.about["evaluations"]
        self.peak_memory = max(self.peak_memory, part.about["peak_memory"])
        return float(part.about["seconds"].get("total", 0.0))


def run_shard(
    job: Job,
    computation: Computation,
    shard: int,
    *,
    beat: Callable[[], None] | None = None,
    lease: float = journal.LEASE,
    worker: str | None = None,
    log: Log | None = None,
) -> ShardResult:
    """Bring a shard forward until it is committed, or others are at what is left.

    Args:
        job: the job.
        computation: of the job, loaded in this process.
        shard: its number.
        beat: called between chunks; it may raise, such as `Preempted`, to end the work.
        lease: seconds after which other machines may take this worker for dead, if they do not hear from it.
        worker: name of this worker; by default one that is made for the process.
        log: where to write what happens; by default that of the worker.

    Returns:
        How it ended.

    Raises:
        XaiFastError: of what concerns the whole job, such as a disk that is full (`StoreError`), one item that is too
            large for the memory (`memory.OutOfMemory`) or a lost device (`DeviceLost`).
    """
    name = worker or _name(os.getpid())
    run = _ShardRun(job, computation, shard, beat or _nothing, lease, name, log or Log(job.layout, name))
    return run.finish()


class _ShardRun:
    """One call of `run_shard`."""

    def __init__(
        self,
        job: Job,
        computation: Computation,
        shard: int,
        beat: Callable[[], None],
        lease: float,
        worker: str,
        log: Log,
    ) -> None:
        self.job, self.computation, self.shard, self.beat, self.lease = job, computation, shard, beat, lease
        self.worker, self.log = worker, log
        self.span = job.rows(shard)
        self.journal = journal.Journal(job.layout, shard)
        self.chunk = memory.ChunkSize(job.layout, computation.device, job.spec.batch_size)
        self.withdrawn: Receipt | None = None
        self.items = self.failed = 0

    def finish(self) -> ShardResult:
        for _ in range(_TRIES):
            if self._committed():
                self._forget()
                return self._result("present")
            self.withdrawn = retry.withdrawn(self.job.layout, self.shard)
            parts = read_parts(self.job.layout, self.shard)
            attempts = self.journal.attempts()
            plan = journal.plan_ranges(
                self.span.start,
                self.span.stop,
                {(part.start, part.stop) for part in parts},
                attempts,
                self.job.spec.max_attempts,
            )
            if plan.pending:
                low, high, number = plan.pending[0]
                if self._attempt(low, high, number, len(attempts) + 1):
                    return self._result("committed")
            elif plan.busy:
                return self._result("busy")
            elif self._assemble(plan, parts, attempts):
                return self._result("committed")
        raise XaiFastError(f"shard {self.shard}: no worker could claim it in {_TRIES} tries")

    def _attempt(self, low: int, high: int, number: int, attempts: int) -> bool:
        """Try a range; tell whether that committed the shard."""
        claim = self.journal.claim(low, high, number, self.worker, self.lease)
        if claim is None:
            return False
        with claim:
            if self._committed():
                return False
            started = time.perf_counter()
            self.log.event("attempt_started", shard=self.shard, start=low, stop=high, attempt=number)
            work = _Work()
            try:
                rows = self._compute(range(low, high), work)
            except RuntimeError as error:
                if isinstance(error, memory.OutOfMemory) or "CUDA error" not in str(error):
                    raise
                claim.abandon()
                raise DeviceLost(f"shard {self.shard}, items {low} to {high - 1}: {error}") from error
            place = (self.shard, low, high)
            about = work.about(started, self.worker, attempts)
            whole = (low, high) == (self.span.start, self.span.stop)
            write = write_shard if whole else write_part
            self.computation.check_source()
            self._check_hope(rows)
            won = write(self.job.layout, *place, rows, self.job.spec.dtype, about, earlier=self._began_from)
            self._count(rows, low, high, started, won)
        if whole and won:
            self._forget()
        return whole and won

    def _check_hope(self, rows: Rows) -> None:
        """End the job where nothing has worked yet and many items fail alike: then it is not the items."""
        if rows.count < _HOPELESS or self.withdrawn is not None or len(set(rows.reasons)) > 1:
            return
        if bool((rows.statuses != Status.FAILED).any()) or read_fields(self.job.layout) is not None:
            return
        raise JobError(
            f"the first {rows.count:,} items failed alike, so the job as it is described cannot work: "
            f"{rows.reasons[0]}. Nothing was stored; mend it and begin in another folder, or leave these items out"
        )

    @property
    def _began_from(self) -> str | None:
        """The file of the receipt that was withdrawn; a shard that is withdrawn after this one's begin is not ours."""
        return None if self.withdrawn is None else self.withdrawn.file

    def _assemble(self, plan: journal.Plan, parts: Sequence[Part], attempts: Sequence[journal.Attempt]) -> bool:
        """Commit a shard whose pieces are all there; tell whether this call did."""
        started = time.perf_counter()
        rows = Rows(len(self.span), read_fields(self.job.layout))
        work = _Work()
        spent = 0.0
        for part in parts:
            if (part.start, part.stop) in plan.done:
                spent += work.add(part)
                rows.put(part.start - self.span.start, part.rows.fields, part.rows.statuses, part.rows.reasons)
        for index, tries in plan.killed:
            reason = f"it killed the process that worked on it, {tries} times"
            rows.fail(index - self.span.start, Status.KILLED, reason)
            self.log.event("item_killed", shard=self.shard, index=index, id=self.job.items.id(index), attempts=tries)
        about = work.about(started - spent, self.worker, len(attempts))
        place = (self.shard, self.span.start, self.span.stop)
        # A claim like any other, so that others see that somebody is at it; a death in it changes nothing.
        number = 1 + max((one.number for one in attempts if (one.start, one.stop) == place[1:]), default=0)
        claim = self.journal.claim(*place[1:], number, self.worker, self.lease)
        if claim is None:
            return False
        with claim:
            won = write_shard(self.job.layout, *place, rows, self.job.spec.dtype, about, earlier=self._began_from)
        if won:
            self.failed += len(plan.killed)
            self._forget()
        return won

    def _compute(self, span: range, work: _Work) -> Rows:
        rows = Rows(len(span), read_fields(self.job.layout))
        indices: Sequence[int] = span
        load = self.computation.load
        if self.withdrawn is not None:
            earlier = retry.earlier_rows(self.job.layout, self.withdrawn)
            indices = span if earlier is None else retry.keep_good(earlier, rows, self.span, span)
            # Whoever has repaired an item has changed it.
            load = functools.partial(load, as_it_is=True)
        memory.reset_peak_memory(self.computation.device)
        if self.chunk.items is None and len(indices):
            self._probe(load, indices, work)
        size = self.chunk.items or 1
        threads = min(_DECODING_THREADS, max(1, torch.get_num_threads()))
        stream = decoded_ahead(load, indices, threads=threads, ahead=2 * size)
        with closing(stream):  # type: ignore[type-var]
            # As the size may shrink on the way, it is read anew for each chunk.
            while chunk := list(itertools.islice(stream, self.chunk.items or size)):
                self.beat()
                self._explain(chunk, span.start, rows, work)
        work.peak_memory = memory.peak_memory(self.computation.device)
        return rows

    def _explain(self, chunk: Sequence[Decoded], start: int, rows: Rows, work: _Work) -> None:
        for item in chunk:
            work.seconds["decode"] += item.seconds
            if item.value is None:
                rows.fail(item.index - start, item.status, item.reason or "")
        good = [item for item in chunk if item.value is not None]
        while good:
            # After an error of memory, the rest of the chunk is done in smaller ones.
            some = good[: self.chunk.items]
            started = time.perf_counter()
            try:
                outcome = self.computation.explain(_values(some), [item.index for item in some])
            except (RuntimeError, MemoryError) as error:
                if not memory.lacks_memory(error):
                    raise
                good = good[self._shrink(some, error, start, rows, work) :]
                continue
            _proven.add(self.computation)
            work.evaluations += outcome.evaluations
            work.seconds["model"] += outcome.model_seconds
            work.seconds["kernels"] += max(0.0, time.perf_counter() - started - outcome.model_seconds)
            for first, last in _runs([item.index for item in some]):
                fields = {name: values[first:last] for name, values in outcome.fields.items()}
                row = some[first].index - start
                rows.put(row, fields, outcome.statuses[first:last], outcome.reasons[first:last])
            good = good[len(some) :]

    def _shrink(self, some: Sequence[Decoded], error: BaseException, start: int, rows: Rows, work: _Work) -> int:
        """Go on with smaller chunks; return how many items are given up, since one by itself did not fit."""
        try:
            items = self.chunk.halve(len(some), error)
            self.log.event("out_of_memory", shard=self.shard, tried=len(some), items=items, error=str(error))
            return 0
        except memory.OutOfMemory as last:
            # Where others fit, it is about this item; where many in a row do not, it is about the machine.
            work.too_large += 1
            if self.computation not in _proven or work.too_large > _TOO_LARGE:
                raise
            rows.fail(some[0].index - start, Status.FAILED, str(last))
            return 1

    def _probe(self, load: Callable[[int], Tensor], indices: Sequence[int], work: _Work) -> None:
        """Find the size of chunks with the first two items that can be read."""
        found: list[Decoded] = []
        with closing(decoded_ahead(load, indices[:32], threads=1, ahead=2)) as stream:  # type: ignore[type-var]
            found += itertools.islice((item for item in stream if item.value is not None), 2)
        if not found:
            return

        def explain(items: int) -> object:
            return self.computation.explain(_values(found[:items]), [item.index for item in found[:items]])

        started = time.perf_counter()
        items = self.chunk.probe(explain, len(found))
        work.seconds["model"] += time.perf_counter() - started
        self.log.event("probed", items=items, device=str(self.computation.device))

    def _committed(self) -> bool:
        return (self.job.layout.commits / f"{shard_stem(self.shard)}.json").exists()

    def _count(self, rows: Rows, low: int, high: int, started: float, won: bool) -> None:
        failed = int((rows.statuses != Status.OK).sum())
        self.items += high - low
        self.failed += failed
        seconds = time.perf_counter() - started
        self.log.event(
            "attempt_finished", shard=self.shard, start=low, stop=high, failed=failed, seconds=seconds, kept=won
        )

    def _forget(self) -> None:
        """Remove what only served to get here, unless a retry has withdrawn the receipt again."""
        if not self._committed():
            return
        retry.forget_earlier(self.job.layout, self.shard)
        self.journal.forget()
        prefix = f"{shard_stem(self.shard)}."
        if self.job.layout.parts.is_dir():
            with self.job.layout.folder(self.job.layout.parts.name) as parts:
                for name in parts.names():
                    if name.startswith(prefix):
                        parts.remove(name)

    def _result(self, state: str) -> ShardResult:
        return ShardResult(self.shard, state, self.items, self.failed)


def _values(items: Sequence[Decoded]) -> list[Tensor]:
    return [item.value for item in items if item.value is not None]


def _runs(indices: Sequence[int]) -> list[tuple[int, int]]:
    """Cut positions into stretches whose indices follow one another."""
    edges = [0, *(i for i in range(1, len(indices)) if indices[i] != indices[i - 1] + 1), len(indices)]
    return list(itertools.pairwise(edges))


def _nothing() -> None:
    """The beat of a worker that nobody stops."""


@functools.cache
def _name(pid: int) -> str:
    del pid  # it is there so that a fork gets a name of its own
    return journal.worker_name()

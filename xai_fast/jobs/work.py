"""Process one shard: read its items, explain them chunk by chunk, write the file. Every runner calls this."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import torch

from xai_fast.engine.memory import free_bytes, is_out_of_memory, peak_memory
from xai_fast.errors import JobError, StoreError, XaiFastError
from xai_fast.jobs.computation import Computation, Loaded, reason_of
from xai_fast.jobs.job import Job, versions
from xai_fast.jobs.store.job_file import Status
from xai_fast.jobs.store.rows import Rows
from xai_fast.jobs.store.shards import Header
from xai_fast.terminal import tell

__all__ = ["WRITING", "DeviceLost", "Order", "ShardDone", "run_shard", "try_alone"]

WRITING = threading.Lock()
"""Held while a shard is written, so that a process that is told to end leaves no half of it."""
_LOOKED_AT = 64
"""Finished shards that are looked at for one with results."""
_HOPELESS = 32
"""So many first items that fail alike are a sign that the job is described wrongly."""


class DeviceLost(XaiFastError, RuntimeError):
    """The device cannot be used any more by this process."""


@dataclass(frozen=True)
class Order:
    """A shard to process; ``retry`` does its failed items again, and keeps the others.

    ``alone`` explains the items one by one, where chunks have killed the process; ``killed`` is index to the reason, of
    items that kill it.
    """

    shard: int
    retry: bool = False
    alone: bool = False
    killed: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardDone:
    """What became of a shard: items that were done in this call, and how many have failed in all."""

    shard: int
    items: int
    failed: int


def run_shard(job: Job, held: Computation, order: Order) -> ShardDone:
    """Process a shard."""
    return _Run(job, held, order).finish()


def try_alone(job: Job, held: Computation, index: int) -> None:
    """Explain one item and forget the result: does it kill the process?"""
    run = _Run(job, held, Order(index // job.shards.size, alone=True))
    run.explain([held.load(index, as_it_is=True)])


class _Run:
    """One call of `run_shard`."""

    def __init__(self, job: Job, held: Computation, order: Order) -> None:
        self.job, self.held, self.order = job, held, order
        self.span = job.shards.span(order.shard)
        agreed = job.shards.agreed(most=_LOOKED_AT)
        self.methods = {} if agreed is None else agreed.methods
        self.rows = Rows(len(self.span), job.spec.dtype, None if agreed is None else agreed.fields)
        self.seconds = dict.fromkeys(("decode", "explain"), 0.0)

    def finish(self) -> ShardDone:
        started = time.perf_counter()
        indices = self._keep_good() if self.order.retry else list(self.span)
        for index in [index for index in indices if index in self.order.killed]:
            self.rows.fail(index - self.span.start, Status.KILLED, self.order.killed[index])
        groups = self._chunks([index for index in indices if index not in self.order.killed])
        with closing(self.held.loaded(groups, as_it_is=self.order.retry)) as chunks:  # type: ignore[type-var]
            for chunk in chunks:
                self.explain(chunk)
        self.held.source.check()
        self._check_hope()
        with WRITING:
            self.job.shards.write(self.order.shard, self._header(started), self.rows.tensors, replace=self.order.retry)
        return ShardDone(self.order.shard, len(indices), len(self.rows.failed))

    def explain(self, chunk: Sequence[Loaded]) -> None:
        """Explain the items of a chunk that could be read."""
        self.seconds["decode"] += sum(item.seconds for item in chunk)
        for item in chunk:
            if item.value is None:
                self.rows.fail(item.index - self.span.start, item.status, item.reason)
        good = [item for item in chunk if item.value is not None]
        if good:
            started = time.perf_counter()
            self._explain(good)
            self.seconds["explain"] += time.perf_counter() - started

    def _explain(self, items: Sequence[Loaded]) -> None:
        """Explain items together, or one by one where that fails, so that one cannot take the others along."""
        places = [item.index - self.span.start for item in items]
        try:
            fields, methods = self.held.explain(items)
            self.methods = self.methods or methods
            self.rows.put(places, fields)
            return
        except (JobError, StoreError):
            raise
        except Exception as error:  # whatever the model or a method of the user raises
            if isinstance(error, RuntimeError) and "CUDA error" in str(error) and not is_out_of_memory(error):
                raise DeviceLost(f"shard {self.order.shard}: {error}") from error
            # The error itself is not kept: its traceback holds the tensors of the batch that did not fit.
            out_of_memory, reason, said = is_out_of_memory(error), reason_of(error), str(error)
        if out_of_memory:
            if self.held.device.type == "cuda":
                torch.cuda.empty_cache()
            rows = self.held.rows or 1
            if rows > 1:
                self.held.rows = rows // 2
                tell(f"out of memory: from now on {rows // 2} rows go through the model at once, not {rows}", self.held)
                return self._explain(items)
            device = self.held.device
            reason = (
                f"one row at a time does not fit into the memory of {device} ({free_bytes(device) >> 20} MiB are "
                f"free): {said}. What helps: fewer workers, a method with fewer points or a smaller memory_limit, a "
                "smaller input, or another device"
            )
        if len(items) > 1:
            for item in items:
                self._explain([item])
        else:
            self.rows.fail(places[0], Status.FAILED, reason)

    def _keep_good(self) -> list[int]:
        """Take over what is good already; return the indices of the others."""
        try:
            earlier = self.job.shards.open(self.order.shard)
        except StoreError:  # damaged or gone: everything is done again, and nothing is lost but time
            return list(self.span)
        good = [row for row in range(len(self.span)) if row not in earlier.header.failed]
        if good:
            self.rows.take_over(good, earlier.tensors)
        return [self.span.start + row for row in sorted(earlier.header.failed)]

    def _chunks(self, indices: Sequence[int]) -> list[list[int]]:
        """Group items by their place in the shard, so that an item that is missing moves no other."""
        size = 1 if self.order.alone else self.job.plan.chunk
        groups: dict[int, list[int]] = defaultdict(list)
        for index in indices:
            groups[(index - self.span.start) // size].append(index)
        return list(groups.values())

    def _check_hope(self) -> None:
        """End the job where nothing has worked yet and many items fail alike: then it is not the items."""
        reasons = {reason for _, reason in self.rows.failed.values()}
        if len(self.rows.failed) < max(_HOPELESS, len(self.span)) or len(reasons) > 1 or self.order.retry:
            return
        if self.job.shards.agreed(most=_LOOKED_AT) is None:
            raise JobError(
                f"the first {len(self.span):,} items failed alike, so the job as it is described cannot work: "
                f"{reasons.pop()}. Nothing was stored; mend it and begin in another folder, or leave these items out"
            )

    def _header(self, started: float) -> Header:
        evaluations = [value for name, value in self.rows.tensors.items() if name.rpartition(".")[2] == "evaluations"]
        return Header(
            job=self.job.shards.job,
            start=self.span.start,
            stop=self.span.stop,
            failed={row: (status.label, reason) for row, (status, reason) in self.rows.failed.items()},
            seconds={**self.seconds, "total": time.perf_counter() - started},
            evaluations=sum(int(value.sum()) for value in evaluations),
            peak_memory=peak_memory(self.held.device),
            worker=f"{socket.gethostname()}-{os.getpid()}",
            versions=versions(),
            methods=self.methods if self.rows.tensors else {},
            finished=time.time(),
        )

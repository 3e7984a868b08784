"""How a job stands, from its receipts."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from xai_fast.errors import StoreError
from xai_fast.jobs.journal import live_attempts
from xai_fast.jobs.observe.receipts import PARTS, Tally, busy_rate, recent_rate
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.layout import Layout, read_job

__all__ = ["FailedItem", "JobStatus", "status"]

FAILURES = 20
"""Failed items that a status names."""


@dataclass(frozen=True)
class FailedItem:
    """An item without a result: its place and name in the list of items, and why."""

    index: int
    id: str
    reason: str


@dataclass(frozen=True)
class JobStatus:
    """How a job stands.

    Attributes:
        folder: of the store.
        items: in the job.
        done: with a receipt, those that failed too.
        failed: of these.
        statuses: how many of those done by the name of their status ("ok", "unreadable", ...).
        shards: in the job.
        shards_done: with a receipt.
        complete: nothing is left to do; items may have failed.
        running: shards, or ranges of shards, that workers are at now.
        rate: items a second of late, while anybody was at work; None before the first shard.
        seconds_left: to go at this rate; None where it is not known, 0 at the end.
        throughput: items a second over all the work; None before the first shard.
        seconds: of all workers together, by part: "decode", "model", "kernels", "write", and "total".
        evaluations: of the model's gradient.
        peak_memory: of the worker that took most, in bytes; 0 where nobody measured it.
        failures: the first failed items.
        created: when the store was made, in unix seconds; None where it does not say.
        started: when work on the first shard that is done began; None before.
        finished: when the last receipt was written; None before.
    """

    folder: str
    items: int
    done: int
    failed: int
    statuses: Mapping[str, int]
    shards: int
    shards_done: int
    complete: bool
    running: int
    rate: float | None
    seconds_left: float | None
    throughput: float | None
    seconds: Mapping[str, float]
    evaluations: int
    peak_memory: int
    failures: tuple[FailedItem, ...]
    created: float | None
    started: float | None
    finished: float | None

    @property
    def shares(self) -> dict[str, float]:
        """Share of the workers' time by part, and "other" for what is left of it; empty before the first shard."""
        total = self.seconds.get("total", 0.0)
        if total <= 0:
            return {}
        parts = {part: self.seconds.get(part, 0.0) / total for part in PARTS}
        return parts | {"other": max(0.0, 1 - sum(parts.values()))}

    def to_json(self) -> str:
        """Give all of it as JSON, for programs."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)

    def __str__(self) -> str:
        """Give all of it as text, for people."""
        from xai_fast.jobs.observe.summary import summary

        return summary(self)


def status(out: str | os.PathLike[str]) -> JobStatus:
    """Say how a job stands; from any shell or machine that sees the store, whoever runs it.

    Args:
        out: folder of the store.

    Returns:
        The status.

    Raises:
        StoreError: it is no store, or a damaged one.
    """
    layout = Layout(out)
    document = read_job(layout)
    tally = Tally(layout)
    tally.update()
    items, shard_size = document["items"]["count"], document["spec"]["shard_size"]
    shards = -(-items // shard_size)
    if tally.items > items or any(shard >= shards for shard in tally.shards):
        raise StoreError(f"{layout.commits}: expected receipts of {shards} shards, {items} items, got more")
    rate = recent_rate(tally.work)
    complete = len(tally.shards) == shards
    left = 0.0 if complete else None if not rate else (items - tally.items) / rate
    failed = [entry for shard in sorted(tally.failed) for entry in tally.failed[shard]][:FAILURES]
    return JobStatus(
        folder=str(layout.root),
        items=items,
        done=tally.items,
        failed=tally.failures,
        statuses=dict(tally.statuses),
        shards=shards,
        shards_done=len(tally.shards),
        complete=complete,
        running=0 if complete else len(live_attempts(layout, exact=False)),
        rate=rate,
        seconds_left=left,
        throughput=busy_rate(tally.work),
        seconds={part: tally.seconds.get(part, 0.0) for part in (*PARTS, "total")},
        evaluations=tally.evaluations,
        peak_memory=tally.peak_memory,
        failures=_named(layout, failed),
        created=_time(document.get("created")),
        started=min((span.began for span in tally.work), default=None),
        finished=max((span.ended for span in tally.work), default=None),
    )


def _named(layout: Layout, failed: list[tuple[int, str]]) -> tuple[FailedItem, ...]:
    if not failed:
        return ()
    ids = Items.open(layout)
    return tuple(FailedItem(index, ids.id(index), reason) for index, reason in failed)


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

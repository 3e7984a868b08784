"""How a job stands, from the names of its shards and what they say of themselves."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_fast.jobs.store.folder import Folder
from xai_fast.jobs.store.items import Items
from xai_fast.jobs.store.job_file import Status, is_starting, read_job
from xai_fast.jobs.store.shards import Header, Shards
from xai_fast.progress import duration
from xai_fast.terminal import printable

__all__ = ["FailedItem", "JobStatus", "status"]

_FAILURES = 20
"""Failed items that a status names."""
_SAMPLE = 2000
"""Shards whose headers are read where there are more: their sums stand for all."""
_WINDOW = 300.0
_PARTS = {"decode": "decoding", "explain": "explaining", "other": "other"}
_LONGEST_REASON = 200
_NOTHING: dict[str, Any] = {"items": {"count": 0}, "fingerprint": "", "spec": {"shard_size": 1}}


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
        done: in finished shards, those that failed too.
        failed: of these.
        statuses: how many of those done by the name of their status ("ok", "unreadable", ...).
        exact: whether all finished shards were read; else numbers of items by status, times and work are those of
            2,000 shards, scaled.
        shards: in the job.
        shards_done: that are finished.
        complete: nothing is left to do; items may have failed.
        rate: items per second of late, while anybody was at work; None before the first shard.
        seconds_left: to go at this rate; None where it is not known, 0 at the end.
        throughput: items per second over all the work; None before the first shard.
        seconds: of all workers together, by part: "decode" (in threads beside the rest), "explain", and "total".
        evaluations: passes through the model.
        peak_memory: of the worker that took most, in bytes.
        failures: the first failed items.
        created: when the store was made, in unix seconds; None where it does not say.
        started: when work on the first shard that is done began; None before.
        finished: when the last shard was written; None before.
        starting: a run loads the model and lists the items, or ended before it had: no more is known.
    """

    folder: str
    items: int
    done: int
    failed: int
    statuses: Mapping[str, int]
    exact: bool
    shards: int
    shards_done: int
    complete: bool
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
    starting: bool = False

    @property
    def shares(self) -> dict[str, float]:
        """Share of the workers' time by part, and "other" for what is left of it; empty before the first shard."""
        total = self.seconds.get("total", 0.0)
        if total <= 0:
            return {}
        parts = {part: self.seconds.get(part, 0.0) / total for part in _PARTS if part != "other"}
        return parts | {"other": max(0.0, 1 - sum(parts.values()))}

    def to_json(self) -> str:
        """Give all of it as JSON, for programs."""
        return json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False)

    def __str__(self) -> str:
        """Give all of it as text, for people."""
        return "\n".join(_lines(self))


def status(out: str | os.PathLike[str], *, exact: bool = False) -> JobStatus:
    """Say how a job stands; from any shell or machine that sees the store, whoever runs it.

    Args:
        out: folder of the store.
        exact: read what all finished shards say, however many there are; else of at most 2,000.

    Returns:
        The status.

    Raises:
        StoreError: it is no store, or a damaged one.
    """
    path = Path(out)
    starting = is_starting(path)
    document, root = _NOTHING if starting else read_job(path), Folder(path)
    items, shards = Items(root, document["items"]), Shards.of(root, document)
    finished = list(shards.all_done())
    known = exact or len(finished) <= _SAMPLE
    read = finished if known else [finished[i * len(finished) // _SAMPLE] for i in range(_SAMPLE)]
    headers = [shards.header(shard) for shard in read]
    done = sum(len(shards.span(shard)) for shard in finished)
    scale = done / max(1, sum(header.rows for header in headers))
    failed = Counter(label for header in headers for label, _ in header.failed.values())
    statuses = {label: round(scale * count) for label, count in failed.items()}
    rate, overall = _rate(headers, scale, known, _WINDOW), _rate(headers, scale, known)
    complete = len(finished) == len(shards) and not starting
    created = document.get("created")
    return JobStatus(
        folder=str(path),
        items=len(items),
        done=done,
        failed=sum(statuses.values()),
        statuses={Status.OK.label: done - sum(statuses.values()), **statuses},
        exact=known,
        shards=len(shards),
        shards_done=len(finished),
        complete=complete,
        rate=rate,
        seconds_left=0.0 if complete else None if not rate else (len(items) - done) / rate,
        throughput=overall,
        seconds={p: scale * sum(h.seconds.get(p, 0.0) for h in headers) for p in ("decode", "explain", "total")},
        evaluations=round(scale * sum(header.evaluations for header in headers)),
        peak_memory=max((header.peak_memory for header in headers), default=0),
        failures=tuple(_first_failed(headers, items)),
        created=float(created) if isinstance(created, int | float) else None,
        started=min((header.began for header in headers), default=None),
        finished=max((header.finished for header in headers), default=None),
        starting=starting,
    )


def _first_failed(headers: list[Header], items: Items) -> Iterator[FailedItem]:
    found = ((header.start + row, entry[1]) for header in headers for row, entry in sorted(header.failed.items()))
    for (index, reason), _ in zip(found, range(_FAILURES), strict=False):
        yield FailedItem(index, items.id(index), reason)


def _rate(headers: list[Header], scale: float, known: bool, window: float = float("inf")) -> float | None:
    """Give items per second of the time in which at least one worker was at work, as far as all work is known."""
    # A job that lay still for a night, between a crash and its restart, is not slow for that.
    if not headers:
        return None
    longest = max(header.finished - header.began for header in headers)
    last = max(header.finished for header in headers)
    since = max(last - max(window, 4 * longest), min(header.began for header in headers))
    items, busy, reached = 0, 0.0, since
    for header in sorted(headers, key=lambda header: header.began):
        if header.finished > since:
            items += header.rows
            busy += max(0.0, header.finished - max(header.began, reached))
            reached = max(reached, header.finished)
    seconds = busy if known else last - since
    return scale * items / seconds if seconds > 0 else None


def _lines(status: JobStatus) -> Iterator[str]:
    about = "" if status.exact else "about "
    yield f"store     {printable(status.folder)}"
    yield f"state     {_state(status)}"
    if status.starting:
        return
    share = status.done / status.items if status.items else 1.0
    # Rounded down: 100 % is said of the whole only.
    yield (
        f"done      {status.done:,} of {_items(status.items)} ({int(1000 * share) / 10:.1f} %), "
        f"{status.shards_done:,} of {status.shards:,} shard{'' if status.shards == 1 else 's'}"
    )
    if status.failed:
        kinds = ", ".join(f"{count:,} {printable(name)}" for name, count in status.statuses.items() if name != "ok")
        yield f"failed    {about}{status.failed:,}: {kinds}"
    if status.throughput is not None:
        yield f"speed     {_speed(status)}"
    if status.shares:
        parts = ", ".join(f"{_PARTS[part]} {share:.0%}" for part, share in status.shares.items())
        yield f"time      {about}{duration(status.seconds['total'])} of workers: {parts}"
        peak = f"; peak memory of a worker {status.peak_memory / 2**30:.1f} GiB" if status.peak_memory else ""
        yield f"work      {about}{status.evaluations:,} evaluations{peak}"
    for failure in status.failures:
        yield f"  {printable(failure.id)}: {printable(failure.reason[:_LONGEST_REASON])}"
    if status.failed > len(status.failures) > 0:
        yield f"  and {about}{status.failed - len(status.failures):,} more"


def _state(status: JobStatus) -> str:
    if status.starting:
        return "starting: the items are not listed yet; the same run begins anew, if none is at work"
    if status.complete:
        return "complete" + (f", {_items(status.failed)} failed" if status.failed else "")
    left = "the same run goes on from here, if none is at work"
    return f"not complete{'' if status.done else ', no shard is done yet'}; {left}"


def _speed(status: JobStatus) -> str:
    rate = status.throughput if status.complete or status.rate is None else status.rate
    number = "0" if rate is None else f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
    known = not status.complete and status.seconds_left is not None
    return f"{number} items per second" + (f", {duration(status.seconds_left or 0.0)} left" if known else "")


def _items(count: int) -> str:
    return f"{count:,} item{'' if count == 1 else 's'}"

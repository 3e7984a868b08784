"""The status of a job in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from xai_fast.progress import duration
from xai_fast.terminal import printable

if TYPE_CHECKING:
    from xai_fast.jobs.observe.status import JobStatus

__all__ = ["items_text", "memory_text", "rate_text", "summary"]

_PARTS = {"decode": "decoding", "model": "model", "kernels": "kernels", "write": "writing", "other": "other"}
_LONGEST_REASON = 200


def summary(status: JobStatus) -> str:
    """Describe a job: how far it is, how fast, where the time goes, what failed.

    Args:
        status: of the job.

    Returns:
        Lines of plain text.
    """
    return "\n".join(_lines(status))


def items_text(count: int) -> str:
    """Give a number of items, such as "1 item" or "12,000 items"."""
    return f"{count:,} item{'' if count == 1 else 's'}"


def rate_text(rate: float) -> str:
    """Give items a second with as many digits as they deserve."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def memory_text(size: int) -> str:
    """Give a number of bytes, such as "1.5 GiB"."""
    value, units = float(size), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" else f"{value:.1f} {units[0]}"


def _lines(status: JobStatus) -> Iterator[str]:
    yield f"store     {printable(status.folder)}"
    yield f"state     {_state(status)}"
    share = status.done / status.items if status.items else 1.0
    # Rounded down: 100 % is said of the whole only.
    yield (
        f"done      {status.done:,} of {items_text(status.items)} ({int(1000 * share) / 10:.1f} %), "
        f"{status.shards_done:,} of {status.shards:,} shard{'' if status.shards == 1 else 's'}"
    )
    if status.failed:
        kinds = ", ".join(f"{count:,} {printable(name)}" for name, count in status.statuses.items() if name != "ok")
        yield f"failed    {status.failed:,}: {kinds}"
    if status.throughput is not None:
        yield f"speed     {_speed(status)}"
    if status.shares:
        parts = ", ".join(f"{_PARTS[part]} {share:.0%}" for part, share in status.shares.items())
        yield f"time      {duration(status.seconds['total'])} of workers: {parts}"
        peak = f"; peak memory of a worker {memory_text(status.peak_memory)}" if status.peak_memory else ""
        yield f"work      {status.evaluations:,} evaluations{peak}"
    for failure in status.failures:
        yield f"  {printable(failure.id)}: {printable(failure.reason[:_LONGEST_REASON])}"
    if status.failed > len(status.failures) > 0:
        yield f"  and {status.failed - len(status.failures):,} more"


def _state(status: JobStatus) -> str:
    if status.complete:
        return "complete" + (f", {items_text(status.failed)} failed" if status.failed else "")
    if status.running:
        return f"running, {status.running:,} at work"
    return f"not running{'' if status.done else ', no shard is done yet'}; the same run goes on from here"


def _speed(status: JobStatus) -> str:
    if status.complete or status.rate is None:
        return f"{rate_text(status.throughput or 0.0)} items a second"
    left = "" if status.seconds_left is None else f", {duration(status.seconds_left)} left"
    return f"{rate_text(status.rate)} items a second{left}"

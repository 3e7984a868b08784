"""What the receipts of a job add up to, each of them read once however often one looks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from xai_fast.jobs.store.layout import Layout, Status
from xai_fast.jobs.store.receipts import Receipt, committed, receipts

__all__ = ["PARTS", "Tally", "Work", "busy_rate", "recent_rate"]

PARTS = ("decode", "model", "kernels", "write")
"""The parts of a worker's time that receipts tell; what is left of "total" is everything else."""

_WINDOW = 300.0


@dataclass(frozen=True)
class Work:
    """A shard that is done: when its worker began and ended, in unix seconds, and how many items it holds."""

    began: float
    ended: float
    items: int


class Tally:
    """Sums over receipts.

    Args:
        layout: of the store.

    Attributes:
        shards: numbers of the shards that are done.
        items: in these shards, failed ones too.
        statuses: how many items by name of their status.
        seconds: of all workers, by part.
        evaluations: of the model's gradient.
        peak_memory: the largest that a worker told, in bytes.
        work: a span a shard.
        failed: (index, reason), the first ones of each shard, by shard.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._clear()

    def _clear(self) -> None:
        self.shards: set[int] = set()
        self.items = 0
        self.statuses: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.evaluations = 0
        self.peak_memory = 0
        self.work: list[Work] = []
        self.failed: dict[int, list[tuple[int, str]]] = {}

    def update(self) -> None:
        """Read the receipts that are new; where some are gone (after a repair), all.

        Raises:
            StoreError: a receipt is not what it should be.
        """
        if not self.shards <= committed(self._layout):
            self._clear()
        for receipt in receipts(self._layout, self.shards):
            self._add(receipt)

    @property
    def failures(self) -> int:
        """Items whose status is not "ok"."""
        return self.items - self.statuses[Status.OK.label]

    def _add(self, receipt: Receipt) -> None:
        self.shards.add(receipt.shard)
        self.items += receipt.rows
        self.statuses.update(receipt.statuses)
        for part, seconds in receipt.seconds.items():
            self.seconds[part] = self.seconds.get(part, 0.0) + seconds
        self.evaluations += receipt.evaluations
        self.peak_memory = max(self.peak_memory, receipt.peak_memory)
        began = receipt.finished - max(0.0, receipt.seconds.get("total", 0.0))
        self.work.append(Work(began, receipt.finished, receipt.rows))
        if receipt.failed:
            self.failed[receipt.shard] = [(receipt.start + row, reason) for row, reason in receipt.failed]


def busy_rate(work: list[Work], window: float | None = None) -> float | None:
    """Give items a second of the time in which at least one worker was at work.

    So a job that lay still for a night, between a crash and its restart, is not slow for that.

    Args:
        work: spans in any order.
        window: only what ended in so many seconds before the last end.

    Returns:
        The rate, or None where nothing is known.
    """
    if not work:
        return None
    end = max(span.ended for span in work)
    since = -float("inf") if window is None else end - window
    items, busy, reached = 0, 0.0, since
    for span in sorted(work, key=lambda span: span.began):
        if span.ended <= since:
            continue
        items += span.items
        busy += max(0.0, span.ended - max(span.began, reached))
        reached = max(reached, span.ended)
    return items / busy if busy > 0 else None


def recent_rate(work: list[Work]) -> float | None:
    """Give `busy_rate` of the last five minutes, or of longer where a shard takes longer, as the workers may change."""
    longest = max((span.ended - span.began for span in work), default=0.0)
    return busy_rate(work, max(_WINDOW, 4 * longest))

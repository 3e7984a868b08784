"""What the receipts of a job add up to, each of them read once however often one looks."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_fast.batch.store.layout import Layout

__all__ = ["PARTS", "Tally", "Work", "busy_rate", "recent_rate"]

PARTS = ("decode", "model", "kernels", "write")
"""The parts of a worker's time that receipts tell; what is left of "total" is everything else."""

_RECEIPT = re.compile(r"shard-(\d{6,})\.json")
_LARGEST = 1 << 20
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
        self._folder = layout.commits
        self._clear()

    def _clear(self) -> None:
        self.shards: set[int] = set()
        self.items = 0
        self.statuses: Counter[str] = Counter()
        self.seconds: Counter[str] = Counter()
        self.evaluations = 0
        self.peak_memory = 0
        self.work: list[Work] = []
        self.failed: dict[int, list[tuple[int, str]]] = {}

    def update(self) -> None:
        """Read the receipts that are new; where some are gone (after a repair), all."""
        present = _committed(self._folder)
        if not self.shards <= present:
            self._clear()
        for shard in sorted(present - self.shards):
            receipt = _read(self._folder / f"shard-{shard:06d}.json")
            if receipt is not None:
                self._add(shard, receipt)

    @property
    def failures(self) -> int:
        """Items whose status is not "ok"."""
        return self.items - self.statuses["ok"]

    def _add(self, shard: int, receipt: Mapping[str, Any]) -> None:
        start, stop = int(receipt["start"]), int(receipt["stop"])
        seconds = receipt["seconds"]
        self.shards.add(shard)
        self.items += stop - start
        self.statuses.update(receipt["statuses"])
        self.seconds.update(seconds)
        self.evaluations += receipt["evaluations"]
        self.peak_memory = max(self.peak_memory, receipt["peak_memory"])
        self.work.append(Work(receipt["finished"] - seconds["total"], receipt["finished"], stop - start))
        if receipt["failed"]:
            self.failed[shard] = [(start + row, reason) for row, reason in receipt["failed"]]


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


def _committed(folder: Path) -> set[int]:
    if not folder.is_dir():
        return set()
    return {int(match[1]) for entry in os.scandir(folder) if (match := _RECEIPT.fullmatch(entry.name))}


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return json.loads(file.read(_LARGEST))
    except FileNotFoundError:  # repaired away while we look
        return None

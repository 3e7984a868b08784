"""The queue of (item, point) pairs that keeps NeFLAG's batches full.

A row holds one pair: a point near an item, and the steps that it has taken. One turn evaluates the score and gradient
of all rows, adds the flux of rows that turned negative, moves the others, and gives the rows that are done to the next
pairs. All decisions are taken on the device; the host reads one number a turn, and only once the remaining pairs no
longer guarantee full rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.engine.gradients import ScoreGradient
from xai_fast.kernels import flux_accumulate, sphere_points, sphere_step

__all__ = ["HostReads", "PointQueue", "Rows", "Statistics", "Walk"]


class HostReads:
    """All that the host reads from the device during a run, in one place, so that it can be counted and injected."""

    def remaining(self, alive: Tensor) -> int:
        """Read how many rows still work.

        Args:
            alive: (R,) bool.

        Returns:
            The number of rows that are True.
        """
        return int(alive.sum())

    def items(self, mask: Tensor) -> list[int]:
        """Read which items a mask names.

        Args:
            mask: (B,) bool.

        Returns:
            The positions that are True.
        """
        return mask.nonzero().flatten().tolist()


@dataclass(frozen=True)
class Walk:
    """How points are drawn and moved: the options of the method that the queue needs."""

    radius: float
    max_steps: int
    step: str
    seed: int
    magnitude: bool


@dataclass
class Statistics:
    """Running results of a batch of B items with N entries, changed in place."""

    mean: Tensor  # (B, N)
    m2: Tensor | None  # (B, N)
    negative_points: Tensor  # (B,) int64
    evaluations: Tensor  # (B,) int64
    not_finite: Tensor  # (B,) int64: scores near the item that were NaN or infinite

    @staticmethod
    def zeros(centers: Tensor, with_deviations: bool) -> Statistics:
        """Start from nothing.

        Args:
            centers: (B, N), for shape, dtype and device.
            with_deviations: keep the squared deviations.

        Returns:
            The statistics.
        """
        count = torch.zeros(centers.shape[0], dtype=torch.int64, device=centers.device)
        return Statistics(
            mean=torch.zeros_like(centers),
            m2=torch.zeros_like(centers) if with_deviations else None,
            negative_points=count,
            evaluations=torch.zeros_like(count),
            not_finite=torch.zeros_like(count),
        )


@dataclass
class Rows:
    """The state of R rows."""

    points: Tensor  # (R, N) x~
    item: Tensor  # (R,) int64
    point: Tensor  # (R,) int64
    steps: Tensor  # (R,) int64 steps taken
    alive: Tensor  # (R,) bool: holds a pair that is not done

    def take(self, order: Tensor) -> Rows:
        """Keep some rows.

        Args:
            order: positions of the rows to keep.

        Returns:
            The new rows.
        """
        return Rows(*(value.index_select(0, order) for value in vars(self).values()))


class PointQueue:
    """Runs (item, point) pairs through the model.

    Args:
        gradient: scores and gradients of rows.
        centers: (B, N) the items.
        item_ids: (B,) int64, for the random numbers.
        base: (B,) the items' own scores f(x).
        targets: (B,) classes, or None.
        walk: how points are drawn and moved.
        statistics: changed in place.
        rows: R, the batch size of the model.
        static: keep R constant to the end (for compiled models and CUDA graphs) instead of dropping idle rows.
        host: what the host reads.
    """

    def __init__(
        self,
        gradient: ScoreGradient,
        centers: Tensor,
        item_ids: Tensor,
        base: Tensor,
        targets: Tensor | None,
        walk: Walk,
        statistics: Statistics,
        *,
        rows: int,
        static: bool,
        host: HostReads,
    ) -> None:
        self._gradient = gradient
        self._centers = centers
        self._item_ids = item_ids
        self._base = base
        self._targets = targets
        self._walk = walk
        self._statistics = statistics
        self._size = rows
        self._static = static
        self._host = host

    def run(self, items: Tensor, first: int, last: int) -> None:
        """Run the points ``first .. last-1`` of these items to their end.

        Args:
            items: (K,) int64, positions in the batch.
            first: number of the first point.
            last: number after the last point.
        """
        span = last - first
        total = items.shape[0] * span
        if total == 0:
            return
        rows = self._fresh_rows(items, first, span, total)
        handed_out: Tensor | int = rows.item.shape[0]
        surely_waiting = total - rows.item.shape[0]
        while True:
            finished = self._turn(rows)
            handed_out = self._refill(rows, finished, handed_out, items, first, span, total)
            surely_waiting -= rows.item.shape[0]
            if surely_waiting >= 0:
                continue  # even if every row had finished, there was a pair for each: no need to ask
            remaining = self._host.remaining(rows.alive)
            if remaining == 0:
                return
            if not self._static and remaining < rows.item.shape[0]:
                rows = rows.take(rows.alive.to(torch.uint8).argsort(descending=True, stable=True)[:remaining])

    def _fresh_rows(self, items: Tensor, first: int, span: int, total: int) -> Rows:
        size = self._size if self._static else min(self._size, total)
        pair = torch.arange(size, device=items.device)
        alive = pair < total
        pair = pair.clamp(max=total - 1)
        rows = Rows(
            points=self._centers.new_zeros(size, self._centers.shape[1]),
            item=items[pair // span],
            point=first + pair % span,
            steps=torch.zeros_like(pair),
            alive=alive,
        )
        self._draw(rows, alive)
        return rows

    def _draw(self, rows: Rows, which: Tensor) -> None:
        walk = self._walk
        sphere_points(rows.points, self._centers, rows.item, self._item_ids, rows.point, which, walk.radius, walk.seed)

    def _turn(self, rows: Rows) -> Tensor:
        """Evaluate all rows, add or move each; returns which are done."""
        walk, statistics = self._walk, self._statistics
        targets = None if self._targets is None else self._targets[rows.item]
        scores, gradients = self._gradient(rows.points, rows.item, targets)
        statistics.evaluations.index_add_(0, rows.item, rows.alive.long())
        statistics.not_finite.index_add_(0, rows.item, (rows.alive & ~scores.isfinite()).long())
        negative = rows.alive & (rows.steps > 0) & (scores < self._base[rows.item])  # Eq. 6
        finished = negative | (rows.alive & (rows.steps >= walk.max_steps))
        flux_accumulate(
            statistics.mean,
            statistics.m2,
            statistics.negative_points,
            self._centers,
            rows.points,
            gradients,
            rows.item,
            negative,
            walk.magnitude,
        )
        sphere_step(rows.points, self._centers, gradients, rows.item, rows.alive & ~finished, walk.radius, walk.step)
        rows.steps = rows.steps + 1
        return finished

    def _refill(
        self, rows: Rows, finished: Tensor, handed_out: Tensor | int, items: Tensor, first: int, span: int, total: int
    ) -> Tensor:
        """Give the rows that are done to the next pairs, in order; returns how many pairs were handed out."""
        pair = handed_out + finished.cumsum(0) - 1
        refill = finished & (pair < total)
        pair = pair.clamp(max=total - 1)
        rows.item = torch.where(refill, items[pair // span], rows.item)
        rows.point = torch.where(refill, first + pair % span, rows.point)
        rows.steps = torch.where(refill, 0, rows.steps)
        rows.alive = rows.alive & (~finished | refill)
        self._draw(rows, refill)
        return handed_out + finished.sum()

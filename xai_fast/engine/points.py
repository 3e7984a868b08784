"""The queue of (item, point) pairs that keeps the batches of all sampling methods full.

A sampling method is a `Walk`: where a point of an item starts, when it ends, what it contributes, and where it goes
next. A row of the model's batch holds one point and the steps that it has taken. One turn evaluates the score and
gradient of all rows, adds the contributions of those that have one, moves the others, and gives the rows that ended to
the next pairs. All decisions are taken on the device; the host reads one number per turn, and only once the remaining
pairs no longer guarantee full rows.
"""

from __future__ import annotations

import abc
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.arguments import name_items
from xai_fast.engine.call import Call, HostReads
from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.gradients import Rival, ScoreGradient
from xai_fast.errors import ModelError
from xai_fast.kernels import flux_accumulate

__all__ = ["FIRST_ROUND", "Items", "Rows", "Statistics", "Walk", "rounds", "rounds_until", "walk_items"]

FIRST_ROUND = 4
"""Points per item before the first tolerance check; doubles each time."""
_ROUNDING = 1e-3
"""Much more than what the forms of a model differ by, in units of a score, or of this much."""


@dataclass(frozen=True)
class Items:
    """The batch that is explained: B items of N entries.

    Attributes:
        centers: (B, N) the items.
        ids: (B,) int64, identities for random numbers.
        targets: (B,) int64 classes, or None for a callable target.
        own: (B,) the items' scores as the model's owner gets them, where points go through another form of it.
        host: what the host reads.
        score: computes ``scores``.
    """

    centers: Tensor
    ids: Tensor
    targets: Tensor | None
    own: Tensor | None
    host: HostReads
    score: Callable[[], Tensor]

    @functools.cached_property
    def scores(self) -> Tensor:
        """The items' own scores f(x) (B,), computed as those of points; a pass, for the walks that read them."""
        return self.score()

    def below(self, scores: Tensor, item: Tensor, which: Tensor) -> Tensor:
        """Compare the scores (R,) of the points that ``which`` (R,) bool names with those of their items (R,).

        With ``own``, the pass for ``scores`` is left out as long as none is so near that rounding may decide.

        Returns:
            (R,) bool, which of these are below.
        """
        if self.own is not None and "scores" not in vars(self):
            own = self.own[item]
            near = which & ((scores - own).abs() <= _ROUNDING * own.abs().clamp(min=_ROUNDING))
            if not self.host.items(near):
                return which & (scores < own)
        return which & (scores < self.scores[item])


@dataclass
class Statistics:
    """Running results of a batch of B items with N entries, changed in place.

    Attributes:
        mean: (B, N) mean of the contributions.
        m2: (B, N) sum of their squared deviations.
        count: (B,) int64, contributions.
        evaluations: (B,) int64, gradient evaluations.
        not_finite: (B,) int64, evaluated points whose score was NaN or infinite.
    """

    mean: Tensor
    m2: Tensor
    count: Tensor
    evaluations: Tensor
    not_finite: Tensor

    @staticmethod
    def zeros(centers: Tensor) -> Statistics:
        """Start from nothing, with the shape, dtype and device of (B, N) centers."""
        mean, count = torch.zeros_like(centers), torch.zeros(len(centers), dtype=torch.int64, device=centers.device)
        return Statistics(mean, mean.clone(), count, count.clone(), count.clone())

    def add(self, values: Tensor, item: Tensor, which: Tensor, magnitude: bool = False) -> None:
        """Add contributions (R, N), or their magnitudes, to items (R,), of rows that ``which`` (R,) bool names."""
        flux_accumulate(self.mean, self.m2, self.count, None, None, values.contiguous(), item, which, magnitude)

    def standard_error(self, keep: bool = False) -> Tensor:
        """Compute the mean's standard error, (B, N), infinite below two; it takes the memory of m2 unless ``keep``."""
        n = self.count.to(self.m2.dtype)[:, None]
        m2 = self.m2.clone() if keep else self.m2
        return m2.div_((n * (n - 1)).clamp_(min=1)).sqrt_().masked_fill_(n < 2, math.inf)


@dataclass
class Rows:
    """The state of R rows of the model's batch, changed in place.

    Attributes:
        points: (R, N) where the score and gradient are evaluated.
        item: (R,) int64.
        point: (R,) int64, the number of the point among the item's.
        steps: (R,) int64, steps taken.
        alive: (R,) bool, whether the row holds a pair that has not ended.
        kept: `Walk.keeps` tensors (R, N), for the walk alone.
        rival: what this turn's pass gave for the walk's `Walk.rivals`.
    """

    points: Tensor
    item: Tensor
    point: Tensor
    steps: Tensor
    alive: Tensor
    kept: list[Tensor]
    rival: Rival | None = None

    def take(self, order: Tensor) -> Rows:
        """Keep the rows at these positions."""
        own = (self.points, self.item, self.point, self.steps, self.alive)
        points, item, point, steps, alive, *kept = (value.index_select(0, order) for value in (*own, *self.kept))
        return Rows(points, item, point, steps, alive, kept)


class Walk(abc.ABC):
    """A sampling method, as the queue runs it. Every tensor of a row depends on its item, point and step alone."""

    keeps: int = 0
    """How many tensors (R, N) it keeps with the rows from step to step, in ``rows.kept``, which begin as zeros."""

    def rounds(
        self, call: Call, items: Items, statistics: Statistics, points: int, tolerance: float | None
    ) -> Iterator[tuple[Tensor, int, int]]:
        """Go through rounds of points; see `rounds`, which this is unless a subclass says otherwise."""
        return rounds(call, points, tolerance, lambda: (statistics.mean, statistics.standard_error(keep=True)))

    @abc.abstractmethod
    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        """Write the first point of the rows that ``which`` (R,) bool names into ``rows.points``."""

    def rivals(self, items: Items, rows: Rows) -> Tensor | None:
        """Name a second class (R,) int64 of each row, whose gradients `end` and what follows find in ``rows.rival``."""
        return None

    def end(self, items: Items, rows: Rows, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return which rows contribute and which have ended, two (R,) bool, from the scores (R,) at their points.

        A walk is of a single step unless a subclass says otherwise. Rows that are not alive are ignored by the queue.
        """
        every = torch.ones_like(rows.alive)
        return every, every

    @abc.abstractmethod
    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        """Add what the rows of ``which`` (R,) bool contribute, with gradients (R, N) at their points.

        `Statistics.add` takes any values (R, N).
        """

    def move(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor) -> None:  # noqa: B027  # one step
        """Move the rows of ``which`` (R,) bool to their next point, in ``rows.points``."""


def rounds(
    call: Call, most: int, tolerance: float | None, estimate: Callable[[], tuple[Tensor, Tensor]]
) -> Iterator[tuple[Tensor, int, int]]:
    """Return rounds of 4, 8, 16, ... samples per item, at most ``most``, until the tolerance is met.

    That is of the standard error, relative to the norm of the mean; None for all samples in one round. ``estimate``
    gives the items' means (B, N) and their standard errors (B, N) so far. A round is the items (K,) int64 that need
    more, and the range ``first .. last-1`` of their samples.
    """
    if tolerance is None:
        return rounds_until(call, [most], lambda: torch.zeros(call.batch, dtype=torch.bool))

    def met() -> Tensor:
        mean, error = estimate()
        small: Tensor = error.norm(dim=1) <= tolerance * mean.norm(dim=1)
        return small

    doubled = itertools.takewhile(lambda last: last < most, (FIRST_ROUND << k for k in itertools.count()))
    return rounds_until(call, [*doubled, most], met)


def rounds_until(call: Call, ends: Sequence[int], met: Callable[[], Tensor]) -> Iterator[tuple[Tensor, int, int]]:
    """Go through rounds of samples until an item needs no more.

    Args:
        call: the items.
        ends: how many samples there are after each round.
        met: which items (B,) need no more; asked between rounds.

    Yields:
        As `rounds`.
    """
    wanted = torch.arange(call.batch, device=call.device)
    for first, last in itertools.pairwise([0, *ends]):
        yield wanted, first, last
        if last < ends[-1]:
            unmet = set(call.host.items(~met()))
            wanted = torch.tensor([i for i in wanted.tolist() if i in unmet], dtype=torch.int64, device=call.device)
            if wanted.numel() == 0:
                return


def walk_items(
    gradient: ScoreGradient,
    walk: Walk,
    *,
    points: int,
    tolerance: float | None = None,
) -> tuple[Tensor, Items, Statistics]:
    """Return scores (B,), as the model's owner gets them, items and statistics of walks from ``points`` starts each.

    With a tolerance, rounds of 4, 8, 16, ... points per item until the standard error of an item's mean, relative to
    the mean's norm, is at most that. A round ends for all its items before anyone looks, so the points of an item do
    not depend on the others. A `ModelError` names items with a score that is not finite.
    """
    call = gradient.call
    centers = gradient.layout.join(call.values)
    scores, targets = gradient.items()
    bad = call.host.items(~scores.isfinite())
    if bad:
        raise ModelError(f"model: expected finite scores, got NaN or infinity for {name_items(bad)}")
    statistics = Statistics.zeros(centers)
    with frozen_parameters(call.model):
        own = None if gradient.prepared.forward is None else scores  # only on a CPU, where it costs little to look
        items = Items(centers, call.item_ids, targets, own, call.host, lambda: gradient.base(scores, targets))
        queue = _Queue(gradient, items, walk, statistics)
        for wanted, first, last in walk.rounds(call, items, statistics, points, tolerance):
            queue.run(wanted, first, last)
    bad = call.host.items((statistics.not_finite > 0) | ~statistics.mean.isfinite().all(1))
    if bad:
        raise ModelError(
            f"model: expected finite scores and gradients near the items, got NaN or infinity around {name_items(bad)}"
        )
    return scores, items, statistics


class _Queue:
    """Runs (item, point) pairs through the model; a static queue keeps its rows to the end, for compiled models."""

    def __init__(self, gradient: ScoreGradient, items: Items, walk: Walk, statistics: Statistics) -> None:
        self._gradient = gradient
        self._items = items
        self._walk = walk
        self._statistics = statistics
        self._size = gradient.call.rows
        self._static = gradient.static
        self._host: HostReads = gradient.call.host

    def run(self, items: Tensor, first: int, last: int) -> None:
        """Run the points ``first .. last-1`` of the items at these positions (K,) to their end."""
        span = last - first
        total = items.shape[0] * span
        if total == 0:
            return
        rows = self._fresh_rows(items, first, span, total)
        handed_out: Tensor | int = rows.item.shape[0]
        surely_waiting = total - rows.item.shape[0]
        while True:
            ended = self._turn(rows)
            handed_out = self._refill(rows, ended, handed_out, items, first, span, total)
            surely_waiting -= rows.item.shape[0]
            if surely_waiting >= 0:
                continue  # even if every row had ended, there was a pair for each: no need to ask
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
            points=self._items.centers.new_zeros(size, self._items.centers.shape[1]),
            item=items[pair // span],
            point=first + pair % span,
            steps=torch.zeros_like(pair),
            alive=alive,
            kept=[],
        )
        rows.kept = [torch.zeros_like(rows.points) for _ in range(self._walk.keeps)]
        self._walk.start(self._items, rows, alive)
        return rows

    def _turn(self, rows: Rows) -> Tensor:
        """Evaluate all rows, add or move each; returns which ended."""
        walk, items, statistics = self._walk, self._items, self._statistics
        targets = None if items.targets is None else items.targets[rows.item]
        rivals = walk.rivals(items, rows)
        if rivals is None:
            scores, gradients = self._gradient(rows.points, rows.item, targets)
        else:
            scores, gradients, rows.rival = self._gradient.with_rivals(rows.points, rows.item, targets, rivals)
        statistics.evaluations.index_add_(0, rows.item, rows.alive.long() * (1 if rivals is None else 2))
        statistics.not_finite.index_add_(0, rows.item, (rows.alive & ~scores.isfinite()).long())
        counts, ended = walk.end(items, rows, scores)
        ended = ended & rows.alive
        walk.contribute(items, rows, gradients, counts & rows.alive, statistics)
        walk.move(items, rows, gradients, rows.alive & ~ended)
        rows.steps = rows.steps + 1
        return ended

    def _refill(
        self, rows: Rows, ended: Tensor, handed_out: Tensor | int, items: Tensor, first: int, span: int, total: int
    ) -> Tensor:
        """Give the rows that ended to the next pairs, in order; returns how many pairs were handed out."""
        pair = handed_out + ended.cumsum(0) - 1
        refill = ended & (pair < total)
        pair = pair.clamp(max=total - 1)
        rows.item = torch.where(refill, items[pair // span], rows.item)
        rows.point = torch.where(refill, first + pair % span, rows.point)
        rows.steps = torch.where(refill, 0, rows.steps)
        rows.alive = rows.alive & (~ended | refill)
        self._walk.start(self._items, rows, refill)
        return handed_out + ended.sum()

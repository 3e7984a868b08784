"""Adversarial gradient integration: what the score loses on the ways to adversarial examples of other classes.

Pan, Li and Zhu, "Explaining Deep Neural Network Models with Adversarial Gradient Integration", IJCAI 2021, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.arguments import check_integer, check_positive, name_items
from xai_fast.attribution.sampled import SampledExplanation, SampledMethod
from xai_fast.engine.baselines import baseline_rows
from xai_fast.engine.call import Call
from xai_fast.engine.gradients import FlatInputs, Rival
from xai_fast.engine.layers import Layer
from xai_fast.engine.points import Items, Rows, Statistics, Walk
from xai_fast.errors import InputError, bad_argument

__all__ = ["AGI", "AdversarialExplanation"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AdversarialExplanation(SampledExplanation):
    """Attributions by `AGI`, means over paths; ``evaluations`` are gradients, two at each point, of both classes.

    Attributes:
        paths: (B,) int64, paths that were taken, one for each class.
        reached: (B,) int64, those of them that reached their class, in fewer than ``max_steps`` steps.
    """

    paths: Tensor
    reached: Tensor


class _AdversarialPath(Walk):
    """Steps by the sign of another class's gradient, until that class is predicted; one path for each of K classes."""

    keeps = 1  # the sum along the path

    def __init__(self, call: Call, others: list[int], step: float, max_steps: int, low: Tensor, high: Tensor) -> None:
        self.step, self.max_steps, self.low, self.high = step, max_steps, low, high
        self.others = torch.tensor(others, device=call.device)
        self.reached = torch.zeros(call.batch, dtype=torch.int64, device=call.device)

    @override
    def rivals(self, items: Items, rows: Rows) -> Tensor:
        other = self.others[rows.point]
        return other + (other >= cast("Tensor", items.targets)[rows.item])

    @override
    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        rows.kept[0].masked_fill_(which[:, None], 0.0)
        rows.points = torch.where(which[:, None], items.centers[rows.item], rows.points)

    @override
    def end(self, items: Items, rows: Rows, scores: Tensor) -> tuple[Tensor, Tensor]:
        there = cast("Rival", rows.rival).predicted
        self.reached.index_add_(0, rows.item, (there & rows.alive).long())
        ended = there | (rows.steps == self.max_steps - 1)
        return ended, ended

    @override
    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        there = cast("Rival", rows.rival).predicted[:, None]
        last = gradients * (rows.points - self._next(rows))  # that of a path that has not reached its class
        statistics.add(rows.kept[0] + torch.where(there, 0.0, last), rows.item, which)

    @override
    def move(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor) -> None:
        moved = self._next(rows)
        rows.kept[0].addcmul_(gradients, rows.points - moved)
        rows.points = moved

    def _next(self, rows: Rows) -> Tensor:
        return (rows.points + self.step * cast("Rival", rows.rival).gradients.sign()).clamp(self.low, self.high)


class AGI(SampledMethod[AdversarialExplanation]):
    """What the target's score loses along paths from the item to adversarial examples, by entry.

    For each of ``classes`` other classes k a path begins at the item and takes steps clip(x + step * sign(grad f_k)),
    until the model predicts k or ``max_steps``. Each adds -F times the change of x, F the gradient of the target's
    score before it. Attributions (B, ...) are in units of the score: the mean over the paths, in the paper the sum.

    Cost: at most ``2 * classes * max_steps`` gradients per item.
    Limits: paths end where a class wins, at no baseline. Single outputs and callable targets are refused.

    Args:
        model: with several classes; see `SampledMethod`, as for ``score`` and the options that follow.
        step: of each entry, in the model's input units (epsilon in the paper, for data from 0 to 1).
        classes: at most so many other classes, spread evenly over all but the target; the limit of a ``tolerance``.
        max_steps: steps per path, at least 1 (m in the paper).
        low: the data's least value, in the model's input units: a number, or one per channel. None for no limit.
        high: its largest value, likewise.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        step: float = 0.05,
        classes: int = 20,
        max_steps: int = 15,
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        score: str = "auto",
        precision: str = "fp32",
        tolerance: float | None = None,
        embeddings: Layer | None = None,
    ) -> None:
        super().__init__(model, score=score, precision=precision, tolerance=tolerance, embeddings=embeddings)
        self.step = check_positive("step", step)
        self.classes = check_integer("classes", classes, 1)
        self.max_steps = check_integer("max_steps", max_steps, 1)
        self.low, self.high = low, high

    @override
    def _explain(self, call: Call) -> AdversarialExplanation:
        if callable(call.objective.target):
            raise bad_argument("target", "classes, since paths lead to other classes", "a callable")
        others = call.objective.classes(call.run(call.take(range(1)), call.positions(range(1)))) - 1
        if others == 0:
            raise bad_argument("model", "several classes, since paths lead to other classes", "a single output")
        count = min(self.classes, others)
        # In the order of van der Corput, so that the first rounds of a tolerance are spread over all classes, too.
        spread = [k * others // count for k in sorted(range(count), key=lambda k: f"{k:032b}"[::-1])]
        walk = _AdversarialPath(call, spread, self.step, self.max_steps, *self._range(call))
        fields, _, found = self._walked(call, walk, count)
        return AdversarialExplanation(**fields, paths=found.count, reached=walk.reached)

    def _range(self, call: Call) -> tuple[Tensor, Tensor]:
        """Give the least and the largest value of each entry, (1, N) or (1, 1)."""
        low, high = (
            call.values[0].new_full((1, 1), none) if limit is None else baseline_rows(name, limit, call)[:, 0]
            for name, limit, none in (("low", self.low, -torch.inf), ("high", self.high, torch.inf))
        )
        items = FlatInputs(call.values).join(call.values)
        outside = call.host.items(((items < low) | (items > high)).any(1))
        if outside:
            raise InputError(f"inputs: expected values from low to high, got others in {name_items(outside)}")
        return low, high

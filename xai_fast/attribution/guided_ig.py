"""Guided integrated gradients: a path from a baseline to the item that moves the entries of small gradients first.

Kapishnikov, Venugopalan, Avci, Wedin, Terry and Bolukbasi, "Guided Integrated Gradients: An Adaptive Path Method for
Removing Noise", CVPR 2021, Algorithm 1; the bound on the distance from the straight path is that of the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from xai_fast.arguments import check_integer, check_share
from xai_fast.attribution.sampled import PathExplanation, SampledMethod, like_inputs
from xai_fast.engine.baselines import baseline_rows, read_baseline
from xai_fast.engine.call import Call
from xai_fast.engine.layers import Layer
from xai_fast.engine.points import Items, Rows, Statistics, Walk, walk_items

__all__ = ["GuidedIG"]


class _GuidedPath(Walk):
    """One path from each of the baselines (1 or B, K, N)."""

    keeps = 2  # the sum along the path, and where it begins

    def __init__(self, call: Call, baselines: Tensor, steps: int, fraction: float, max_dist: float) -> None:
        self.baselines, self.steps, self.fraction, self.max_dist = baselines, steps, fraction, max_dist
        self.begun = baselines.new_zeros(call.batch)  # the sum of the scores of an item's baselines

    @override
    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        of = rows.item if len(self.baselines) > 1 else torch.zeros_like(rows.item)
        rows.kept[0].masked_fill_(which[:, None], 0.0)
        rows.kept[1] = torch.where(which[:, None], self.baselines[of, rows.point], rows.kept[1])
        rows.points = torch.where(which[:, None], rows.kept[1], rows.points)

    @override
    def end(self, items: Items, rows: Rows, scores: Tensor) -> tuple[Tensor, Tensor]:
        begins = torch.where(rows.alive & (rows.steps == 0), scores, 0.0)
        self.begun.index_add_(0, rows.item, begins.to(self.begun))
        last = rows.steps == self.steps - 1
        return last, last

    @override
    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        statistics.add(rows.kept[0] + gradients * (items.centers[rows.item] - rows.points), rows.item, which)

    @override
    def move(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor) -> None:
        moved = self._moved(rows, gradients, items.centers[rows.item])
        rows.kept[0].addcmul_(gradients, moved - rows.points)
        rows.points = moved

    def _moved(self, rows: Rows, gradients: Tensor, item: Tensor) -> Tensor:
        """Give the next points (R, N), whose L1 distance from the item is less by one step's share of the whole."""
        begin, entries = rows.kept[1], item.shape[1]
        along = ((rows.steps + 1).to(item) / self.steps)[:, None]
        low = torch.lerp(begin, item, (along - self.max_dist).clamp(min=0.0))
        high = torch.lerp(begin, item, (along + self.max_dist).clamp(max=1.0))
        x = torch.where((rows.points - begin).abs() < (low - begin).abs(), low, rows.points)  # who lags catches up
        room = (high - x).abs()
        cost = gradients.abs().masked_fill(room == 0, math.inf)
        distance = (item - x).abs().sum(1, True, dtype=torch.float64)
        wanted = distance - (item - begin).abs().sum(1, True, dtype=torch.float64) * (1 - along)

        # Groups of the smallest gradients, each of a fraction of all entries and of those that equal its largest.
        ordered, size = _sorted(cost), int(self.fraction * (entries - 1)) + 1
        last, taken = math.ceil(entries / size) - 1, torch.zeros_like(rows.item)[:, None]
        group, beyond = torch.zeros_like(cost, dtype=torch.int32), torch.empty_like(cost, dtype=torch.int32)
        for _ in range(last):
            threshold = ordered.gather(1, (taken + size - 1).clamp(max=entries - 1))
            taken = torch.searchsorted(ordered, threshold, right=True)
            group += torch.gt(cost, threshold, out=beyond)
        which = group.long()
        reach = torch.zeros_like(wanted).repeat(1, last + 1).scatter_add_(1, which, room.double())
        # Whole groups move to the bound, and the one that is more than enough by a share of the way.
        share = ((wanted - reach.cumsum(1) + reach) / reach).clamp(0.0, 1.0).nan_to_num(0.0)  # a group without room
        return torch.lerp(x, high, share.to(x).gather(1, which))


def _sorted(values: Tensor) -> Tensor:
    """Sort rows; on a CPU that of numpy, which has vector instructions, is many times faster."""
    return torch.from_numpy(np.sort(values.numpy(), 1)) if values.device.type == "cpu" else values.sort(1).values


class GuidedIG(SampledMethod[PathExplanation]):
    """The gradient, integrated along a path from a baseline x' to the item x that leaves steep directions to the last.

    Each of ``steps`` steps takes an equal part of the L1 distance from x' to x. It moves the ``fraction`` of entries of
    smallest absolute gradient towards x, as far as ``max_dist`` lets them; if that is less than the step, the next ones
    too, and so on. What an entry moves, times its gradient at the beginning of the step, adds up to its attribution.
    Attributions (B, ...) sum to the difference of the two scores, up to ``delta``. Several inputs share a distance.

    Cost: ``steps`` gradients per item and baseline.
    Limits: entries that equal the baseline get zero; neither linear in the model nor symmetric.

    Args:
        model: see `SampledMethod`, as for ``score`` and the options that follow.
        steps: gradients along the path, at least 1.
        fraction: share of the entries that move together, above 0 and at most 1 (p in the paper).
        max_dist: how far an entry may be from the straight path, as a share of the way from x' to x: 0 is that path
            (`IntegratedGradients` with "riemann_left"), 1 the paper's path without anchors.
        baseline: x': a number, or one per channel, in the model's input units; "blur" or "mean" of the item; an array
            or a tensor that broadcasts to an item, or the file NAME.npy of one. Of K baselines (K, ...) the results
            are averaged. Several inputs have one for all, or a sequence.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        steps: int = 50,
        fraction: float = 0.1,
        max_dist: float = 0.02,
        baseline: float | Sequence[float] | str | Tensor | tuple[Tensor, ...] = 0.0,
        score: str = "auto",
        precision: str = "fp32",
        embeddings: Layer | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(model, score=score, precision=precision, embeddings=embeddings, compile=compile)
        self.steps = check_integer("steps", steps, 1)
        self.fraction = check_share("fraction", fraction, zero=False)
        self.max_dist = check_share("max_dist", max_dist)
        self.baseline = baseline
        self._baseline = read_baseline("baseline", baseline)

    @override
    def _explain(self, call: Call) -> PathExplanation:
        gradient, baselines = self._gradient(call), baseline_rows("baseline", self._baseline, call)
        walk = _GuidedPath(call, baselines, self.steps, self.fraction, self.max_dist)
        scores, items, found = walk_items(gradient, walk, points=baselines.shape[1])
        begun = walk.begun / baselines.shape[1]
        return PathExplanation(
            attributions=like_inputs(gradient, found.mean),
            scores=scores,
            targets=items.targets,
            evaluations=found.evaluations,
            delta=found.mean.sum(1) - (scores - begun),
            baseline_scores=begun,
        )

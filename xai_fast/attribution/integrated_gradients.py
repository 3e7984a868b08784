"""Integrated gradients: the gradient along the straight path from a baseline to the item.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from typing_extensions import Unpack, override

from xai_fast.arguments import check_choice, check_integer
from xai_fast.attribution.sampled import PathExplanation, SampledMethod, SampledOptions, like_inputs
from xai_fast.engine.baselines import baseline_rows, read_baseline
from xai_fast.engine.call import Call
from xai_fast.engine.gradients import ScoreGradient
from xai_fast.engine.points import Items, Rows, Statistics, Walk, rounds_until, walk_items
from xai_fast.engine.quadrature import RULES, nodes_of

__all__ = ["IntegratedGradients"]


class _Path(Walk):
    """Points on the lines from the baselines (1 or B, K, N), each number a node and one of them, with its weight."""

    keeps = 1  # x - x'

    def __init__(
        self, gradient: ScoreGradient, baselines: Tensor, rule: str, steps: int, tolerance: float | None
    ) -> None:
        self.gradient, self.baselines, self.several = gradient, baselines, baselines.shape[1]
        self.found = nodes_of(rule, steps, doubled=tolerance is not None)
        self.nodes, self.weights = (baselines.new_tensor(v)[:, None] for v in (self.found.nodes, self.found.weights))

    @override
    def rounds(
        self, call: Call, items: Items, statistics: Statistics, points: int, tolerance: float | None
    ) -> Iterator[tuple[Tensor, int, int]]:
        self.baseline_scores = self._baseline_scores(items)

        def met() -> Tensor:
            gap = items.scores - self.baseline_scores
            return (self.sums(statistics).sum(1) - gap).abs() <= (tolerance or 0.0) * gap.abs()

        for wanted, first, last in rounds_until(call, [self.several * n for n in self.found.ends], met):
            if first and not self.found.nested:
                statistics.mean.index_fill_(0, wanted, 0.0)
                statistics.count.index_fill_(0, wanted, 0)
            yield wanted, first, last

    def _baseline_scores(self, items: Items) -> Tensor:
        batch, several = len(items.centers), self.several
        item = torch.arange(batch * several, device=items.ids.device) // several
        split, rows = self.gradient.layout.split, self._baselines
        found = self.gradient.scores(lambda row: split(rows(item[row], row % several)), item, items.targets)
        return found.view(batch, several).mean(1)

    def _baselines(self, item: Tensor, which: Tensor) -> Tensor:
        return self.baselines[item if len(self.baselines) > 1 else torch.zeros_like(item), which]

    def sums(self, statistics: Statistics) -> Tensor:
        """Give the attributions (B, N) so far."""
        return statistics.mean / (statistics.count - self.several * self.found.beyond)[:, None]

    @override
    def start(self, items: Items, rows: Rows, which: Tensor) -> None:
        baseline = self._baselines(rows.item, rows.point % self.several)
        rows.kept[0] = items.centers.index_select(0, rows.item) - baseline
        rows.points = baseline.addcmul_(self.nodes[rows.point // self.several], rows.kept[0])

    @override
    def contribute(self, items: Items, rows: Rows, gradients: Tensor, which: Tensor, statistics: Statistics) -> None:
        weight = torch.where(which[:, None], self.weights[rows.point // self.several], 0.0)
        statistics.mean.index_add_(0, rows.item, (gradients * rows.kept[0]).mul_(weight))
        statistics.count.index_add_(0, rows.item, which.long())


class IntegratedGradients(SampledMethod[PathExplanation]):
    """The gradient of the score, integrated along the line from a baseline x' to the item x, times x - x'.

    Attributions are like the inputs (B, ...), in units of the score; their sum is the difference of the two scores, up
    to ``delta``.

    Cost: ``steps`` gradients per item and baseline.
    Limits: entries that equal the baseline get zero: a black one explains nothing black; see ``delta``.

    Args:
        model: see `SampledMethod`, as for ``score`` and what follows ``tolerance``.
        steps: nodes of the rule, at least 1, for "trapezoid" 2.
        rule: "gauss_legendre", "riemann_left", "riemann_right", "riemann_middle" or "trapezoid".
        baseline: x': a number, or one per channel, in the model's input units; "blur" or "mean" of the item; an array
            or a tensor that broadcasts to an item, or the file NAME.npy of one. With a dimension more than an item it
            is (K, ...), K baselines, over which the result is averaged. Several inputs have one for all or a sequence.
        tolerance: double the nodes until ``delta``, relative to the difference of the scores, is at most this; at most
            ``steps``. "trapezoid", "riemann_left" and "riemann_right" keep the nodes that they have, the others do not,
            which takes up to twice the evaluations. None for all steps at once.

    Raises:
        InputError: an option is out of range.
    """

    def __init__(
        self,
        model: Callable[..., object],
        *,
        steps: int = 50,
        rule: str = "gauss_legendre",
        baseline: float | Sequence[float | Tensor] | str | Tensor = 0.0,
        **options: Unpack[SampledOptions],
    ) -> None:
        super().__init__(model, **options)
        self.rule = check_choice("rule", rule, RULES)
        self.steps = check_integer("steps", steps, 1 + (rule == "trapezoid"))
        self.baseline = baseline
        self._baseline = read_baseline("baseline", baseline)

    @override
    def _explain(self, call: Call) -> PathExplanation:
        gradient = self._gradient(call)
        walk = _Path(gradient, baseline_rows("baseline", self._baseline, call), self.rule, self.steps, self.tolerance)
        scores, items, found = walk_items(gradient, walk, points=self.steps, tolerance=self.tolerance)
        sums = walk.sums(found)
        return PathExplanation(
            attributions=like_inputs(gradient, sums),
            scores=scores,
            targets=items.targets,
            evaluations=found.evaluations,
            delta=sums.sum(1) - (scores - walk.baseline_scores),
            baseline_scores=walk.baseline_scores,
        )

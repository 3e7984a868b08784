"""Removal interactions: which cells of a layer's map do more, or less, together than one by one.

With F the score as a function of the map x, and "without" cells that hold a baseline,

    I_ij  = F(x) - F(x without i) - F(x without j) + F(x without i and j)
    I_ijq = the sum over subsets T of {i, j, q} of (-1)^|T| F(x without T)

the cross derivative that Taylor-CAM has at x, integrated over the square from the baseline to x. It is one of the two
terms of ArchDetect (Tsang, Rambhatla and Liu, "How does this interaction affect me? Interpretable attribution for
feature interactions", NeurIPS 2020), which averages the square of this one and of the same difference in the context
where all other cells are removed. Here it keeps its sign. It is not Taylor-CAM.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from xai_fast.arguments import check_choice, check_integer
from xai_fast.engine.layers import Layer
from xai_fast.engine.objective import SCORES, WeightedOutputs
from xai_fast.graph import ItemScores, ScoreFunction, traced
from xai_fast.interaction.behind_layer import BehindLayer, CellBaseline, Cut

__all__ = ["SIGNS", "RemovalInteractions"]

SIGNS = ("positive", "both")


class RemovalInteractions(BehindLayer):
    """Interactions of the cells of a feature map, by removing one, both, or three of them.

    `explain` gives an `InteractionMap`. Its ``sums`` are I with its sign, (B, n, n) or (B, n, n, n), each set of cells
    once (i < j < q); zero where a cell is not on the shortlist. ``attributions`` are I^2. What follows the layer is
    traced, as for `TaylorCAM`. Inputs may be integers.

    Cost: ``1 + n + comb(shortlist, 2)`` evaluations of what follows the layer per item of n cells; at order 3
    ``comb(shortlist, 3)`` more.
    Limits: cells off the shortlist have no interactions; ``baseline`` decides what removed means. Differences within
    the rounding of the scores are zero; an item with none left has the fact "no_interactions".

    Args:
        model: a module in evaluation mode.
        layer: whose output is the feature map; all layouts that `TaylorCAM` takes.
        baseline: what a removed cell holds: a number, values (C,), one per channel, or a tensor that broadcasts to the
            layer's output for one item, positions and channels as the layer has them.
        score: F, see `xai_fast.engine.objective.SCORES`. "log_odds" is linear in the model's outputs, with its slopes
            at the item: the target's output minus the mean of the others, weighted by their softmax at x. Thus F does
            not saturate, nor bend where another class becomes the strongest rival. Others are taken as they are.
        shortlist: how many cells, those of largest ``|F(x) - F(x without i)|``, are combined; None for all.
        sign: "positive" ranks by the value, and interactions below zero, of cells that stand in for one another, get
            salience zero; "both" ranks by magnitude.
        order: 2 for pairs, 3 for triples.
        layout: of the layer's output, see `xai_fast.GradCAM`; None to find out.
        grid: (h, w) of the cells where the layer's output is tokens; None to find out from a picture's patches.
        skip_tokens: tokens at the beginning that stand for no cell, and are never removed; None to find out.

    Raises:
        InputError: an option is out of range, or there is no such layer.
    """

    name = "removal_interactions"

    def __init__(
        self,
        model: nn.Module,
        layer: Layer,
        *,
        baseline: CellBaseline = 0.0,
        score: str = "log_odds",
        shortlist: int | None = 8,
        sign: str = "positive",
        order: int = 2,
        layout: str | None = None,
        grid: Sequence[int] | None = None,
        skip_tokens: int | None = None,
    ) -> None:
        super().__init__(model, layer, baseline=baseline, layout=layout, grid=grid, skip_tokens=skip_tokens)
        self.score = check_choice("score", score, SCORES)
        self.order = check_integer("order", order, 2, 3)
        self.shortlist = None if shortlist is None else check_integer("shortlist", shortlist, self.order)
        self.sign = check_choice("sign", sign, SIGNS)

    def _found(self, cut: Cut) -> dict[str, Any]:
        function, size = self._function(cut)
        batch, n = len(cut.output), cut.positions
        scores = ItemScores(traced(function, cut.output).graph, function.inputs)
        whole = function.scores(cut.outputs, *function.inputs)[:, None]
        single = whole - _without(cut, scores, torch.arange(n, device=whole.device).expand(batch, n)[..., None])
        strongest = single.abs().sort(dim=1, descending=True, stable=True).indices[:, : self.shortlist]
        chosen = strongest.sort(1).values  # (B, s)
        index = torch.arange(chosen.shape[1], device=whole.device)
        subsets = [torch.combinations(index, size) for size in range(1, self.order + 1)]
        # F(x) - F(x without T), by the size of T
        effects = [single.gather(1, chosen), *(whole - _without(cut, scores, chosen[:, t]) for t in subsets[1:])]
        total = _alternating_sum(effects, subsets)
        rounding = 32 * torch.finfo(total.dtype).eps * (size + whole.abs() + single.abs().amax(1, keepdim=True))
        total = total.where(total.abs() > rounding, 0)
        sums = total.new_zeros(batch, *[n] * self.order)
        place: Any = (torch.arange(batch, device=sums.device)[:, None], *chosen[:, subsets[-1]].unbind(-1))
        sums[place] = total
        ranked = sums.clamp(min=0) if self.sign == "positive" else sums
        runs = 1 + n + sum(effect.shape[1] for effect in effects[1:])
        return {
            "attributions": ranked.square(),
            "sums": sums,
            "directed": False,
            "evaluations": torch.full((batch,), runs, device=sums.device),
            "facts": {"no_interactions": ~ranked.flatten(1).any(1)},
        }

    def _function(self, cut: Cut) -> tuple[ScoreFunction, Tensor]:
        """Give F, with the slopes of log-odds at each item, and the size of what it sums, (B, 1)."""
        function = cut.function
        if function.objective is None or callable(function.objective.target):
            return function, torch.zeros_like(cut.scores)[:, None]
        linear = WeightedOutputs(function.objective.target, self.score)
        slopes = linear.slopes(cut.outputs, cut.classes)
        if self.score == "log_odds":
            function = replace(function, objective=linear, classes=slopes)
        return function, linear.size(cut.outputs, slopes)[:, None]


def _without(cut: Cut, scores: ItemScores, cells: Tensor) -> Tensor:
    """Score each item without each of K sets of its cells (B, K, size): (B, K)."""
    batch, count, size = cells.shape
    found = []
    for row in torch.split(torch.arange(batch * count, device=cells.device), cut.rows):
        item = row.div(count, rounding_mode="floor")
        removed = cut.output.new_zeros(len(row), cut.positions).scatter_(1, cells.reshape(-1, size)[row], 1)
        mask = cut.axes.output(removed[..., None], cut.output).bool()
        found.append(scores(torch.where(mask, cut.baseline, cut.output[item]), item))
    return torch.cat(found).reshape(batch, count) if found else cut.scores.new_zeros(batch, 0)


def _alternating_sum(effects: Sequence[Tensor], subsets: Sequence[Tensor]) -> Tensor:
    """Sum -(-1)^|T| effects over the subsets T of each of the largest sets."""
    largest = subsets[-1]
    total = torch.zeros_like(effects[-1])
    for size, (effect, known) in enumerate(zip(effects, subsets, strict=True), 1):
        base = len(subsets[0]) ** torch.arange(size - 1, -1, -1, device=known.device)
        for members in itertools.combinations(range(largest.shape[1]), size):
            place = torch.searchsorted((known * base).sum(1), (largest[:, members] * base).sum(1))
            total = total - (-1) ** size * effect[:, place]
    return total

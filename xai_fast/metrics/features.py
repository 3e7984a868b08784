"""Attributions of features beside the scores without them, for metrics that hold one against the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from xai_fast.arguments import check_integer
from xai_fast.attribution.masks import Game
from xai_fast.engine.call import Call
from xai_fast.engine.draws import MAX_SEED, random_entries
from xai_fast.engine.features import Grouping
from xai_fast.engine.masked import Baseline, baseline_inputs
from xai_fast.metrics.checks import check_attributions, check_not_nan
from xai_fast.metrics.results import Array, MetricResult

__all__ = ["FeatureScores", "correlation"]

_CELLS = 14
_STEP = 4  # of the draws, so that they are not those of a method with the same seed


class FeatureScores(Game):
    """The features of items, with their attributions and the scores where some of them are replaced.

    Args:
        call: the items; one input.
        attributions: (B, C', ...) like the inputs, or without channels; one channel stands for all of them.
        features: which entries go together: "cells", a grid of at most 14 cells per dimension of pictures, and each
            column of rows (B, N) by itself; or see `xai_fast.engine.features.Features`: None for each entry by itself,
            a number of cells per dimension, integers that broadcast to the inputs, or "superpixels".
        baseline: what takes their place: a number, one per channel or column, "blur" or "mean" of the item, or a tensor
            that broadcasts to the inputs.
        seed: of what is drawn, 0 to 2**32 - 1.

    Attributes:
        entries: (B, 1 or C, ...) float64, the attributions of the entries.
        attributions: (B, K) float64, the sums of the features' entries; 0 beyond an item's features.
        exists: (B, K) bool, whether the item has so many features.
    """

    def __init__(
        self, call: Call, attributions: Array, features: Grouping, baseline: Baseline = 0.0, seed: int = 0
    ) -> None:
        self.seed = check_integer("seed", seed, 0, MAX_SEED)
        if isinstance(features, str) and features == "cells":
            features = tuple(min(side, _CELLS) for side in call.values[0].shape[2:]) or None
        super().__init__(call, features, lambda inputs: baseline_inputs("baseline", baseline, inputs))
        fitted = self.masked.fitted(attributions)
        check_attributions(fitted)
        if fitted.shape[1] != self.masked.inputs.shape[1]:  # nobody says which channels of the inputs these are
            fitted = fitted.sum(1, keepdim=True)
        self.entries = fitted.detach().double()
        self.attributions = self.by_feature(self.entries)
        counts = torch.tensor(self.features.counts, device=call.device)
        self.exists = torch.arange(self.features.count, device=call.device) < counts[:, None]

    def by_feature(self, entries: Tensor) -> Tensor:
        """Sum entries (B, 1 or C, ...) over the features, (B, K); a single channel is each, where features differ."""
        index = self.features.index
        if index.ndim > 2 and index.shape[1] == 1:
            entries = entries.sum(1, keepdim=True)
        shape = (len(entries), max(index.shape[1], entries.shape[1]), *entries.shape[2:])
        places, values = (part.expand(shape).flatten(1) for part in (index, entries))
        return entries.new_zeros(len(entries), self.features.count).scatter_add_(1, places, values)

    def without(self, absent: Callable[[Tensor], Tensor], item: Tensor) -> tuple[Tensor, Tensor]:
        """Score rows (R,) of items without features, ``absent`` (r, K) bool of the rows (r,).

        Returns:
            The sums of the attributions of what was replaced, (R,) float64, and the scores that are lost, (R,).
        """
        sums = []

        def present(row: Tensor) -> Tensor:
            gone = absent(row)
            sums.append((self.attributions[item[row]] * gone).sum(1))
            return ~gone

        lost = self.lost(self.play(present, item), item)
        return torch.cat(sums), lost

    def lost(self, scores: Tensor, item: Tensor) -> Tensor:
        """Take scores (R,) of rows from those of their items."""
        found = self.scores[item] - scores
        check_not_nan(torch.zeros_like(self.scores).index_add_(0, item, found)[:, None])
        return found

    def random_subsets(self, item: Tensor, number: Tensor, size: Tensor) -> Tensor:
        """Draw ``size`` (R,) of the features of items (R,): those with the smallest of the number's random numbers.

        Returns:
            (R, K) bool.
        """
        drawn = self.draw("normal", item, number).masked_fill_(~self.exists[item], torch.inf)
        return drawn <= drawn.sort(1).values.gather(1, size[:, None] - 1)

    def draw(self, kind: str, item: Tensor, number: Tensor) -> Tensor:
        """Draw a number (R, K) float64 for each feature of items (R,), see `random_entries`."""
        like = self.attributions.new_empty(len(item), self.features.count)
        return random_entries(like, self.call.item_ids[item], number, kind, self.seed, _STEP)

    def result(self, values: Tensor, curves: Tensor | None = None) -> MetricResult:
        """Give the values (B,) of a metric."""
        return MetricResult(values, self.evaluations, self.targets, curves)


def correlation(a: Tensor, b: Tensor, exists: Tensor | None = None) -> Tensor:
    """Compute Pearson's correlation of (..., n) and (..., n), of those that exist.

    Returns:
        (...) float64; 0, as of things that have nothing in common, where one is constant up to the rounding of its
        dtype.
    """
    count = (torch.ones_like(a) if exists is None else exists).double()
    parts, constant = [], torch.zeros((), dtype=torch.bool, device=a.device)
    for values in (a, b):
        wide = values.double() * count
        centred = (wide - wide.sum(-1, keepdim=True) / count.sum(-1, keepdim=True)) * count
        constant = constant | (centred.abs().amax(-1) <= 32 * torch.finfo(values.dtype).eps * wide.abs().amax(-1))
        parts.append(centred / torch.linalg.vector_norm(centred, dim=-1, keepdim=True))
    found: Tensor = (parts[0] * parts[1]).sum(-1)
    return found.masked_fill(constant, 0.0)

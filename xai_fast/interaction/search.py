"""The sets of each order in turn: all of them while that is affordable, then extensions of the strongest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.errors import ModelError
from xai_fast.interaction.candidates import Scored, Strongest
from xai_fast.interaction.effects import aggregated, effect_of
from xai_fast.interaction.groups import Features
from xai_fast.interaction.order_ranking import OrderRanking
from xai_fast.kernels import combinations
from xai_fast.kernels.tuple_join import extensions
from xai_fast.taylor.sets import SetDerivatives

__all__ = ["BUDGET", "DEFAULT_PARENTS", "KEPT", "Search"]

BUDGET = 1e12
"""Floating-point operations that exhaustive orders may take by default: a minute or so on a few cores."""

DEFAULT_PARENTS = (1000, 300, 100, 30, 10)
"""Sets whose extensions are looked at where an order is not exhaustive and ``top_k`` is None: the first of these that
the budget allows, else the last, which is the paper's number."""

KEPT = 1_000_000
"""Sets of each order that are kept by default."""

_COMBINATIONS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class Search:
    """Looks at the sets of features, order after order; see `xai_fast.TNID` for the options."""

    features: Features
    derivatives: SetDerivatives
    effect: str
    aggregate: str
    exhaustive_order: int | str
    top_k: int | None
    budget: float
    keep: int

    def orders(self, highest: int) -> dict[int, OrderRanking]:
        """Rank the sets of all orders, from 1 to the highest."""
        best, candidates = self._all(1)
        found = {1: self._ranking(best, candidates, True)}
        spent, exhaustive = 0.0, True
        for order in range(2, highest + 1):
            cost = self._cost(order, self.features.combinations(order)) if exhaustive else 0.0
            exhaustive = exhaustive and self._affordable(order, spent + cost)
            spent += cost
            best, candidates = self._all(order) if exhaustive else self._extended(best.sets[: self._parents(order)])
            found[order] = self._ranking(best[: self.keep], candidates, exhaustive)
        return found

    def _affordable(self, order: int, cost: float) -> bool:
        if isinstance(self.exhaustive_order, str):
            return cost <= self.budget
        return order <= self.exhaustive_order

    def _cost(self, order: int, combinations: int) -> float:
        return float(self.derivatives.operations(order, combinations))

    def _parents(self, order: int) -> int:
        """Choose how many sets are extended to this order."""
        if self.top_k is not None:
            return self.top_k
        directions = self.features.offsets[-1]
        affordable = (p for p in DEFAULT_PARENTS if self._cost(order, p * directions) <= self.budget)
        return next(affordable, DEFAULT_PARENTS[-1])

    def _ranking(self, best: Scored, candidates: int, exhaustive: bool) -> OrderRanking:
        return OrderRanking(
            sets=best.sets.cpu().numpy(),
            effects=best.effects.cpu().numpy(),
            spread=best.spread.cpu().numpy(),
            names=self.features.names,
            candidates=candidates,
            exhaustive=exhaustive,
        )

    def _strongest(self) -> Strongest:
        # What is extended may be more than what is kept for the result.
        return Strongest(max(self.keep, self.top_k or DEFAULT_PARENTS[0]))

    def _all(self, order: int) -> tuple[Scored, int]:
        """Look at all sets; give the strongest, and how many there were."""
        strongest = self._strongest()
        total = combinations.count(len(self.features), order)
        for begin, effects, spread in self._numbered(order, total):
            numbers = torch.arange(begin, begin + len(effects), device=effects.device)
            wanted = strongest.wanted(effects)
            if wanted is not None:  # a set is only written out if it is among the strongest
                numbers, effects, spread = numbers[wanted], effects[wanted], spread[wanted]
            strongest.add(Scored(combinations.unrank(numbers, order), effects, spread))
        return strongest.best(), total

    def _numbered(self, order: int, total: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Go through all sets by their combinatorial numbers: the first of a block, effects, spread."""
        if not self.features.grouped:
            for begin, _, values in self.derivatives.exhaustive(order):
                yield begin, *self._aggregated(values, None)
            return
        at_once = self._sets_at_once(order)
        for begin in range(0, total, at_once):
            numbers = torch.arange(begin, min(begin + at_once, total), device=self.derivatives.x.device)
            yield begin, *self._measured(combinations.unrank(numbers, order))

    def _extended(self, parents: Tensor) -> tuple[Scored, int]:
        """Look at the extensions of sets by one feature; give the strongest, and how many there were."""
        strongest = self._strongest()
        candidates = 0
        for block in extensions(parents, len(self.features)):
            for sets in torch.split(block.long(), self._sets_at_once(parents.shape[1] + 1)):
                strongest.add(Scored(sets, *self._measured(sets)))
                candidates += len(sets)
        return strongest.best(), candidates

    def _sets_at_once(self, order: int) -> int:
        widest = max(len(axes) for axes in self.features.axes)
        return max(1, _COMBINATIONS_AT_ONCE // int(widest**order))

    def _measured(self, sets: Tensor) -> tuple[Tensor, Tensor]:
        """Compute effect and spread of sets of features (T, k)."""
        if not self.features.grouped:
            return self._aggregated(self.derivatives.of(sets), None)
        directions, counts = self.features.expanded(sets)
        return self._aggregated(self.derivatives.of(directions), counts)

    def _aggregated(self, values: Tensor, counts: Tensor | None) -> tuple[Tensor, Tensor]:
        effects, spread = aggregated(effect_of(values, self.effect, counts), self.aggregate)
        # A sum is finite only if all of it is.
        if not bool(torch.isfinite(effects.sum() + spread.sum())):
            raise ModelError(
                "model: expected finite mixed derivatives at the representatives, got NaN or infinity; is a feature's "
                "scale extreme, or has the model a pole there?"
            )
        return effects, spread

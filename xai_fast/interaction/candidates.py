"""Which sets are looked at, and which are kept: extensions of the best sets by one feature, and a running best.

Memory is proportional to what is kept, never to the number of candidates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.kernels import combinations

__all__ = ["Scored", "Strongest", "extensions", "ordered"]

_POSITIONS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Scored:
    """Sets with their effects.

    Attributes:
        sets: (T, k) int64, rising.
        effects: (T,) float64.
        spread: (T,) float64.
    """

    sets: Tensor
    effects: Tensor
    spread: Tensor

    def __len__(self) -> int:
        return self.sets.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Scored:
        return Scored(self.sets[rows], self.effects[rows], self.spread[rows])


def ordered(scored: Scored) -> Scored:
    """Put sets in order: the largest magnitude first, of equals the lexicographically first set.

    Args:
        scored: distinct sets in any order, finite effects.

    Returns:
        The same sets.
    """
    strength = scored.effects.abs()
    order = torch.argsort(strength, descending=True, stable=True)
    along = strength[order]
    equal = along[1:] == along[:-1]
    if bool(equal.any()):
        # Few are equal as a rule, but for those that are zero: only they are put in the order of their tuples.
        tied = torch.zeros(len(order), dtype=torch.bool, device=order.device)
        tied[1:] |= equal
        tied[:-1] |= equal
        places = tied.nonzero().flatten()
        rows = order[places]
        for column in scored.sets.unbind(1)[::-1]:
            rows = rows[torch.argsort(column[rows], stable=True)]
        order[places] = rows[torch.argsort(strength[rows], descending=True, stable=True)]
    return scored[order]


class Strongest:
    """The strongest sets of a stream; what comes in which order and in which blocks makes no difference.

    Args:
        keep: how many.
    """

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._parts: list[Scored] = []
        self._held = 0
        self._threshold = -1.0

    def add(self, scored: Scored) -> None:
        """Take further sets into account.

        Args:
            scored: sets that have not come before.
        """
        if self._threshold >= 0:
            scored = scored[scored.effects.abs() >= self._threshold]
        if not len(scored):
            return
        self._parts.append(scored)
        self._held += len(scored)
        if self._held > 2 * self.keep + _POSITIONS_AT_ONCE:
            self._parts = [self.best()]
            self._held = len(self._parts[0])
            self._threshold = float(self._parts[0].effects[-1].abs())

    def wanted(self, effects: Tensor) -> Tensor | None:
        """Tell which of some effects could be among the strongest.

        Args:
            effects: (T,).

        Returns:
            (T,) bool; None for all.
        """
        return effects.abs() >= self._threshold if self._threshold >= 0 else None

    def best(self) -> Scored:
        """Give the strongest so far, in the order of `ordered`; at least one set must have come."""
        together = Scored(
            torch.cat([p.sets for p in self._parts]),
            torch.cat([p.effects for p in self._parts]),
            torch.cat([p.spread for p in self._parts]),
        )
        return ordered(together)[: self.keep]


def extensions(
    parents: Tensor, features: int, *, min_support: int = 0, positions: int = _POSITIONS_AT_ONCE
) -> Iterator[Tensor]:
    """Go through the sets that have one feature more than one of the parents, each once.

    Position ``p * features + f`` stands for parent p with feature f. Its set is left out if f is in the parent, or if
    an earlier parent is a subset of the set too, which has then been given already.

    Args:
        parents: (K, k) int64, rising, distinct.
        features: D; features are 0 to D - 1.
        min_support: how many of a set's k + 1 subsets of k features must be among the parents.
        positions: at once.

    Yields:
        (T, k + 1) int64, rising, in the order of the positions.
    """
    order = parents.shape[1]
    numbers, by_number = combinations.rank(parents).sort()
    for begin in range(0, len(parents) * features, positions):
        place = torch.arange(begin, min(begin + positions, len(parents) * features), device=parents.device)
        parent, feature = place // features, place % features
        fresh = (parents[parent] != feature[:, None]).all(1)
        parent, feature = parent[fresh], feature[fresh]
        sets = torch.cat((parents[parent], feature[:, None]), 1).sort(1).values
        first = torch.full_like(parent, len(parents))
        support = torch.zeros_like(parent)
        for left_out in range(order + 1):
            subset = torch.cat((sets[:, :left_out], sets[:, left_out + 1 :]), 1)
            number = combinations.rank(subset)
            at = torch.searchsorted(numbers, number).clamp(max=len(parents) - 1)
            found = numbers[at] == number
            first = torch.where(found, torch.minimum(first, by_number[at]), first)
            support += found
        kept = (first == parent) & (support >= min_support)
        if bool(kept.any()):
            yield sets[kept]

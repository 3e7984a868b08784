"""Scored sets of features: their order, and the strongest of a stream of them.

Memory is proportional to what is kept, never to the number of candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Scored", "Strongest", "ordered"]

_SLACK = 1 << 18


@dataclass(frozen=True)
class Scored:
    """Sets (T, k) int64, rising, with their effects and the spread of these, (T,) float64."""

    sets: Tensor
    effects: Tensor
    spread: Tensor

    def __len__(self) -> int:
        return self.sets.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Scored:
        return Scored(self.sets[rows], self.effects[rows], self.spread[rows])


def ordered(scored: Scored) -> Scored:
    """Put distinct sets in order: the largest magnitude first, of equals the lexicographically first set."""
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
    """The ``keep`` strongest sets of a stream; what comes in which order and in which blocks makes no difference."""

    def __init__(self, keep: int) -> None:
        self.keep = keep
        self._parts: list[Scored] = []
        self._held = 0
        self._threshold = -1.0

    def add(self, scored: Scored) -> None:
        """Take sets into account that have not come before."""
        if self._threshold >= 0:
            scored = scored[scored.effects.abs() >= self._threshold]
        if not len(scored):
            return
        self._parts.append(scored)
        self._held += len(scored)
        if self._held > 2 * self.keep + _SLACK:
            self._parts = [self.best()]
            self._held = len(self._parts[0])
            self._threshold = float(self._parts[0].effects[-1].abs())

    def wanted(self, effects: Tensor) -> Tensor | None:
        """Tell which of some effects (T,) could be among the strongest; None for all."""
        return effects.abs() >= self._threshold if self._threshold >= 0 else None

    def best(self) -> Scored:
        """Give the strongest so far, in the order of `ordered`; at least one set must have come."""
        together = Scored(
            torch.cat([p.sets for p in self._parts]),
            torch.cat([p.effects for p in self._parts]),
            torch.cat([p.spread for p in self._parts]),
        )
        return ordered(together)[: self.keep]

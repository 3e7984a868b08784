"""Mixed derivatives of many sets for any graph: the interpreter, a chunk of sets at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from xai_fast.graph import ScoreFunction
from xai_fast.kernels import combinations
from xai_fast.taylor.cost import cost_of
from xai_fast.taylor.cross import cross_derivatives
from xai_fast.taylor.differentiable import Differentiable, differentiable
from xai_fast.taylor.lattice import Lattice

__all__ = ["GeneralSets"]

_SETS_AT_ONCE = 4096
"""Neighbours share subsets, but a lattice is built set by set: so many keep its memory and its first wait small."""


class GeneralSets:
    """The route for any graph.

    Args:
        function: the score.
        x: (B, ...).
        directions: (B, D, ...).
        memory_limit: bytes, or None.
    """

    def __init__(self, function: ScoreFunction, x: Tensor, directions: Tensor, memory_limit: int | None) -> None:
        self.function = function
        self.x = x
        self.directions = directions
        self.memory_limit = memory_limit

    @property
    def rules(self) -> Differentiable:
        """The trace."""
        return differentiable(self.function, self.x)

    def at(self, function: ScoreFunction, x: Tensor, directions: Tensor) -> GeneralSets:
        """Make the same route at other points."""
        return GeneralSets(function, x, directions, self.memory_limit)

    def of(self, sets: Tensor) -> Tensor:
        """Compute (B, T) from sets (T, k)."""
        out = self.x.new_empty(self.x.shape[0], sets.shape[0])
        ordered = torch.arange(sets.shape[0], device=sets.device)
        for column in sets.unbind(1)[::-1]:
            ordered = ordered[torch.argsort(column[ordered], stable=True)]
        for columns in torch.split(ordered, _SETS_AT_ONCE):
            out[:, columns] = cross_derivatives(
                self.function, self.x, self.directions, sets[columns].tolist(), memory_limit=self.memory_limit
            )
        return out

    def exhaustive(self, order: int) -> Iterator[tuple[int, int, Tensor]]:
        """Go through all sets of an order, block by block."""
        total = combinations.count(self.directions.shape[1], order)
        for begin in range(0, total, _SETS_AT_ONCE):
            end = min(begin + _SETS_AT_ONCE, total)
            yield begin, end, self.of(combinations.unrank(torch.arange(begin, end), order))

    def operations(self, order: int, sets: int) -> int:
        """Count floating-point operations of so many sets, for all points."""
        counted, directions = cost_of(self.rules.program), self.directions.shape[1]
        lattice = Lattice([tuple(range(order))])
        sizes = [*range(1, lattice.forward + 1), *range(lattice.backward + 1)]
        rows = sum(min(math.comb(directions, k), sets * math.comb(order, k)) for k in sizes)
        terms = sets * lattice.contracted_terms.term_order.numel()
        return self.x.shape[0] * (rows * counted.row_operations + terms * counted.row_kept)

"""Shapes, dtypes, edge inputs and tolerances of `tuple_sum`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import torch
from torch import Tensor

from xai_fast.kernels.tuple_sum import orders_of, subsets_of

__all__ = ["CASES", "TOLERANCE", "Case", "members_of"]

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}
"""Largest error of a sum relative to the largest sum, and of the root mean square."""


def members_of(tuples: list[tuple[int, ...]], directions: int, order: int) -> Tensor:
    """Name the rows of the subsets of tuples, (T, C) int32, where all subsets of D directions are there by rank."""
    first = 0
    table: dict[tuple[int, ...], int] = {}
    for size in range(1, orders_of(order)[0] + 1):
        sets = sorted(combinations(range(directions), size), key=lambda chosen: chosen[::-1])
        table |= {chosen: first + rank for rank, chosen in enumerate(sets)}
        first += len(sets)
    rows = [[table[tuple(chosen[i] for i in subset)] for subset in subsets_of(order)] for chosen in tuples]
    return torch.tensor(rows, dtype=torch.int32).reshape(len(tuples), len(subsets_of(order)))


@dataclass(frozen=True)
class Case:
    """One input of the kernel: all tuples of so many directions, or the first ``tuples`` of them."""

    name: str
    order: int
    directions: int
    units: int
    items: int = 2
    tuples: int | None = None
    dtype: torch.dtype = torch.float32

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments; what is overwritten holds NaN."""
        generator = torch.Generator().manual_seed(8)
        n, m = orders_of(self.order)
        tuples = list(combinations(range(self.directions), self.order))[: self.tuples]
        rows = sum(comb(self.directions, size) for size in range(1, n + 1))
        adjoints = sum(comb(self.directions, size) for size in range(m + 1))

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=self.dtype, generator=generator).to(device)

        return {
            "out": torch.full((self.items, len(tuples)), torch.nan, dtype=self.dtype, device=device),
            "derivatives": normal(self.items, self.order + 1, self.units),
            "rows": normal(self.items, rows, self.units),
            "adjoints": normal(self.items, adjoints, self.units),
            "members": members_of(tuples, self.directions, self.order).to(device),
            "order": self.order,
        }


CASES = (
    Case("pairs", order=2, directions=9, units=63),
    Case("triples", order=3, directions=9, units=320),
    Case("odd", order=3, directions=5, units=63, items=3),
    Case("one triple, one unit", order=3, directions=3, units=1, items=3),
    Case("quadruples", order=4, directions=7, units=130),
    Case("quintuples", order=5, directions=7, units=65),
    Case("sextuples", order=6, directions=7, units=33),
    Case("several blocks", order=3, directions=40, units=1100, items=1, tuples=500),
    Case("several tasks", order=2, directions=80, units=20),
    Case("no tuples", order=4, directions=4, units=20, tuples=0),
    Case("float64 triples", order=3, directions=6, units=131, dtype=torch.float64),
    Case("float64 quadruples", order=4, directions=6, units=19, dtype=torch.float64),
    Case("float64 quintuples", order=5, directions=6, units=64, dtype=torch.float64),
    Case("float64 sextuples", order=6, directions=6, units=9, dtype=torch.float64),
)

"""Shapes, dtypes, edge inputs and tolerances of `feed_forward_rows`; tests and benchmarks read them here."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
"""Largest error of an entry relative to the largest entry, and of the root mean square."""


@dataclass(frozen=True)
class Case:
    """One input of the kernel: rows of all sets of up to ``forward`` directions, adjoints up to ``backward``."""

    name: str
    items: int
    directions: int
    widths: tuple[int, ...]
    forward: int = 1
    backward: int = 0
    by_item: bool = False
    dtype: torch.dtype = torch.float32

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments; what is overwritten holds NaN."""
        generator = torch.Generator().manual_seed(10)
        count, units = self.directions, sum(self.widths)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=self.dtype, generator=generator).to(device)

        def indices(table: Sequence[tuple[int, ...]], columns: int) -> Tensor:
            return torch.tensor(table, dtype=torch.int32).reshape(len(table), columns).to(device)

        pairs = list(itertools.combinations(range(count), 2)) if self.forward > 1 else []
        triples = list(itertools.combinations(range(count), 3)) if self.forward > 2 else []
        row = {pair: count + at for at, pair in enumerate(pairs)}
        rest = [(row[j, k], row[i, k], row[i, j]) for i, j, k in triples]
        rows = count + len(pairs) + len(triples)
        adjoints = 1 + (count if self.backward else 0) + (len(pairs) if self.backward > 1 else 0)
        items = self.items if self.by_item else 1
        matrices = [normal(b, a) / a**0.5 for a, b in itertools.pairwise(self.widths)]
        none = normal(0)
        return {
            "rows": torch.full((self.items, rows, units), torch.nan, dtype=self.dtype, device=device),
            "adjoints": torch.full((self.items, adjoints, units), torch.nan, dtype=self.dtype, device=device),
            "derivatives": normal(self.items, 4, units),
            "first": normal(items, count, self.widths[0]),
            "last": normal(items, self.widths[-1]),
            "weights": torch.cat([none, *(matrix.flatten() for matrix in matrices)]),
            "transposed": torch.cat([none, *(matrix.T.flatten() for matrix in matrices)]),
            "widths": list(self.widths),
            "pairs": indices(pairs, 2),
            "triples": indices(triples, 3),
            "triple_pairs": indices(rest, 3),
        }


CASES = (
    Case("odd", items=3, directions=5, widths=(63, 7, 1), forward=2, backward=2, by_item=True),
    Case("one layer", items=2, directions=3, widths=(9,), forward=2, backward=1),
    Case("one unit", items=2, directions=2, widths=(1, 1), backward=1),
    Case("singles", items=4, directions=10, widths=(140, 100, 60, 20)),
    Case("triples", items=2, directions=10, widths=(130, 33, 17), forward=3, backward=2, by_item=True),
    Case("many rows", items=1, directions=70, widths=(65, 20), forward=2, backward=1),
    Case("float64", items=2, directions=6, widths=(34, 17, 9), forward=3, backward=2, dtype=torch.float64),
)

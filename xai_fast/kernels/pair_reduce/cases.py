"""Shapes, dtypes, edge inputs and tolerances of `pair_reduce`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}
"""Largest error of a sum relative to the largest sum, and of the root mean square."""


@dataclass(frozen=True)
class Case:
    """One input of the kernel."""

    name: str
    items: int
    rows: int
    columns: int
    units: int
    weighted: bool = True
    dtype: torch.dtype = torch.float32

    def arguments(self, device: str = "cpu") -> dict[str, Tensor | None]:
        """Build the arguments."""
        generator = torch.Generator().manual_seed(5)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=self.dtype, generator=generator).to(device)

        return {
            "sums": normal(self.items, self.rows, self.columns),
            "left": normal(self.rows, self.items, self.units),
            "right": normal(self.columns, self.items, self.units),
            "weight": normal(self.items, self.units) if self.weighted else None,
        }


CASES = (
    Case("one unit", items=2, rows=3, columns=5, units=1),
    Case("odd", items=3, rows=7, columns=5, units=63),
    Case("one row", items=2, rows=1, columns=1, units=1000),
    Case("few units", items=16, rows=25, columns=25, units=11),
    Case("aligned", items=2, rows=32, columns=32, units=256),
    Case("without weight", items=2, rows=25, columns=9, units=130, weighted=False),
    Case("several parts", items=2, rows=6, columns=9, units=20_003),
    Case("many rows", items=1, rows=70, columns=67, units=515),
    Case("float64", items=2, rows=13, columns=18, units=1003, dtype=torch.float64),
)

"""Shapes, dtypes, edge inputs and tolerances of `flux_accumulate`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 3e-6, torch.float64: 1e-14}
"""Largest absolute error of an entry of mean and m2, with contributions of the order of one."""


@dataclass(frozen=True)
class Case:
    """One input of the kernel."""

    name: str
    rows: int
    items: int
    entries: int
    dtype: torch.dtype = torch.float32
    gradient_dtype: torch.dtype | None = None
    with_m2: bool = True
    magnitude: bool = False
    with_points: bool = True
    negative_share: float = 0.6
    one_item: bool = False
    before: int = 3
    equal_rows: bool = False

    def arguments(self, device: str = "cpu") -> dict[str, Tensor | bool | None]:
        """Build the arguments. Rows that are not negative hold NaN and an item out of range: nobody may read them."""
        generator = torch.Generator().manual_seed(3)
        shape = (self.rows, self.entries)
        item = torch.randint(self.items, (self.rows,), generator=generator)
        if self.one_item:
            item[:] = self.items - 1
        negative = torch.rand(self.rows, generator=generator) < self.negative_share
        points = torch.randn(shape, dtype=self.dtype, generator=generator)
        gradients = torch.randn(shape, dtype=self.dtype, generator=generator)
        if self.equal_rows:  # as with the sign rule, where each point ends in the same corner: m2 is zero, or nearly
            item[:], points[:], gradients[:] = 0, points[0], gradients[0]
        points[~negative], gradients[~negative], item[~negative] = torch.nan, torch.nan, -1
        full = (self.items, self.entries)
        arguments = {
            "mean": torch.randn(full, dtype=self.dtype, generator=generator)
            if self.before
            else torch.zeros(full, dtype=self.dtype),
            "m2": torch.rand(full, dtype=self.dtype, generator=generator)
            if self.before
            else torch.zeros(full, dtype=self.dtype),
            "count": torch.full((self.items,), self.before),
            "centers": torch.randn(full, dtype=self.dtype, generator=generator),
            "points": points,
            "gradients": gradients.to(self.gradient_dtype or self.dtype),
            "item": item,
            "negative": negative,
        }
        moved: dict[str, Tensor | bool | None] = {name: value.to(device) for name, value in arguments.items()}
        if not self.with_m2:
            moved["m2"] = None
        if not self.with_points:
            moved["centers"] = moved["points"] = None
        return moved | {"magnitude": self.magnitude}


CASES = (
    Case("one entry", rows=4, items=2, entries=1),
    Case("odd", rows=5, items=3, entries=63),
    Case("image", rows=12, items=4, entries=3 * 32 * 32),
    Case("many rows of one item", rows=33, items=3, entries=130, one_item=True),
    Case("several blocks", rows=6, items=2, entries=20_003),
    Case("more items than rows", rows=3, items=40, entries=257, negative_share=1.0),
    Case("nothing negative", rows=5, items=2, entries=64, negative_share=0.0),
    Case("first points", rows=8, items=3, entries=515, before=0),
    Case("equal rows", rows=9, items=2, entries=515, before=0, equal_rows=True),
    Case("equal rows in float64", rows=9, items=2, entries=515, before=0, equal_rows=True, dtype=torch.float64),
    Case("magnitude", rows=9, items=3, entries=260, magnitude=True),
    Case("without m2", rows=9, items=3, entries=260, with_m2=False),
    Case("without points", rows=9, items=3, entries=260, with_points=False),
    Case("magnitude without points", rows=9, items=3, entries=260, with_points=False, magnitude=True),
    Case("float64", rows=7, items=3, entries=1003, dtype=torch.float64),
    Case("bfloat16", rows=7, items=3, entries=1004, gradient_dtype=torch.bfloat16),
    Case("many rows", rows=300, items=7, entries=33),
)

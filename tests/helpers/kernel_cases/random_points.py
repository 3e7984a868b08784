"""Shapes, dtypes, edge inputs and tolerances of `random_points`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-13}
"""Largest relative error of an entry, around a center of zeros."""


@dataclass(frozen=True)
class Case:
    """One input of the kernel."""

    name: str
    rows: int
    items: int
    entries: int
    dtype: torch.dtype = torch.float32
    radius: float = 1.0
    kind: str = "sphere"
    seed: int = 0
    step: int = 0
    first_id: int = 0
    all_active: bool = True
    center_scale: float = 0.0

    def arguments(self, device: str = "cpu") -> dict[str, Tensor | float | int | str]:
        """Build the arguments; ``points`` is filled with NaN."""
        generator = torch.Generator().manual_seed(1)
        item = torch.arange(self.rows) % self.items
        active = torch.ones(self.rows, dtype=torch.bool)
        if not self.all_active:
            active[::2] = False
        arguments = {
            "points": torch.full((self.rows, self.entries), torch.nan, dtype=self.dtype),
            "centers": self.center_scale * torch.randn(self.items, self.entries, dtype=self.dtype, generator=generator),
            "item": item,
            "item_ids": self.first_id + 3 * torch.arange(self.items),
            "point": torch.arange(self.rows) // self.items,
            "active": active,
        }
        moved = {name: value.to(device) for name, value in arguments.items() if isinstance(value, Tensor)}
        # In the order of the operator's arguments.
        return {**moved, "radius": self.radius, "kind": self.kind, "seed": self.seed, "step": self.step}


CASES = (
    Case("one entry", rows=3, items=1, entries=1),
    Case("odd", rows=5, items=2, entries=63),
    Case("tail of a block", rows=4, items=3, entries=1001, seed=7),
    Case("image", rows=6, items=4, entries=3 * 32 * 32, radius=0.1),
    Case("several blocks", rows=3, items=2, entries=20_003, radius=2.0, step=5),
    Case("large seed and ids", rows=4, items=4, entries=130, seed=2**32 - 1, first_id=2**33 + 5),
    Case("inactive rows", rows=7, items=3, entries=257, all_active=False),
    Case("around items", rows=6, items=3, entries=515, radius=0.3, center_scale=1.0),
    Case("float64", rows=5, items=2, entries=1003, dtype=torch.float64, seed=3),
    Case("float64 around items", rows=4, items=4, entries=64, dtype=torch.float64, center_scale=1.0),
    *(
        case
        for kind in ("box", "normal")
        for case in (
            Case(f"{kind} one entry", 3, 1, 1, kind=kind),
            Case(f"{kind} tail of a block", 4, 3, 1001, kind=kind, seed=7),
            Case(f"{kind} image", 6, 4, 3 * 32 * 32, kind=kind, radius=0.1),
            Case(f"{kind} several blocks", 3, 2, 20_003, kind=kind, radius=2.0, step=5),
            Case(f"{kind} large seed and ids", 4, 4, 130, kind=kind, seed=2**32 - 1, first_id=2**33 + 5),
            Case(f"{kind} inactive rows", 7, 3, 257, kind=kind, all_active=False),
            Case(f"{kind} around items", 6, 3, 515, kind=kind, radius=0.3, center_scale=1.0),
            Case(f"{kind} float64", 5, 2, 1003, torch.float64, kind=kind, seed=3, center_scale=1.0),
        )
    ),
)

"""Shapes, dtypes, edge inputs and tolerances of `sphere_step`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.kernels.sphere_step import RULES

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13}
"""Largest absolute error of an entry, with centers and radius of the order of one."""


@dataclass(frozen=True)
class Case:
    """One input of the kernel."""

    name: str
    rows: int
    items: int
    entries: int
    rule: str
    dtype: torch.dtype = torch.float32
    gradient_dtype: torch.dtype | None = None
    radius: float = 0.5
    gradient_scale: float = 1.0
    all_active: bool = True

    def arguments(self, device: str = "cpu") -> dict[str, Tensor | float | str]:
        """Build the arguments. The first row's gradient is zero, every fifth entry of the others is exactly zero."""
        generator = torch.Generator().manual_seed(2)
        shape = (self.rows, self.entries)
        item = torch.arange(self.rows) % self.items
        centers = torch.randn(self.items, self.entries, dtype=self.dtype, generator=generator)
        offset = torch.randn(shape, dtype=torch.float64, generator=generator)
        offset *= self.radius / offset.norm(dim=1, keepdim=True)
        gradients = self.gradient_scale * torch.randn(shape, dtype=torch.float64, generator=generator)
        gradients[:, ::5] = 0
        gradients[0] = 0
        active = torch.ones(self.rows, dtype=torch.bool)
        if not self.all_active:
            active[1::2] = False
        arguments = {
            "points": (centers[item].double() + offset).to(self.dtype),
            "centers": centers,
            "gradients": gradients.to(self.gradient_dtype or self.dtype),
            "item": item,
            "active": active,
        }
        moved: dict[str, Tensor | float | str] = {name: value.to(device) for name, value in arguments.items()}
        return moved | {"radius": self.radius, "rule": self.rule}


CASES = tuple(
    case
    for rule in RULES
    for case in (
        Case(f"{rule} two entries", rows=3, items=2, entries=2, rule=rule),
        Case(f"{rule} odd", rows=5, items=2, entries=63, rule=rule),
        Case(f"{rule} image", rows=6, items=4, entries=3 * 32 * 32, rule=rule),
        Case(f"{rule} several blocks", rows=4, items=2, entries=20_003, rule=rule, radius=2.0),
        Case(f"{rule} inactive rows", rows=7, items=3, entries=258, rule=rule, all_active=False),
        Case(f"{rule} tiny gradients", rows=4, items=3, entries=257, rule=rule, gradient_scale=1e-25),
        Case(f"{rule} huge gradients", rows=4, items=3, entries=257, rule=rule, gradient_scale=1e25),
        Case(f"{rule} float64", rows=5, items=2, entries=1003, rule=rule, dtype=torch.float64),
        Case(f"{rule} bfloat16", rows=4, items=4, entries=260, rule=rule, gradient_dtype=torch.bfloat16),
    )
)

"""Shapes, dtypes, edge inputs and tolerances of `relevance_ratio`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}
"""Largest error of an entry relative to the largest, and of the root mean square; of each kind of sum by itself."""


@dataclass(frozen=True)
class Case:
    """One input of the kernel."""

    name: str
    rows: int
    items: int
    units: int
    repeats: int = 1
    inner: int = 1
    with_bias: bool = True
    eps: float = 0.25
    with_sums: bool = True
    edges: bool = False
    dtype: torch.dtype = torch.float32

    def arguments(self, device: str = "cpu") -> dict[str, Tensor | int | float | None]:
        """Build the arguments; what is written holds NaN. An eps of 1/4 leaves no kind of sum small."""
        generator = torch.Generator().manual_seed(9)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=self.dtype, generator=generator).to(device)

        shape = (self.rows, self.items, self.units)
        out, sums = (torch.full((*shape[:2], n), torch.nan, device=device).double() for n in (self.units, 4))
        c, numerator, divisor = normal(*shape), normal(*shape[1:]), normal(*shape[1:])
        bias = normal(2, self.units // self.inner // self.repeats) if self.with_bias else None
        if self.edges:  # nothing to share, and where the stabiliser's sign and reach change
            numerator[:, ::5] = 0.0
            for start, edge in enumerate((0.0, -0.0, self.eps, -self.eps)):
                divisor[:, start::7] = edge
        return {
            "out": out.to(self.dtype),
            "sums": sums if self.with_sums else None,
            "c": c,
            "numerator": numerator,
            "divisor": divisor,
            "bias": bias,
            "inner": self.inner,
            "eps": self.eps,
        }


CASES = (
    Case("one unit", rows=1, items=1, units=1),
    Case("odd", rows=3, items=2, units=63, repeats=3, inner=3),
    Case("image", rows=1, items=2, units=64 * 28 * 28, inner=28 * 28),
    Case("image, several rows", rows=10, items=1, units=16 * 28 * 28, inner=28 * 28),
    Case("dense", rows=10, items=3, units=1000),
    Case("tokens", rows=3, items=2, units=50 * 192, repeats=50),
    Case("short runs", rows=2, items=2, units=2 * 30 * 49, repeats=2, inner=49),
    Case("without bias", rows=2, items=3, units=515, with_bias=False),
    Case("without sums", rows=2, items=3, units=515, with_sums=False),
    Case("edges", rows=2, items=2, units=300, inner=3, edges=True),
    Case("float64", rows=3, items=2, units=1003, inner=59, dtype=torch.float64),
    Case("edges in float64", rows=2, items=2, units=300, edges=True, dtype=torch.float64),
    Case("no stabiliser", rows=2, items=2, units=300, repeats=4, inner=5, eps=0.0, edges=True),
    Case("small stabiliser", rows=2, items=2, units=2048, repeats=16, inner=16, eps=1e-6, dtype=torch.float64),
    Case("several blocks", rows=4, items=2, units=20_003, inner=241),
)

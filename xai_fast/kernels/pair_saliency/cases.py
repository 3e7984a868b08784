"""Shapes, dtypes, edge inputs and tolerances of `pair_saliency`; tests and benchmarks read them here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["CASES", "TOLERANCE", "Case"]

TOLERANCE = {torch.float32: 3e-7, torch.float64: 5e-16}
"""Largest error of a saliency relative to itself; the pairs of `pair_top_k` are equal."""


@dataclass(frozen=True)
class Case:
    """One input of both operators; with ``k`` of `pair_top_k`."""

    name: str
    items: int
    positions: int
    symmetric: bool = True
    mask: str | None = None  # "shared", "each" or "nothing"
    k: int | None = None
    dtype: torch.dtype = torch.float32
    with_ties: bool = False

    def _mask(self, generator: torch.Generator) -> Tensor | None:
        shape = (self.positions, self.positions)
        if self.mask == "nothing":
            return torch.zeros(shape, dtype=torch.bool)
        if self.mask is None:
            return None
        return torch.rand((self.items, *shape) if self.mask == "each" else shape, generator=generator) < 0.6

    def arguments(self, device: str = "cpu") -> dict[str, Any]:
        """Build the arguments. What is overwritten holds NaN, or -7."""
        generator = torch.Generator().manual_seed(6)
        shape = (self.items, self.positions, self.positions)
        sums = torch.randn(shape, dtype=self.dtype, generator=generator)
        if self.with_ties:  # whole numbers from -2 to 2: their squares are equal and exact
            sums = sums.round().clamp(-2, 2)
        mask = self._mask(generator)
        rest = {"sums": sums.to(device), "symmetric": self.symmetric, "mask": None if mask is None else mask.to(device)}
        if self.k is None:
            return {"out": torch.full_like(sums, torch.nan, device=device)} | rest
        values = torch.full((self.items, self.k), torch.nan, dtype=self.dtype, device=device)
        pairs = torch.full((self.items, self.k, 2), -7, dtype=torch.int64, device=device)
        return {"values": values, "pairs": pairs} | rest


def _cases(symmetric: bool) -> tuple[Case, ...]:
    settings: dict[str, dict[str, Any]] = {
        "odd": {"items": 3, "positions": 7},
        "one position": {"items": 2, "positions": 1},
        "aligned": {"items": 2, "positions": 64},
        "many": {"items": 2, "positions": 67, "mask": "shared"},
        "masks": {"items": 3, "positions": 33, "mask": "each"},
        "float64": {"items": 2, "positions": 32, "dtype": torch.float64},
        "top one of a pair": {"items": 2, "positions": 2, "k": 1},
        "top odd": {"items": 3, "positions": 7, "k": 5},
        "top all": {"items": 2, "positions": 6, "k": 15},
        "top many": {"items": 2, "positions": 67, "k": 40, "mask": "shared"},
        "top masks": {"items": 3, "positions": 33, "k": 4, "mask": "each"},
        "top ties": {"items": 2, "positions": 50, "k": 100, "with_ties": True},
        "top of nothing": {"items": 2, "positions": 5, "k": 3, "mask": "nothing"},
        "top float64": {"items": 2, "positions": 31, "k": 9, "dtype": torch.float64},
    }
    direction = "mutual" if symmetric else "directed"
    return tuple(Case(f"{name}, {direction}", symmetric=symmetric, **chosen) for name, chosen in settings.items())


CASES = (*_cases(True), *_cases(False))

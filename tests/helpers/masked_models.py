"""Small models for methods that replace parts of an input, which count the rows that they are given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Curved:
    """Three outputs of items of a shape, not linear; a callable that is no module, so that it is run as it is."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        entries = math.prod(shape)
        self.first = torch.randn(entries, 6, generator=generator, dtype=torch.float64) / entries**0.5
        self.last = torch.randn(6, 3, generator=generator, dtype=torch.float64)
        self.batches: list[int] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.batches.append(len(x))
        return torch.tanh(2 * x.double().flatten(1) @ self.first) @ self.last


def score_of(model: Callable[[Tensor], Tensor], target: int) -> Callable[[Tensor], float]:
    """Score one item by its output."""
    return lambda item: float(model(item[None])[0, target])


def items(shape: Sequence[int], seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

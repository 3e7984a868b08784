"""A small network and a table for the tests of T-NID."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def network(features: int = 6, outputs: int = 1, activation: type[nn.Module] = nn.GELU) -> nn.Sequential:
    torch.manual_seed(3)
    return (
        nn.Sequential(
            nn.Linear(features, 9), activation(), nn.Linear(9, 7), activation(), nn.Linear(7, outputs)
        )
        .double()
        .eval()
    )  # fmt: skip


def rows(count: int = 40, features: int = 6, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.5, 2, features, dtype=torch.float64)
    return torch.randn(count, features, dtype=torch.float64, generator=generator) * scale + scale

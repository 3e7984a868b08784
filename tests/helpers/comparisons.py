"""Comparisons whose differences are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from xai_fast.comparison import Comparison

METHODS = ("neflag(points=20)", "lrp(gamma=0.25)", "occlusion", "edges", "random")
COSTS = (20.0, 1.0, 196.0, 0.0, 0.0)


def comparison(
    effects: Mapping[str, tuple[float, ...]],
    *,
    items: int = 40,
    better: str = "higher",
    noise: float = 0.05,
    methods: tuple[str, ...] = METHODS,
    **more: Any,
) -> Comparison:
    """Make scores that are the effect of the method, that of the item, and noise."""
    random = torch.Generator().manual_seed(0)
    of_item = torch.rand(items, generator=random, dtype=torch.float64)
    scores = {}
    for metric, means in effects.items():
        noisy = noise * torch.randn(len(methods), items, generator=random, dtype=torch.float64)
        scores[metric] = torch.tensor(means, dtype=torch.float64)[:, None] + of_item + noisy
    costs = torch.tensor(COSTS[: len(methods)], dtype=torch.float64)[:, None].repeat(1, items)
    names = tuple(f"photo {i}.jpg" for i in range(items))
    return Comparison(methods, scores, dict.fromkeys(scores, better), costs, names, **more)

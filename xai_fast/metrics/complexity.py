"""How few features an explanation is about: sparseness, complexity, effective complexity.

Sparseness: Chalasani, Chen, Chowdhury, Wu and Jha, "Concise Explanations of Neural Networks using Adversarial
Training", ICML 2020, section 4.1 (Gini index). Complexity: Bhatt, Weller and Moura, "Evaluating and Aggregating
Feature-based Model Explanations", IJCAI 2020, Definition 4 (entropy). Effective complexity: Nguyen and Martínez, "On
Quantitative Aspects of Model Interpretability", 2020, section 3.3 (features above a threshold).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from xai_fast.arguments import as_tensor, check_share
from xai_fast.metrics.checks import check_attributions
from xai_fast.terminal import ShortRepr

__all__ = ["Complexity", "complexity", "histogram_entropy"]


@dataclass(frozen=True, repr=False)
class Complexity(ShortRepr):
    """Complexity of the map of each item, of magnitudes of its N entries.

    Attributes:
        sparseness: (B,) the Gini index: 0 where all are equal, ``1 - 1/N`` where only one is not zero; larger is
            better. NaN for a map of zeros.
        entropy: (B,) of the shares of the sum, in nats: 0 where only one is not zero, ``ln N`` where all are equal;
            smaller is better. NaN for a map of zeros.
        effective: (B,) int64, entries above ``threshold`` of the largest; smaller is better.
    """

    sparseness: Tensor
    entropy: Tensor
    effective: Tensor


def complexity(attributions: Tensor | NDArray[Any], *, threshold: float = 0.01) -> Complexity:
    """Measure how the magnitudes of a map are distributed.

    Args:
        attributions: (B, C, ...) or (B, N), floating point.
        threshold: from 0 to 1, the share of the largest magnitude that an entry exceeds to count as effective.

    Returns:
        The three numbers of each item.

    Raises:
        InputError: the attributions are not finite or of another shape, or the threshold is out of range.
    """
    threshold = check_share("threshold", threshold)
    maps = as_tensor(attributions)
    check_attributions(maps)
    sizes = maps.detach().flatten(1).double().abs()
    entries = sizes.shape[1]
    place = torch.arange(1, entries + 1, dtype=sizes.dtype, device=sizes.device)
    shares = sizes / sizes.sum(1, keepdim=True)
    return Complexity(
        sparseness=(shares.sort(1).values * (2 * place - entries - 1)).sum(1) / entries,
        entropy=-torch.xlogy(shares, shares).sum(1),
        effective=(sizes > threshold * sizes.amax(1, keepdim=True)).sum(1),
    )


def histogram_entropy(maps: Tensor, bins: int) -> Tensor:
    """Give the entropy (B,) in nats of the histogram of each map (B, ...), from its smallest to its largest entry."""
    values = maps.flatten(1).double()
    low = values.amin(1, keepdim=True)
    width = values.amax(1, keepdim=True) - low
    index = ((values - low) / torch.where(width > 0, width, 1) * bins).long().clamp(max=bins - 1)
    counts = torch.zeros(len(values), bins, dtype=values.dtype, device=values.device)
    shares = counts.scatter_add_(1, index, torch.ones_like(values)) / values.shape[1]
    return -torch.xlogy(shares, shares).sum(1)

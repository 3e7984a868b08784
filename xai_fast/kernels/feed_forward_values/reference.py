"""The values in plain PyTorch, layer by layer: the definition of the kernel, and the fallback."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast.kernels.partition_sum.activations import ACTIVATIONS
from xai_fast.kernels.partition_sum.activations import derivatives as derivatives_of

__all__ = ["run"]


def run(
    derivatives: Tensor,
    x: Tensor,
    transposed: Tensor,
    biases: Tensor,
    widths: Sequence[int],
    activations: Sequence[str],
    parameters: Sequence[float],
) -> None:
    """Run the contract of `xai_fast.kernels.feed_forward_values`."""
    shapes = list(itertools.pairwise((x.shape[1], *widths)))
    matrices = torch.split(transposed, [before * after for before, after in shapes])
    each = len(parameters) // len(widths)
    y, end = x, 0
    for layer, (shape, matrix) in enumerate(zip(shapes, matrices, strict=True)):
        start, end = end, end + shape[1]
        z = y @ matrix.view(shape) + biases[start:end]
        own = parameters[each * layer : each * layer + len(ACTIVATIONS[activations[layer]])]
        s = derivatives_of(activations[layer], own, z, derivatives.shape[1] - 1)
        derivatives[:, :, start:end] = torch.stack(s, 1)
        y = s[0]

"""Hessian-vector products by autograd, forward over reverse: for whatever PyTorch can differentiate twice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai_fast.engine.call import frozen_parameters
from xai_fast.engine.memory import is_out_of_memory
from xai_fast.graph import ScoreFunction

__all__ = ["hessian_products"]

# Activations of a network are some dozens of times as large as its input; products keep those of the gradient too.
_COPIES_OF_AN_ITEM = 64
_ROWS_ON_CPU = 32


def hessian_products(function: ScoreFunction, x: Tensor, V: Tensor, U: Tensor, limit: int) -> Tensor:
    """Compute V^T H U by one product H v for each direction of the smaller side.

    Args:
        function: the score.
        x: (B, ...).
        V: (B, nV, ...).
        U: (B, nU, ...).
        limit: bytes, from which the number of products at once is guessed; halved when memory does not suffice.

    Returns:
        (B, nV, nU).
    """
    if U.shape[1] < V.shape[1]:
        return hessian_products(function, x, U, V, limit).transpose(1, 2)
    rows = max(1, limit // (_COPIES_OF_AN_ITEM * max(1, x.numel()) * x.element_size()))
    if x.device.type == "cpu":
        rows = min(rows, _ROWS_ON_CPU)
    inputs = function.inputs

    def total(y: Tensor) -> Tensor:
        return function(y, *inputs).sum()

    gradient = torch.func.grad(total)

    def product(direction: Tensor) -> Tensor:
        result: Tensor = torch.func.jvp(gradient, (x,), (direction,))[1]
        return result

    directions = V.transpose(0, 1)
    with frozen_parameters(function.model), sdpa_kernel(SDPBackend.MATH):
        while True:
            try:
                products = torch.func.vmap(product, chunk_size=rows)(directions)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error) or rows == 1:
                    raise
                rows //= 2
    return torch.matmul(products.transpose(0, 1).flatten(2), U.flatten(2).transpose(1, 2)).detach()

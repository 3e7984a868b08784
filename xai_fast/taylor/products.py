"""Hessian-vector products by autograd, for whatever PyTorch can differentiate twice.

Forward over reverse, many directions at once, where the operations have forward derivatives and can be batched; else
the gradient is differentiated once more, direction by direction.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from xai_fast.engine.context import frozen_parameters
from xai_fast.engine.memory import is_out_of_memory
from xai_fast.errors import UnsupportedOperation, XaiFastError
from xai_fast.graph import ScoreFunction
from xai_fast.graph.decompositions import WrittenOut

__all__ = ["hessian_products"]

# Activations of a network are some dozens of times as large as its input; products keep those of the gradient too.
_COPIES_OF_AN_ITEM = 64
_ROWS_ON_CPU = 32


def hessian_products(function: ScoreFunction, x: Tensor, V: Tensor, U: Tensor, limit: int) -> Tensor:
    """Return V^T H U (B, nV, nU), of V (B, nV, ...) and U, by one product H v for each direction of the smaller side.

    How many products run at once is guessed from the limit in bytes, and halved when memory does not suffice. That
    autograd cannot differentiate twice is an `UnsupportedOperation` with its own message.
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
    with frozen_parameters(function.model), sdpa_kernel(SDPBackend.MATH), WrittenOut():
        while True:
            try:
                products = torch.func.vmap(product, chunk_size=rows)(directions)
                break
            except RuntimeError as error:
                if isinstance(error, XaiFastError) or (is_out_of_memory(error) and rows == 1):
                    raise
                if not is_out_of_memory(error):
                    products = _one_by_one(total, x, directions)
                    break
                rows //= 2
    return torch.matmul(products.transpose(0, 1).flatten(2), U.flatten(2).transpose(1, 2)).detach()


def _one_by_one(total: Callable[[Tensor], Tensor], x: Tensor, directions: Tensor) -> Tensor:
    """Differentiate the gradient along each direction (n, B, ...)."""
    with torch.enable_grad():
        point = x.detach().requires_grad_()
        try:
            (gradient,) = torch.autograd.grad(total(point), point, create_graph=True)
            if not gradient.requires_grad:  # it does not depend on x
                return torch.zeros_like(directions)
            return torch.stack([torch.autograd.grad(gradient, point, v, retain_graph=True)[0] for v in directions])
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            expected = "operations that autograd can differentiate twice"
            raise UnsupportedOperation(f"model: expected {expected}, got {error}") from error

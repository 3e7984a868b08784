"""Mixed derivatives by nested forward-mode differentiation: slow, literal, the reference of all tests.

``D^k F[v_1, ..., v_k]`` is the derivative at zero of ``t -> D^(k-1) F[v_1, ..., v_(k-1)](x + t v_k)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

__all__ = ["mixed_derivative"]


def mixed_derivative(function: Callable[[Tensor], Tensor], x: Tensor, directions: Sequence[Tensor]) -> Tensor:
    """Differentiate a function once along each direction.

    Args:
        function: any function of one tensor that `torch.func.jvp` can differentiate.
        x: where.
        directions: like ``x`` each; none gives the value.

    Returns:
        The derivative, like the function's value.
    """
    with sdpa_kernel(SDPBackend.MATH):
        return _nested(function, x, tuple(directions))


def _nested(function: Callable[[Tensor], Tensor], x: Tensor, directions: tuple[Tensor, ...]) -> Tensor:
    if not directions:
        return function(x)
    *others, last = directions

    def derivative(point: Tensor) -> Tensor:
        return _nested(function, point, tuple(others))

    return torch.func.jvp(derivative, (x,), (last,))[1]

"""Mixed derivatives by nested forward-mode differentiation: slow, literal, the reference of all tests.

``D^k F[v_1, ..., v_k]`` is the derivative at zero of ``t -> D^(k-1) F[v_1, ..., v_(k-1)](x + t v_k)``.

PyTorch's own derivatives of some fused operations do not hold beyond the first order. Nested forward mode through
``layer_norm`` and ``instance_norm`` gives wrong second derivatives without a word, and reverse mode wrong third ones;
the third ones of ``logcumsumexp`` are NaN, those of ``celu`` are rounded to float32, and ``glu`` and ``hardsigmoid``
have no second forward derivatives at all. So these are written out here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from typing_extensions import override

__all__ = ["WrittenOut", "mixed_derivative", "mixed_derivatives"]


def mixed_derivative(function: Callable[[Tensor], Tensor], x: Tensor, directions: Sequence[Tensor]) -> Tensor:
    """Differentiate a function once along each direction.

    Args:
        function: any function of one tensor that `torch.func.jvp` can differentiate.
        x: where.
        directions: like ``x`` each; none gives the value.

    Returns:
        The derivative, like the function's value.
    """
    return mixed_derivatives(function, x, directions)[-1]


def mixed_derivatives(
    function: Callable[[Tensor], Tensor], x: Tensor, directions: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Differentiate a function along none of the directions, the first, the first two, and so on: `mixed_derivative`.

    All come from the pass that the last one needs, which takes as long as a bit more than all others together.

    Args:
        function: any function of one tensor that `torch.func.jvp` can differentiate.
        x: where.
        directions: like ``x`` each.

    Returns:
        The value and as many derivatives as there are directions, like the value each.
    """
    with sdpa_kernel(SDPBackend.MATH), WrittenOut():
        return _nested(function, x, tuple(directions))


def _nested(function: Callable[[Tensor], Tensor], x: Tensor, directions: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if not directions:
        return (function(x),)
    *others, last = directions

    def derivatives(point: Tensor) -> tuple[Tensor, ...]:
        return _nested(function, point, tuple(others))

    both: tuple[tuple[Tensor, ...], ...] = torch.func.jvp(derivatives, (x,), (last,))
    values, slopes = both
    return (*values, slopes[-1])


class WrittenOut(TorchFunctionMode):
    """Runs the operations whose higher derivatives PyTorch gets wrong as what they are made of."""

    @override
    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        run: Callable[..., object] = _WRITTEN_OUT.get(func, func)
        return run(*args, **dict(kwargs or {}))


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    dims = tuple(range(x.ndim - len(normalized_shape), x.ndim))
    y = (x - x.mean(dims, keepdim=True)) / (x.var(dims, correction=0, keepdim=True) + eps).sqrt()
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if use_input_stats or running_mean is None or running_var is None:
        dims = tuple(range(2, x.ndim))
        mean, variance = x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)
    else:
        mean, variance = (v.reshape(-1, *[1] * (x.ndim - 2)) for v in (running_mean, running_var))
    y = (x - mean) / (variance + eps).sqrt()
    y = y if weight is None else y * weight.reshape(-1, *[1] * (x.ndim - 2))
    return y if bias is None else y + bias.reshape(-1, *[1] * (x.ndim - 2))


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    value, gate = x.chunk(2, dim)
    return value * gate.sigmoid()


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return (x + 3).clamp(0, 6) / 6


def _celu(x: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    return torch.where(x > 0, x, alpha * (x / alpha).expm1())


def _log_cumulative_sum(x: Tensor, dim: int) -> Tensor:
    return x.exp().cumsum(dim).log()


_WRITTEN_OUT: dict[object, Callable[..., Any]] = {
    functional.layer_norm: _layer_norm,
    functional.instance_norm: _instance_norm,
    functional.glu: _glu,
    functional.hardsigmoid: _hardsigmoid,
    functional.celu: _celu,
    torch.logcumsumexp: _log_cumulative_sum,
    Tensor.logcumsumexp: _log_cumulative_sum,
}

"""Operations that are written as others before the rules see them."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from xai_fast.graph.lift import ATTENTION, LAYER_NORM
from xai_fast.graph.overloads import overloads_of

__all__ = ["NOT_DIFFERENTIABLE", "RANDOM", "WrittenOut", "decompositions", "fusing"]

aten = torch.ops.aten

# Operations through which no derivative passes.
NOT_DIFFERENTIABLE = overloads_of(
    aten.detach, aten.argmax, aten.argmin, aten.argsort, aten.sign, aten.floor, aten.ceil, aten.round, aten.trunc,
    aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne, aten.logical_and, aten.logical_or, aten.logical_not,
    aten.logical_xor, aten.bitwise_and, aten.bitwise_or, aten.bitwise_not, aten.isnan, aten.isinf, aten.any,
    aten.all, aten.ones_like, aten.zeros_like, aten.full_like, aten.empty_like, aten.new_zeros, aten.new_ones,
    aten.new_full, aten.new_empty, aten.heaviside, aten.nonzero, aten.searchsorted, aten.bucketize,
)  # fmt: skip

RANDOM = overloads_of(
    aten.rand, aten.randn, aten.rand_like, aten.randn_like, aten.randint, aten.bernoulli, aten.native_dropout,
    aten.normal, aten.multinomial, aten.randperm, aten.rrelu_with_noise,
)  # fmt: skip

# These have rules of their own, so PyTorch's decompositions of them are left out.
_OWN_RULES = overloads_of(
    aten.hardtanh, aten.leaky_relu, aten.silu, aten.mish, aten.elu, aten.softplus, aten.hardswish, aten.hardsigmoid,
    aten.threshold, aten.prelu, aten.selu, aten.relu6, aten.unfold, aten.split, aten.split_with_sizes,
    aten.unbind, aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.upsample_nearest1d, aten.reflection_pad1d,
    aten.reflection_pad2d, aten.replication_pad2d, aten.max_pool2d_with_indices, aten._adaptive_avg_pool2d,
    aten.avg_pool2d, aten.index_select, aten.t, aten.transpose, aten.roll, aten.tril, aten.triu, aten.detach,
    aten.log_sigmoid_forward, aten.diagonal, aten.channel_shuffle, aten.pixel_shuffle,
    aten.pixel_unshuffle, aten.embedding, aten._scaled_dot_product_flash_attention_for_cpu,
)  # fmt: skip

_fused: ContextVar[tuple[str, ...]] = ContextVar("fused", default=())


@contextlib.contextmanager
def fusing(names: tuple[str, ...]) -> Iterator[None]:
    """Trace "attention", "layer_norm" or both in one piece: they have first derivatives only, carried back."""
    before = _fused.set(names)
    try:
        yield
    finally:
        _fused.reset(before)


def _shifted_exponentials(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    # The shift cancels in every derivative, so it is a constant; what would come through it is rounding only.
    shift = x.amax(dim, keepdim=True).detach()
    exponentials = (x - shift).exp()
    return exponentials, exponentials.sum(dim, keepdim=True), shift


def _softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    exponentials, total, _ = _shifted_exponentials(x.float() if half_to_float else x, dim)
    return exponentials * total.reciprocal()


def _log_softmax(x: Tensor, dim: int, half_to_float: bool) -> Tensor:
    x = x.float() if half_to_float else x
    _, total, shift = _shifted_exponentials(x, dim)
    return (x - shift) - total.log()


def _safe_softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Softmax whose rows of -inf are zero, as attention masks them."""
    shift = x.amax(dim, keepdim=True).detach()
    exponentials = (x - torch.where(shift == -float("inf"), torch.zeros_like(shift), shift)).exp()
    total = exponentials.sum(dim, keepdim=True)
    return exponentials * (total + (total == 0)).reciprocal()


def _logsumexp(x: Tensor, dim: Sequence[int] | int, keepdim: bool = False) -> Tensor:
    dims = [dim] if isinstance(dim, int) else list(dim)
    shift = x.amax(dims, keepdim=True).detach()
    result = (x - shift).exp().sum(dims, keepdim=True).log() + shift
    return result if keepdim else _squeezed(result, dims)


def _squeezed(x: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in sorted((d % x.ndim for d in dims), reverse=True):
        x = x.squeeze(dim)
    return x


def _standardized(x: Tensor, dims: list[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.mean(dims, keepdim=True)
    centered = x - mean
    inverse = ((centered * centered).mean(dims, keepdim=True) + eps).rsqrt()
    return centered * inverse, mean, inverse


def _layer_norm(
    x: Tensor, size: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    if "layer_norm" in _fused.get():
        if weight is None and bias is None:
            return NotImplemented  # type: ignore[no-any-return]  # it stays
        result, *statistics = LAYER_NORM(x, size, None, None, eps)
    else:
        result, *statistics = _standardized(x, list(range(-len(size), 0)), eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias, *statistics


def _group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, rows: int, channels: int, size: int, groups: int, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    result, mean, inverse = _standardized(x.reshape(rows, groups, -1), [2], eps)
    result = result.reshape(x.shape)
    shape = [1, channels] + [1] * (x.ndim - 2)
    result = result if weight is None else result * weight.reshape(shape)
    result = result if bias is None else result + bias.reshape(shape)
    return result, mean.reshape(rows, groups), inverse.reshape(rows, groups)


def _batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, eps: float
) -> Tensor:
    """In evaluation mode an affine map of each channel."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    scale = (variance + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    shift = shift if bias is None else shift + bias
    return x * scale.reshape(shape) + shift.reshape(shape)


def _native_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    if training or mean is None or variance is None:
        raise RuntimeError(
            "batch normalisation with the statistics of the batch, which makes items depend on each other"
        )
    empty = x.new_empty(0)
    return _batch_norm(x, weight, bias, mean, variance, eps), empty, empty


def _divide(x: Tensor | float, other: Tensor | float) -> Tensor:
    if isinstance(other, Tensor):
        return x * other.reciprocal()
    return torch.mul(x, 1.0 / other)


def _variance(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    dims = list(range(x.ndim)) if dim is None else list(dim)
    centered = x - x.mean(dims, keepdim=True)
    count = 1
    for d in dims:
        count *= x.shape[d]
    return (centered * centered).sum(dims, keepdim=keepdim) * (
        1.0 / max(0.0, count - (1.0 if correction is None else correction))
    )


def _variance_and_mean(x: Tensor, dim: Sequence[int] | None = None, **options: Any) -> tuple[Tensor, Tensor]:
    dims = list(range(x.ndim)) if dim is None else list(dim)
    return _variance(x, dim, **options), x.mean(dims, keepdim=options.get("keepdim", False))


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    return -functional.softplus(-x, threshold=1e9), x.new_empty(0)


def _trilinear(
    a: Tensor,
    b: Tensor,
    c: Tensor,
    expand_a: Sequence[int],
    expand_b: Sequence[int],
    expand_c: Sequence[int],
    summed: Sequence[int],
    unroll_dim: int = 1,
) -> Tensor:
    def unsqueezed(x: Tensor, dims: Sequence[int]) -> Tensor:
        return functools.reduce(torch.unsqueeze, dims, x)

    return (unsqueezed(a, expand_a) * unsqueezed(b, expand_b) * unsqueezed(c, expand_c)).sum(list(summed))


def _addmm(added: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    if added.ndim == 1 and beta == 1 and alpha == 1:
        return NotImplemented  # a linear layer, which has a rule
    return beta * added + alpha * torch.mm(a, b)


def _product_along(x: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None) -> Tensor:
    """Multiply halves, whose derivatives hold at zero too."""
    while x.shape[dim] > 1:
        half = x.shape[dim] // 2
        product = x.narrow(dim, 0, half) * x.narrow(dim, half, half)
        x = product if x.shape[dim] == 2 * half else torch.cat([product, x.narrow(dim, 2 * half, 1)], dim)
    return x if keepdim else x.squeeze(dim)


def _product(x: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    return _product_along(x.reshape(-1), 0)


def _cumulative_product(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    size, step = x.shape[dim], 1
    while step < size:
        rest = x.narrow(dim, step, size - step) * x.narrow(dim, 0, size - step)
        x = torch.cat([x.narrow(dim, 0, step), rest], dim)
        step *= 2
    return x


def _log_cumulative_sum(x: Tensor, dim: int) -> Tensor:
    shift = x.amax(dim, keepdim=True).detach()
    return (x - shift).exp().cumsum(dim).log() + shift


def _clamp(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low)
    return x if high is None else torch.minimum(x, high)


def _copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    return source.to(target.dtype).expand(target.shape).clone()


def _slice_scatter(
    x: Tensor, source: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """Write the end as a place in x: vmap overflows at the largest integer, which stands for it."""
    if end is not None and end <= x.shape[dim]:
        return NotImplemented
    return aten.slice_scatter.default(x, source, dim, start, x.shape[dim], step)


def _tan(x: Tensor) -> Tensor:
    return x.sin() * x.cos().reciprocal()


def _sinh(x: Tensor) -> Tensor:
    return (x.expm1() - (-x).expm1()) * 0.5


def _cosh(x: Tensor) -> Tensor:
    return (x.exp() + (-x).exp()) * 0.5


def _power_of_number(base: float, x: Tensor) -> Tensor:
    if base <= 0:
        raise RuntimeError(f"a power of {base}, which is not positive")
    return (x * math.log(base)).exp()


class WrittenOut(TorchFunctionMode):
    """Writes out what PyTorch fuses into an operation that has no second derivative, or mixes items.

    Instance normalisation becomes means, not batch norm with the batch's statistics; so does pooling to one cell, which
    else sets strides; recurrent layers are products of matrices, not one call of oneDNN or cuDNN. A linear layer has
    its bias, also where its input is transposed, or a vector, and PyTorch would add it by itself.
    """

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Run a function."""
        if func in (functional.instance_norm, torch.instance_norm):
            return _instance_norm(*args, **dict(kwargs or {}))
        if func is functional.linear and args:
            x = args[0].contiguous()
            return func(x if x.ndim > 1 else x[None], *args[1:], **dict(kwargs or {})).reshape(*x.shape[:-1], -1)
        if func is functional.scaled_dot_product_attention and "attention" in _fused.get():
            return _attention(*args, **dict(kwargs or {}))
        if func in _POOLED:
            return _pooled(func, _POOLED[func], *args, **dict(kwargs or {}))
        if func in (torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu):
            libraries: tuple[Any, ...] = (torch.backends.mkldnn, torch.backends.cudnn)
            enabled = [library.enabled for library in libraries]
            try:
                for library in libraries:
                    library.enabled = False
                return func(*args, **dict(kwargs or {}))
            finally:
                for library, before in zip(libraries, enabled, strict=True):
                    library.enabled = before
        return func(*args, **dict(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, *masks: Any, scale: float | None = None, **others: Any
) -> Tensor:
    """Leave attention without a mask, on the CPU, in one piece."""
    fits = query.is_cpu and query.ndim == 4 and query.shape[:2] == key.shape[:2] and query.shape[3] == value.shape[3]
    if not fits or any(isinstance(option, Tensor) or option for option in (*masks, *others.values())):
        return functional.scaled_dot_product_attention(query, key, value, *masks, scale=scale, **others)  # type: ignore[misc]
    result: Tensor = ATTENTION(query, key, value, scale=scale)[0]
    return result


_POOLED = {torch.adaptive_avg_pool1d: 1, functional.adaptive_avg_pool2d: 2, functional.adaptive_avg_pool3d: 3}


def _pooled(func: Callable[..., object], axes: int, input: Tensor, output_size: Sequence[int] | int) -> object:
    if output_size not in (1, axes * (1,), axes * [1]):
        return func(input, output_size)
    return input.mean(tuple(range(-axes, 0)), keepdim=True)


def _instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Tensor:
    if not use_input_stats and running_mean is not None and running_var is not None:
        return _batch_norm(x, weight, bias, running_mean, running_var, eps)
    result, _, _ = _standardized(x, list(range(2, x.ndim)), eps)
    shape = [1, -1] + [1] * (x.ndim - 2)
    result = result if weight is None else result * weight.reshape(shape)
    return result if bias is None else result + bias.reshape(shape)


@functools.cache
def decompositions() -> dict[Any, Callable[..., Any]]:
    """Return the table for `make_fx`: PyTorch's decompositions to core ATen, but for what has a rule here."""
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    table |= get_decompositions([aten.linalg_vector_norm, aten.addmv])
    table = {overload: function for overload, function in table.items() if overload not in _OWN_RULES}
    table |= {
        aten._softmax.default: _softmax,
        aten._log_softmax.default: _log_softmax,
        aten._safe_softmax.default: _safe_softmax,
        aten.logsumexp.default: _logsumexp,
        aten.native_layer_norm.default: _layer_norm,
        aten.native_group_norm.default: _group_norm,
        aten.native_batch_norm.default: _native_batch_norm,
        aten._native_batch_norm_legit_no_training.default: (
            lambda x, weight, bias, mean, variance, momentum, eps: _native_batch_norm(
                x, weight, bias, mean, variance, False, momentum, eps
            )
        ),
        aten.div.Tensor: _divide,
        aten.var.correction: _variance,
        aten.log_sigmoid_forward.default: _log_sigmoid,
        aten.var_mean.correction: _variance_and_mean,
        aten._trilinear.default: _trilinear,
        aten.addmm.default: _addmm,
        aten.prod.dim_int: _product_along,
        aten.prod.default: _product,
        aten.cumprod.default: _cumulative_product,
        aten.logcumsumexp.default: _log_cumulative_sum,
        aten.clamp.Tensor: _clamp,
        aten.copy.default: _copy,
        aten.slice_scatter.default: _slice_scatter,
        aten.unbind.int: lambda x, dim=0: [x.select(dim, at) for at in range(x.shape[dim])],
        aten.celu.default: lambda x, alpha=1.0: aten.elu.default(x, alpha, 1.0, 1.0 / alpha),
        aten.exp2.default: lambda x: _power_of_number(2.0, x),
        aten.pow.Scalar: _power_of_number,
        aten.log2.default: lambda x: x.log() * (1.0 / math.log(2.0)),
        aten.log10.default: lambda x: x.log() * (1.0 / math.log(10.0)),
        aten.erfc.default: lambda x: 1.0 - x.erf(),
        aten.tan.default: _tan,
        aten.sinh.default: _sinh,
        aten.cosh.default: _cosh,
        aten.hypot.default: lambda x, y: (x * x + y * y).sqrt(),
        aten.fmax.default: torch.maximum,
        aten.fmin.default: torch.minimum,
    }
    return table

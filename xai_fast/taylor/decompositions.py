"""Operations that are written as others before the rules see them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions

__all__ = ["NOT_DIFFERENTIABLE", "RANDOM", "decompositions"]

aten = torch.ops.aten

# Operations through which no derivative passes.
NOT_DIFFERENTIABLE = frozenset(
    overload
    for packet in (
        aten.detach, aten.argmax, aten.argmin, aten.argsort, aten.sign, aten.floor, aten.ceil, aten.round, aten.trunc,
        aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne, aten.logical_and, aten.logical_or, aten.logical_not,
        aten.logical_xor, aten.bitwise_and, aten.bitwise_or, aten.bitwise_not, aten.isnan, aten.isinf, aten.any,
        aten.all, aten.ones_like, aten.zeros_like, aten.full_like, aten.empty_like, aten.new_zeros, aten.new_ones,
        aten.new_full, aten.new_empty, aten.heaviside, aten.nonzero, aten.searchsorted, aten.bucketize,
    )
    for overload in (getattr(packet, name) for name in packet.overloads())
)  # fmt: skip

RANDOM = frozenset(
    overload
    for packet in (
        aten.rand, aten.randn, aten.rand_like, aten.randn_like, aten.randint, aten.bernoulli, aten.native_dropout,
        aten.normal, aten.multinomial, aten.randperm, aten.rrelu_with_noise,
    )
    for overload in (getattr(packet, name) for name in packet.overloads())
)  # fmt: skip

# These have rules of their own, so PyTorch's decompositions of them are left out.
_OWN_RULES = (
    aten.hardtanh, aten.leaky_relu, aten.silu, aten.mish, aten.elu, aten.softplus, aten.hardswish, aten.hardsigmoid,
    aten.threshold, aten.prelu, aten.celu, aten.selu, aten.relu6, aten.unfold, aten.split, aten.split_with_sizes,
    aten.unbind, aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.upsample_nearest1d, aten.reflection_pad1d,
    aten.reflection_pad2d, aten.replication_pad2d, aten.max_pool2d_with_indices, aten._adaptive_avg_pool2d,
    aten.avg_pool2d, aten.index_select, aten.t, aten.transpose, aten.roll, aten.tril, aten.triu, aten.log_sigmoid_forward,
    aten.detach, aten.diagonal, aten.channel_shuffle, aten.pixel_shuffle, aten.pixel_unshuffle, aten.embedding,
)  # fmt: skip


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
    masked = (x == -float("inf")).all(dim, keepdim=True)
    exponentials, total, _ = _shifted_exponentials(torch.where(masked, torch.zeros_like(x), x), dim)
    return torch.where(masked, torch.zeros_like(x), exponentials * total.reciprocal())


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
    x: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    result, mean, inverse = _standardized(x, list(range(-len(shape), 0)), eps)
    result = result if weight is None else result * weight
    return result if bias is None else result + bias, mean, inverse


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


def _no_training_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return _native_batch_norm(x, weight, bias, mean, variance, False, momentum, eps)


def _divide(x: Tensor | float, other: Tensor | float) -> Tensor:
    if isinstance(other, Tensor):
        return x * other.reciprocal()
    return torch.mul(x, 1.0 / other)  # type: ignore[arg-type]


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


def _standard_deviation(
    x: Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Tensor:
    return _variance(x, dim, correction=correction, keepdim=keepdim).sqrt()


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    return -torch.nn.functional.softplus(-x, threshold=1e9), x.new_empty(0)


def _vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    if ord not in (1, 2) or dtype is not None:
        raise RuntimeError(f"a vector norm of order {ord}")
    dims = list(range(x.ndim)) if dim is None else list(dim)
    return x.abs().sum(dims, keepdim=keepdim) if ord == 1 else (x * x).sum(dims, keepdim=keepdim).sqrt()


@functools.cache
def decompositions() -> dict[object, Callable[..., object]]:
    """Return the table for `make_fx`: PyTorch's decompositions to core ATen, but for what has a rule here."""
    table = dict(core_aten_decompositions())
    own = {overload for packet in _OWN_RULES for overload in (getattr(packet, name) for name in packet.overloads())}
    table = {overload: function for overload, function in table.items() if overload not in own}
    table |= {
        aten._softmax.default: _softmax,
        aten._log_softmax.default: _log_softmax,
        aten._safe_softmax.default: _safe_softmax,
        aten.logsumexp.default: _logsumexp,
        aten.native_layer_norm.default: _layer_norm,
        aten.native_group_norm.default: _group_norm,
        aten.native_batch_norm.default: _native_batch_norm,
        aten.cudnn_batch_norm.default: _native_batch_norm,
        aten._native_batch_norm_legit_no_training.default: _no_training_batch_norm,
        aten.div.Tensor: _divide,
        aten.var.correction: _variance,
        aten.std.correction: _standard_deviation,
        aten.log_sigmoid_forward.default: _log_sigmoid,
        aten.linalg_vector_norm.default: _vector_norm,
    }
    return table

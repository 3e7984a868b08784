"""ATen operations with one more leading dimension: on many items, or many directions of many items, at once."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from xai_fast.graph.nodes import Node, Ref, filled
from xai_fast.graph.overloads import overloads_of

__all__ = ["ATTENTION", "LAYER_NORM", "RESHAPES", "aligned", "lifted", "summed_to", "transposed", "unfolded"]

aten = torch.ops.aten

ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu.default
LAYER_NORM = aten.native_layer_norm.default
RESHAPES = overloads_of(
    aten.view, aten._unsafe_view, aten.reshape, aten.unsqueeze, aten.squeeze, aten.clone, aten.alias
)


def unfolded(x: Tensor, leading: Sequence[int]) -> Tensor:
    """Make several dimensions of the first one."""
    return x.reshape(*leading, *x.shape[1:])


def aligned(x: Tensor, leading: int, rank: int) -> Tensor:
    """Insert dimensions of size 1 behind the leading ones, so that what follows has this rank and broadcasts."""
    missing = rank - (x.ndim - leading)
    return x if missing == 0 else x.reshape(*x.shape[:leading], *([1] * missing), *x.shape[leading:])


def summed_to(x: Tensor, leading: int, shape: Sequence[int]) -> Tensor:
    """Sum over what broadcasting repeated: the transpose of expanding ``shape`` to that of x behind ``leading``."""
    extra = x.ndim - leading - len(shape)
    dims = list(range(leading, leading + extra))
    dims += [leading + extra + d for d, size in enumerate(shape) if size == 1 and x.shape[leading + extra + d] != 1]
    if not dims:
        return x
    return x.sum(dims, keepdim=True).reshape(*x.shape[:leading], *shape)


def _shifted(dims: Sequence[int] | int | None, rank: int) -> list[int]:
    dims = [dims] if isinstance(dims, int) else (list(range(rank)) if not dims else list(dims))
    return [d % rank + 1 for d in dims]


def _reshape(x: Tensor, size: Sequence[int]) -> Tensor:
    return x.reshape(x.shape[0], *size)


def _transpose(x: Tensor, first: int, second: int) -> Tensor:
    rank = x.ndim - 1
    return x.transpose(first % rank + 1, second % rank + 1)


def _expand(x: Tensor, size: Sequence[int]) -> Tensor:
    return aligned(x, 1, len(size)).expand(-1, *size)


def _slice(x: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    result: Tensor = aten.slice.Tensor(x, dim % (x.ndim - 1) + 1, start, end, step)
    return result


def _sum(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False, **dtype: Any) -> Tensor:
    return x.sum(_shifted(dim, x.ndim - 1), keepdim=keepdim, **dtype)


def _mean(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False, **dtype: Any) -> Tensor:
    return x.mean(_shifted(dim, x.ndim - 1), keepdim=keepdim, **dtype)


def _squeeze(x: Tensor, dim: Sequence[int] | int | None = None) -> Tensor:
    return x.squeeze(tuple(_shifted(dim, x.ndim - 1)))


def _batched(operation: Callable[..., Tensor], rank: int) -> Callable[..., Tensor]:
    """Lift an operation that takes any number of rows of this rank in front: (N, C, H, W) has rank 3."""

    @functools.wraps(operation)
    def apply(x: Tensor, *args: object) -> Tensor:
        if x.ndim != rank + 2:  # without the dimension N
            return operation(x, *args)
        y = operation(x.flatten(0, 1), *args)
        return unfolded(y, x.shape[:2])

    return apply


# How the operation is written with one more dimension in front of its first argument, the only one that has it.
# Anything else goes through torch.func.vmap, which costs some 50 microseconds a call.
_LIFTED: dict[object, Callable[..., Tensor]] = {
    aten.view.default: _reshape,
    aten._unsafe_view.default: _reshape,
    aten.reshape.default: _reshape,
    aten.permute.default: lambda x, dims: x.permute(0, *(d % (x.ndim - 1) + 1 for d in dims)),
    aten.transpose.int: _transpose,
    aten.t.default: lambda x: x.transpose(1, 2) if x.ndim == 3 else x,
    aten.unsqueeze.default: lambda x, dim: x.unsqueeze(dim % x.ndim + 1),
    aten.squeeze.dim: _squeeze,
    aten.squeeze.dims: _squeeze,
    aten.expand.default: lambda x, size, **_: _expand(x, size),
    aten.select.int: lambda x, dim, at: x.select(dim % (x.ndim - 1) + 1, at),
    aten.slice.Tensor: _slice,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
    aten.clone.default: lambda x, **_: x,
    aten.alias.default: lambda x: x,
    aten.neg.default: torch.neg,
    aten.convolution.default: lambda x, weight, *rest: _batched(aten.convolution.default, weight.ndim - 1)(
        x, weight, *rest
    ),
    aten.avg_pool2d.default: _batched(aten.avg_pool2d.default, 3),
    aten.amax.default: lambda x, dim=(), keepdim=False: x.amax(_shifted(dim, x.ndim - 1), keepdim),
    LAYER_NORM: LAYER_NORM,
}


# Operations on entries: tensors with the leading dimension are aligned, and broadcasting does the rest.
_ENTRYWISE = overloads_of(
    aten.add, aten.sub, aten.rsub, aten.mul, aten.div, aten.where, aten.maximum, aten.minimum, aten.pow, aten.exp,
    aten.log, aten.log1p, aten.expm1, aten.sqrt, aten.rsqrt, aten.reciprocal, aten.tanh, aten.sigmoid, aten.silu,
    aten.mish, aten.hardswish, aten.sin, aten.cos, aten.erf, aten.gelu, aten.softplus, aten.elu, aten.relu, aten.abs,
    aten.leaky_relu, aten.hardtanh, aten.relu6, aten.clamp, aten.clamp_min, aten.clamp_max, aten.hardsigmoid,
    aten.threshold, aten.neg, aten.sign, aten.gt, aten.ge, aten.lt, aten.le, aten.eq, aten.ne, aten.logical_not,
    aten.logical_and, aten.logical_or, aten.detach,
)  # fmt: skip


def _entrywise(node: Node, values: dict[int, object], leads: dict[int, bool]) -> object:
    ranks = {i: _rank(value) - leads[i] for i, value in values.items()}
    rank = max(ranks.values())
    aligned_values = {
        i: aligned(value, 1, rank) if leads[i] and isinstance(value, Tensor) else value for i, value in values.items()
    }
    return node.target(*filled(node.args, aligned_values), **filled(node.kwargs, aligned_values))  # type: ignore[misc]


def _rank(value: object) -> int:
    return value.ndim if isinstance(value, Tensor) else 0


def _added_product(added: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    if added.ndim == 1 and weight.ndim == 2 and x.ndim == 3:
        return torch.nn.functional.linear(x, weight.t(), added)
    return torch.matmul(x, weight) + added


# Products of matrices: leading dimensions broadcast by themselves.
_PRODUCTS: dict[object, Callable[..., Tensor]] = {
    aten.mm.default: torch.matmul,
    aten.bmm.default: torch.matmul,
    aten.addmm.default: _added_product,
}


def _attention(node: Node, values: Sequence[Any], has_leading: Sequence[bool]) -> tuple[Tensor, ...]:
    given = list(zip(values, has_leading, strict=True))
    items = max(len(value) for value, leads in given if leads)
    flat = [(value if leads else value.expand(items, *value.shape)).flatten(0, 1) for value, leads in given]
    return tuple(unfolded(part, (items, -1)) for part in ATTENTION(*flat, **node.kwargs))


def lifted(node: Node, values: Sequence[object], has_leading: Sequence[bool]) -> object:
    """Return the result, a tuple for several outputs, of a node's operation with one more leading dimension.

    Those of ``values``, which it reads in the order of ``node.inputs``, that ``has_leading`` names have it too, all of
    the same size.
    """
    by_index = dict(zip(node.inputs, values, strict=True))
    leads = dict(zip(node.inputs, has_leading, strict=True))
    if node.target in _ENTRYWISE:
        return _entrywise(node, by_index, leads)
    # A row that is added and belongs to the item would broadcast along the wrong dimension.
    adds_by_item = node.target is aten.addmm.default and has_leading[0]
    if node.target is ATTENTION:
        return _attention(node, values, has_leading)
    if node.target in _PRODUCTS and not node.kwargs and not adds_by_item:
        return _PRODUCTS[node.target](*filled(node.args, by_index))
    first = node.args[0] if node.args else None
    direct = _LIFTED.get(node.target)
    if direct is not None and isinstance(first, Ref):
        only = [i for i, leads in zip(node.inputs, has_leading, strict=True) if leads] == [first.index]
        if only:
            return direct(*filled(node.args, by_index), **filled(node.kwargs, by_index))
    order = list(dict.fromkeys(node.inputs))

    def one(*tensors: object) -> object:
        given = dict(zip(order, tensors, strict=True))
        return node.target(*filled(node.args, given), **filled(node.kwargs, given))  # type: ignore[misc]

    in_dims = tuple(0 if leads[i] else None for i in order)
    return torch.func.vmap(one, in_dims=in_dims)(*(by_index[i] for i in order))


def _unsummed(
    rows: Tensor, shape: tuple[int, ...], dim: Sequence[int] | int | None = None, keepdim: bool = False, **_: object
) -> Tensor:
    summed = _shifted(dim, len(shape))
    kept = [1 if d + 1 in summed else size for d, size in enumerate(shape)]
    return rows.reshape(rows.shape[0], *kept).expand(-1, *shape)


def _unaveraged(
    rows: Tensor, shape: tuple[int, ...], dim: Sequence[int] | int | None = None, keepdim: bool = False, **_: object
) -> Tensor:
    count = math.prod(shape[d - 1] for d in _shifted(dim, len(shape)))
    return _unsummed(rows / count, shape, dim, keepdim)


def _inverse(dims: Sequence[int]) -> list[int]:
    """Give the permutation that undoes one."""
    places = [d % len(dims) for d in dims]
    return [places.index(at) for at in range(len(dims))]


def _as_before(rows: Tensor, shape: tuple[int, ...], *_: object, **__: object) -> Tensor:
    return rows.reshape(rows.shape[0], *shape)


# The transposes of linear operations, with a leading dimension: from the adjoint of the result, the shape of the source
# without the leading dimension, and the operation's arguments behind the first. Others go through autograd.
_TRANSPOSED: dict[object, Callable[..., Tensor]] = {
    **dict.fromkeys(RESHAPES, _as_before),
    aten.neg.default: lambda rows, shape: -rows,
    aten.expand.default: lambda rows, shape, size, **_: summed_to(rows, 1, shape),
    aten.sum.default: _unsummed,
    aten.sum.dim_IntList: _unsummed,
    aten.mean.default: _unaveraged,
    aten.mean.dim: _unaveraged,
    aten.permute.default: lambda rows, shape, dims: rows.permute(0, *(1 + at for at in _inverse(dims))),
    aten.transpose.int: lambda rows, shape, first, second: _transpose(rows, first, second),
    aten.t.default: lambda rows, shape: _LIFTED[aten.t.default](rows),
}


def transposed(node: Node, rows: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Apply the transpose of a linear operation of one tensor to adjoints (L, *); None where it is not written here."""
    function = _TRANSPOSED.get(node.target)
    if function is None or len(node.inputs) != 1:
        return None
    return function(rows, shape, *node.args[1:], **node.kwargs)

"""How each ATen operation carries footprints on: one small function an operation, in one table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from xai_fast.interaction.footprint import Call, Factor, Footprint, Rule, UnknownFootprint, merge, plain, refold
from xai_fast.interaction.footprint_windows import WINDOW_RULES

__all__ = ["follow"]

# Those that torch does not tag as pointwise.
_POINTWISE = frozenset(
    (
        "_conj",
        "_prelu_kernel",
        "_to_copy",
        "alias",
        "celu",
        "clone",
        "contiguous",
        "copy",
        "detach",
        "fill",
        "hardsigmoid",
        "hardswish",
        "leaky_relu",
        "lift_fresh",
        "native_dropout",
        "rsub",
        "rrelu_with_noise",
        "selu",
        "zero",
    )
)


def follow(operation: torch._ops.OpOverload, call: Call) -> Footprint | list[Footprint]:
    """Find what the result of an operation depends on, or raise `UnknownFootprint`; a list of one per part."""
    name = str(operation.overloadpacket.__name__)
    name = name[:-1] if name.endswith("_") and not name.endswith("__") else name  # the form that works in place
    if operation.namespace != "aten":  # someone else's, which may mean anything by the name
        raise UnknownFootprint("there is no rule for it")
    if name in _POINTWISE or torch.Tag.pointwise in (*operation.tags, *_tags_out_of_place(operation, name)):
        return _pointwise(call)
    if name not in _RULES:
        raise UnknownFootprint("there is no rule for it")
    return _RULES[name](call)


def _tags_out_of_place(operation: torch._ops.OpOverload, name: str) -> Sequence[torch.Tag]:
    """Give the tags of the form that makes a new tensor: not every release of torch tags both."""
    form = getattr(getattr(torch.ops.aten, name, None), operation._overloadname, None)
    return () if form is None else tuple(form.tags)


def _pointwise(call: Call) -> Footprint:
    """Join all tensors among the arguments."""
    tensors = [a for a in call.arguments.values() if isinstance(a, Tensor)]
    found = [footprint for footprint in map(call.footprint_of, tensors) if footprint is not None]
    return merge(found, call.result.shape)


# Normalisations and reductions.


def _normalization(dims: Callable[[Call, int], Iterable[int]]) -> Rule:
    """Mix the positions along some dimensions; centres stay."""

    def rule(call: Call) -> Footprint:
        footprint = call.footprint
        for dim in dims(call, len(footprint.dims)):
            footprint = footprint.spread(dim)
        return footprint

    return rule


# By constants, or by statistics of the batch.
_BATCH_NORM = _normalization(lambda call, n: [d for d in range(n) if d != 1] if call.arguments.get("training") else [])


def _channel_shuffle(call: Call) -> Footprint:
    """Reorder the channels."""
    if call.footprint.axis_at(1) is not None:
        raise UnknownFootprint("it reorders an axis of the image")
    return call.footprint


def _reduction(call: Call) -> Footprint:
    """Reduce some dimensions, or all."""
    footprint = call.footprint
    dims = call.arguments.get("dim")
    number = len(footprint.dims)
    dims = range(number) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    gone = {dim % number for dim in dims}
    keep = bool(call.arguments.get("keepdim"))
    for dim in gone:
        axis = footprint.axis_at(dim) if keep else None
        if axis is None:
            footprint = footprint.lost(dim).with_dim(dim, ())
        else:
            n = len(axis.low)
            mean = axis.taps(np.arange(n)[None], step=n, offset=(n - 1) / 2, widening=n - 1)
            footprint = footprint.with_dim(dim, (Factor(1, mean),))
    kept = footprint.dims if keep else tuple(f for d, f in enumerate(footprint.dims) if d not in gone)
    return Footprint(kept, footprint.whole)


def _matrix_product(call: Call) -> Footprint:
    """Multiply by a constant matrix: the dimension that is summed over is mixed."""
    tensors = [a for name, a in call.arguments.items() if isinstance(a, Tensor) and name not in ("self", "bias")]
    if "mat1" not in call.arguments and "batch1" not in call.arguments:  # mm, bmm: self is a factor, not a summand
        tensors.insert(0, call["self"])
    left, right = (call.footprint_of(tensor) for tensor in tensors[:2])
    found, dim = (left, -1) if left is not None else (right, -2)
    if found is None or (left is not None and right is not None):
        raise UnknownFootprint("it multiplies matrices that both depend on the image")
    dim += len(found.dims)
    return found.lost(dim).with_dim(dim, plain(call.result.shape[dim]))


# Rearrangements.


def _view(call: Call) -> Footprint:
    """Give another shape to the same entries."""
    return refold(call.footprint, call.result.shape)


def _permuted(footprint: Footprint, order: Sequence[int]) -> Footprint:
    return Footprint(tuple(footprint.dims[d] for d in order), footprint.whole)


def _transpose(call: Call) -> Footprint:
    """Swap two dimensions; a matrix's where none are named."""
    order = list(range(len(call.footprint.dims)))
    a, b = call.arguments.get("dim0", 0), call.arguments.get("dim1", -1)
    order[a], order[b] = order[b], order[a]
    return _permuted(call.footprint, order)


def _select(call: Call) -> Footprint:
    """Take one position of a dimension."""
    footprint, dim = call.footprint, call["dim"] % len(call.footprint.dims)
    axis = footprint.axis_at(dim)
    if axis is not None:
        one = axis.taps(np.array([[call["index"] % len(axis.low)]]), step=1, offset=0)
        footprint = footprint.with_dim(dim, (Factor(1, one),))
    lost = footprint.lost(dim)
    return Footprint(tuple(f for d, f in enumerate(lost.dims) if d != dim), lost.whole)


def _sliced(footprint: Footprint, dim: int, start: int, length: int, step: int = 1) -> Footprint:
    axis = footprint.axis_at(dim)
    if axis is None:
        return footprint.with_dim(dim, plain(length))
    index = start + step * np.arange(length)
    return footprint.with_dim(dim, (Factor(length, axis.taps(index[:, None], step=step, offset=start)),))


def _slice(call: Call) -> Footprint:
    """Take some positions of a dimension."""
    footprint, dim = call.footprint, call["dim"] % len(call.footprint.dims)
    length = math.prod(f.size for f in footprint.dims[dim])
    start, _, step = slice(call["start"], call["end"], call["step"]).indices(length)
    return _sliced(footprint, dim, start, call.result.shape[dim], step)


def _split(call: Call) -> list[Footprint]:
    """Cut a dimension in parts."""
    footprint, dim, start = call.footprint, call["dim"] % len(call.footprint.dims), 0
    parts = []
    for part in call.result:
        parts.append(_sliced(footprint, dim, start, part.shape[dim]))
        start += part.shape[dim]
    return parts


def _flip(call: Call) -> Footprint:
    """Turn dimensions around."""
    footprint = call.footprint
    for dim in (d % len(footprint.dims) for d in call["dims"]):
        axis = footprint.axis_at(dim)
        if axis is not None:
            n = len(axis.low)
            turned = axis.taps(np.arange(n)[::-1, None], step=-1, offset=n - 1)
            footprint = footprint.with_dim(dim, (Factor(n, turned),))
    return footprint


def _cat(call: Call) -> Footprint:
    """Join along a dimension of channels."""
    dim = call["dim"] % call.result.ndim
    found = [f for f in map(call.footprint_of, call["tensors"]) if f is not None]
    if any(factor.axis is not None for footprint in found for factor in footprint.dims[dim]):
        raise UnknownFootprint("it joins tensors along an axis of the image")
    widened = [f.with_dim(dim, plain(call.result.shape[dim])) for f in found]
    return merge(widened, call.result.shape)


_RULES: dict[str, Rule] = {
    **WINDOW_RULES,
    **dict.fromkeys(
        ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
        _BATCH_NORM,
    ),
    **dict.fromkeys(("_batch_norm_no_update", "miopen_batch_norm"), _BATCH_NORM),
    "native_layer_norm": _normalization(lambda call, n: range(n - len(call["normalized_shape"]), n)),
    "native_group_norm": _normalization(lambda call, n: range(1, n)),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), _normalization(lambda call, n: [call["dim"]])),
    **dict.fromkeys(("mean", "sum", "amax", "amin", "prod", "var", "std", "logsumexp", "max", "min"), _reduction),
    **dict.fromkeys(("mm", "addmm", "bmm", "baddbmm"), _matrix_product),
    **dict.fromkeys(
        ("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "_reshape_alias"),
        lambda c: refold(c.footprint, c.result.shape),
    ),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _channel_shuffle),
    "permute": lambda call: _permuted(call.footprint, call["dims"]),
    **dict.fromkeys(("transpose", "t"), _transpose),
    "expand": lambda call: merge([call.footprint], call.result.shape),
    "select": _select,
    "slice": _slice,
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    "flip": _flip,
    "cat": _cat,
}
"""By the operation's name without the underscore of the form in place; what works entry by entry is not listed."""

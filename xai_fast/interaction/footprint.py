"""Which pixels the entries of a tensor depend on, carried from one ATen operation to the next.

A `Footprint` has numbers for each entry of a tensor, so an operation that only moves entries moves these likewise, and
one that works entry by entry takes the lowest of those that meet. Only what mixes positions has a rule of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

__all__ = ["Call", "Footprint", "UnknownFootprint", "follow", "input_footprint", "runs_over"]


Join: TypeAlias = Callable[[tuple[Tensor, ...]], Tensor]


class UnknownFootprint(Exception):
    """The dependence cannot be followed at an operation (None where it is not known here); the message says why."""

    def __init__(self, reason: str, operation: str | None = None) -> None:
        super().__init__(reason if operation is None else f"{operation}: {reason}")
        self.operation = operation


@dataclass(frozen=True, eq=False)
class Footprint:
    """What the entries of a tensor depend on, for each of the A axes of the model's input, in tensors of its shape.

    ``ends`` are 2 A tensors: the first pixel that an entry depends on, for each axis, then the negative of the first
    pixel after the last one; infinite where there is none. So the union of two is always the minimum. ``centers`` are
    A tensors: the centre of an entry, in pixels from the edge, as if nothing were cut at the edges; NaN for none.
    """

    ends: tuple[Tensor, ...]
    centers: tuple[Tensor, ...]

    def map(self, end: Callable[[Tensor], Tensor], center: Callable[[Tensor], Tensor]) -> Footprint:
        """Apply a function to each of the ends, and one to each of the centres."""
        return Footprint(tuple(map(end, self.ends)), tuple(map(center, self.centers)))

    def mixed(self, dims: list[int]) -> Footprint:
        """Join the entries along some dimensions to one, which stays as a dimension of size 1."""
        if not dims:
            return self
        shape = [1 if d in dims or d - self.ends[0].ndim in dims else n for d, n in enumerate(self.ends[0].shape)]
        thin = self.each(_thin)
        return thin.map(lambda e: e.amin(dims, True), lambda c: c.nanmean(dims, True)).expand(shape)

    def each(self, function: Callable[[Tensor], Tensor]) -> Footprint:
        """Apply a function to all tensors."""
        return self.map(function, function)

    def expand(self, shape: Sequence[int]) -> Footprint:
        """Repeat entries."""
        return self.each(lambda values: values.expand(shape))

    @staticmethod
    def combined(found: Sequence[Footprint], end: Join, center: Join) -> Footprint:
        """Make one footprint of several, by functions of the ends, and of the centres, of all."""
        return Footprint(
            tuple(end(of) for of in zip(*(f.ends for f in found), strict=True)),
            tuple(center(of) for of in zip(*(f.centers for f in found), strict=True)),
        )

    def same(self, other: object) -> bool:
        """Say whether another footprint is equal."""
        if not isinstance(other, Footprint):
            return False
        pairs = zip(self.ends + self.centers, other.ends + other.centers, strict=True)
        return all(torch.allclose(_thin(a), _thin(b), 0, 0, equal_nan=True) for a, b in pairs)

    def axes_along(self, dim: int) -> list[int]:
        """List the axes of the input, from 0, that lie along a dimension."""
        return [k for k, c in enumerate(map(_thin, self.centers)) if bool((c != c.narrow(dim, 0, 1)).any())]


def _thin(values: Tensor, until: int | None = None) -> Tensor:
    """Leave out the copies that expanding made, along the dimensions before one, or all."""
    return values[tuple(slice(0, 1 if step == 0 else None) for step in values.stride()[:until])]


def input_footprint(shape: Sequence[int]) -> Footprint:
    """Give the footprint of an input (1, ...): each entry depends on itself."""
    lines = [
        torch.arange(size, dtype=torch.float64).reshape(-1, *[1] * (len(shape) - dim - 1))
        for dim, size in enumerate(shape)
    ][1:]
    return Footprint((*lines, *(-1 - line for line in lines)), tuple(line + 0.5 for line in lines)).expand(shape)


@dataclass(frozen=True)
class Call:
    """One operation that ran: as it was called, its arguments by the names of its schema, and its result."""

    operation: torch._ops.OpOverload
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    footprint_of: Callable[[Tensor], Footprint | None]

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """All arguments by name, defaults included."""
        schema = self.operation._schema.arguments
        defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
        return defaults | dict(zip((argument.name for argument in schema), self.args, strict=False)) | self.kwargs

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def name(self) -> str:
        """The operation's name, without the underscore of the form that works in place."""
        name = str(self.operation.overloadpacket.__name__)
        return name[:-1] if name.endswith("_") and not name.endswith("__") else name

    @property
    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, also those in lists."""
        return [leaf for leaf in tree_leaves(list(self.arguments.values())) if isinstance(leaf, Tensor)]

    @property
    def shape(self) -> torch.Size:
        """The shape of the (first) result."""
        first: Tensor = tree_leaves(self.result)[0]
        return first.shape

    @property
    def footprint(self) -> Footprint:
        """The footprint of the first argument; no other may depend on the image."""
        first, *others = self.tensors
        if any(self.footprint_of(other) is not None for other in others):
            raise UnknownFootprint("its weights or indices depend on the image")
        footprint = self.footprint_of(first)
        if footprint is None:
            raise UnknownFootprint("another argument than the first depends on the image")
        return footprint

    def again(self, values: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Run the operation with other values in the place of its tensors."""
        args, kwargs = tree_map(lambda a: values(a) if isinstance(a, Tensor) else a, (self.args, self.kwargs))
        return [leaf for leaf in tree_leaves(self.operation(*args, **kwargs)) if isinstance(leaf, Tensor)]


Rule: TypeAlias = Callable[[Call], Footprint]


def follow(call: Call) -> list[Footprint]:
    """Find what the results of an operation depend on, as far as they are known, or raise `UnknownFootprint`."""
    if call.operation.namespace == "aten":  # else it is someone else's, which may mean anything by the name
        if call.name in _POINTWISE or torch.Tag.pointwise in _tags(call):
            return [_joined(call)]
        if call.name in _MOVING:
            return _moved(call)
        if call.name in _RULES:
            return [_RULES[call.name](call).expand(call.shape)]
    raise UnknownFootprint("there is no rule for it")


def runs_over(call: Call) -> bool:
    """Say whether an operation is one that runs over the positions of images alone."""
    return "batch_norm" in call.name or _RULES.get(call.name) in (_windows, _adaptive_pooling, _resampled)


def _tags(call: Call) -> list[torch.Tag]:
    """Give the tags of an operation and of its form that makes a new tensor: not every release of torch tags both."""
    form = getattr(getattr(torch.ops.aten, call.name, None), call.operation._overloadname, None)
    return [*call.operation.tags, *(() if form is None else form.tags)]


def _joined(call: Call) -> Footprint:
    """Join all tensors among the arguments, entry by entry."""
    found = [footprint for footprint in map(call.footprint_of, call.tensors) if footprint is not None]
    if len(found) == 1:
        return found[0].expand(call.shape)
    thin = [footprint.expand(call.shape).each(_thin) for footprint in found]
    return Footprint.combined(thin, lambda of: reduce(torch.minimum, of), _middle).expand(call.shape)


def _middle(centers: Sequence[Tensor]) -> Tensor:
    same = torch.broadcast_tensors(*_leading(centers))  # type: ignore[no-untyped-call]
    middle: Tensor = torch.stack(same).nanmean(0)
    return middle


def _leading(centers: Sequence[Tensor]) -> list[Tensor]:
    """Leave out the centres that are the same everywhere, as after global pooling, if others are not."""
    varies = [bool(c.nan_to_num(-torch.inf).amax() > c.nan_to_num(torch.inf).amin()) for c in centers]
    return [c if v or not any(varies) else torch.full_like(c, torch.nan) for c, v in zip(centers, varies, strict=True)]


def _moved(call: Call) -> list[Footprint]:
    """Move the numbers of the entries as the operation moves these."""
    footprint, first = call.footprint, call.tensors[0]
    ends, centers = (
        zip(*(call.again(lambda t, part=part: part if t is first else t.cpu()) for part in parts), strict=True)  # type: ignore[misc]
        for parts in (footprint.ends, footprint.centers)
    )
    return [Footprint(*both) for both in zip(ends, centers, strict=True)]


def _cat(call: Call) -> Footprint:
    """Join tensors along a dimension; what does not depend on the image has no pixels and no centre."""
    found = [(t, call.footprint_of(t)) for t in call["tensors"]]
    known = next(footprint for _, footprint in found if footprint is not None)

    def nothing(like: Tensor) -> Footprint:
        infinite = torch.full(like.shape, torch.inf, dtype=torch.float64)
        return known.map(lambda _: infinite, lambda _: infinite * torch.nan)

    parts = [nothing(t) if footprint is None else footprint for t, footprint in found]
    dim = call["dim"]
    return Footprint.combined(parts, lambda of: torch.cat(of, dim), lambda of: torch.cat(_leading(of), dim))


def _normalization(dims: Callable[[Call, int], Iterable[int]]) -> Rule:
    """Mix the positions along some dimensions; centres stay."""

    def rule(call: Call) -> Footprint:
        footprint = call.footprint
        return Footprint(footprint.mixed(list(dims(call, len(call.shape)))).expand(call.shape).ends, footprint.centers)

    return rule


# By constants, or by statistics of the batch.
_BATCH_NORM = _normalization(lambda call, n: [d for d in range(n) if d != 1] if call.arguments.get("training") else [])


def _reduction(call: Call) -> Footprint:
    """Reduce some dimensions, or all."""
    dims, every = call.arguments.get("dim"), list(range(call["self"].ndim))
    dims = every if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)
    mixed = call.footprint.mixed(dims)
    return mixed if call.arguments.get("keepdim") else mixed.each(lambda values: values.squeeze(tuple(dims)))


def _matrix_product(call: Call) -> Footprint:
    """Multiply by a constant matrix: the dimension that is summed over is mixed."""
    left, right = map(call.footprint_of, call.tensors[-2:])  # before them may be what is added
    if left is not None and right is not None:
        raise UnknownFootprint("it multiplies matrices that both depend on the image")
    if left is not None:
        return left.mixed([-1])
    if right is not None:
        return right.mixed([-2])
    raise UnknownFootprint("what it adds depends on the image")


def _slid(footprint: Footprint, dim: int, index: Tensor, step: float, offset: float) -> Footprint:
    """Join positions along a dimension: those of ``index`` (m, t) to m; those outside are padding."""
    # The step is from one result's centre to the next one's, the offset the position at the centre of the first.
    footprint = footprint.each(lambda values: _thin(values, 2))
    like = footprint.ends[0]
    count, after = like.shape[dim], [1] * (like.ndim - dim - 1)
    inside = ((index >= 0) & (index < count)).reshape(*index.shape, *after)
    chosen = index.clamp(0, count - 1).flatten()
    before, places = (torch.arange(n, dtype=torch.float64).reshape(-1, *after) for n in (count, len(index)))

    def end(values: Tensor) -> Tensor:
        shape = (*values.shape[:dim], *index.shape, *values.shape[dim + 1 :])
        return torch.where(inside, values.index_select(dim, chosen).reshape(shape), torch.inf).amin(dim + 1)

    def center(values: Tensor) -> Tensor:
        first = values.narrow(dim, 0, 1)
        stride = (values.narrow(dim, count - 1, 1) - first) / max(count - 1, 1)
        if not torch.allclose(first + stride * before, values, 1e-9, 1e-6, equal_nan=True):
            raise UnknownFootprint("it runs over positions that do not lie evenly")
        return first + stride * (offset + step * places)

    return footprint.map(end, center)


def _windows(call: Call) -> Footprint:
    """Convolve or pool; the channels are mixed."""
    convolves = "weight" in call.arguments
    kernel = list(call["weight"].shape[2:] if convolves else call["kernel_size"])
    number = len(kernel)
    given = [call["stride"] or kernel, call["padding"], call.arguments.get("dilation", 1)]
    strides, paddings, dilations = ([v] * number if isinstance(v, int) else list(v) * (number // len(v)) for v in given)
    first = len(call.shape) - number
    footprint = call.footprint.mixed([first - 1])
    for k in range(number):
        stride, padding, reach = strides[k], paddings[k], (kernel[k] - 1) * dilations[k]
        place, taps = torch.arange(call.shape[first + k])[:, None], torch.arange(kernel[k]) * dilations[k]
        index, step, offset = place * stride - padding + taps, stride, reach / 2 - padding
        if call.arguments.get("transposed"):
            place = place + padding - taps
            index, step, offset = torch.where(place % stride == 0, place // stride, -1), 1 / stride, -offset / stride
        footprint = _slid(footprint, first + k, index, step, offset)
    return footprint


def _adaptive_pooling(call: Call) -> Footprint:
    """Pool to a size."""
    footprint = call.footprint
    for dim in range(len(call.shape) - len(call["output_size"]), len(call.shape)):
        before, after = call["self"].shape[dim], call.shape[dim]
        place, ratio = torch.arange(after)[:, None], before / after
        first, last = place * before // after, -(-(place + 1) * before // after)
        index = first + torch.arange(int((last - first).max()))
        footprint = _slid(footprint, dim, index.where(index < last, -1), ratio, (ratio - 1) / 2)
    return footprint


def _resampled(call: Call) -> Footprint:
    """Pad or resize; where a result reads is what the operation makes of the positions themselves."""
    footprint, pad = call.footprint, call.arguments.get("pad", call.arguments.get("padding"))
    number = len(call.shape) - 2 if pad is None else len(pad) // 2
    sizes = call.tensors[0].shape
    for k, dim in enumerate(range(len(sizes) - number, len(sizes))):
        step, before, after = sizes[dim] / call.shape[dim], sizes[dim], call.shape[dim]
        offset = (step - 1) / 2
        if pad is not None:
            step, offset = 1, -pad[2 * (number - 1 - k)]  # the last dimension comes first
        elif call.arguments.get("align_corners"):
            step, offset = (before - 1) / max(after - 1, 1), 0
        place = torch.arange(after, dtype=torch.float64) + offset
        if "value" not in call.arguments:
            line = torch.arange(before, dtype=torch.float64).reshape(-1, *[1] * (len(sizes) - dim - 1))
            positions = line.expand(*[1] * (len(sizes) - number), *sizes[-number:])
            (places,) = call.again(lambda _, positions=positions: positions)  # type: ignore[misc]
            place = places.movedim(dim, -1).reshape(-1, after)[0].round(decimals=9)
        index = torch.stack([place.floor(), place.ceil()], 1).long()
        footprint = _slid(footprint, dim, index, step, offset)
    return footprint


# Those that torch does not tag as pointwise.
_POINTWISE = frozenset({
    "_conj", "_prelu_kernel", "_to_copy", "alias", "celu", "clone", "contiguous", "copy", "detach", "fill",
    "hardsigmoid", "hardswish", "leaky_relu", "lift_fresh", "native_dropout", "rsub", "rrelu_with_noise", "selu",
    "zero",
})  # fmt: skip

_MOVING = frozenset({
    "channel_shuffle", "expand", "flip", "index", "index_select", "native_channel_shuffle", "permute",
    "pixel_shuffle", "pixel_unshuffle", "roll", "select", "slice", "split", "split_with_sizes", "squeeze", "t",
    "transpose", "unbind", "unfold", "unsqueeze",
})  # fmt: skip

_RULES: dict[str, Rule] = {
    name: rule
    for names, rule in (
        ("convolution max_pool1d avg_pool1d max_pool2d avg_pool2d max_pool3d avg_pool3d", _windows),
        ("max_pool2d_with_indices max_pool3d_with_indices", _windows),
        ("_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d", _adaptive_pooling),
        ("constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d", _resampled),
        ("replication_pad1d replication_pad2d replication_pad3d", _resampled),
        ("upsample_nearest1d upsample_nearest2d upsample_nearest3d", _resampled),
        ("_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d", _resampled),
        ("upsample_linear1d upsample_bilinear2d upsample_trilinear3d", _resampled),
        ("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", _BATCH_NORM),
        ("cudnn_batch_norm miopen_batch_norm _batch_norm_no_update", _BATCH_NORM),
        ("native_layer_norm", _normalization(lambda call, n: range(n - len(call["normalized_shape"]), n))),
        ("native_group_norm", _normalization(lambda call, n: range(1, n))),
        ("_softmax _log_softmax _safe_softmax", _normalization(lambda call, n: [call["dim"]])),
        ("mean sum amax amin prod var std logsumexp max min", _reduction),
        ("mm addmm bmm baddbmm", _matrix_product),
        ("view _unsafe_view reshape _reshape_alias", lambda call: call.footprint.each(lambda v: v.reshape(call.shape))),
        ("cat", _cat),
    )
    for name in names.split()
}
"""By the operation's name; what works entry by entry, or moves entries, is not listed."""

"""Which pixels the entries of a tensor depend on, and how that changes when a tensor is rearranged.

The dimensions of a tensor carry the axes of the image. A `Footprint` says for each dimension what it is made of: an
axis (height or width) on which each position depends on an interval of pixels, plain entries (channels) that do not
differ in this, or several of these folded together as by ``flatten``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Axis",
    "Call",
    "Factor",
    "Footprint",
    "Rule",
    "UnknownFootprint",
    "image_footprint",
    "merge",
    "plain",
    "refold",
]

Pixels = NDArray[np.int64]


class UnknownFootprint(Exception):
    """The dependence cannot be followed at an operation (None where it is not known here); the message says why."""

    def __init__(self, reason: str, operation: str | None = None) -> None:
        super().__init__(reason if operation is None else f"{operation}: {reason}")
        self.operation = operation


@dataclass(frozen=True, eq=False)
class Axis:
    """The positions along an axis of the image, 0 for height, 1 for width.

    ``start``, the centre of position 0 from the edge, ``stride``, from one centre to the next, and ``size``, of the
    interval of a position, are in pixels, when nothing is cut at the edges. Positions depend on the pixels from ``low``
    (n,) to before ``high`` (n,); where one depends on none, low is ``pixels`` and high is 0, so that minima and maxima
    ignore it.
    """

    image_axis: int
    pixels: int
    start: float
    stride: float
    size: float
    low: Pixels
    high: Pixels

    @property
    def hull(self) -> tuple[int, int]:
        """All pixels that any position depends on."""
        return int(self.low.min()), int(self.high.max())

    def taps(self, index: Pixels, *, step: float, offset: float, widening: float = 0.0) -> Axis:
        """Return the axis of a result, whose m positions read those of ``index`` (m, t); those outside are padding.

        ``step`` is from one result's centre to the next one's, ``offset`` the position at the centre of what result 0
        reads, ``widening`` from the first to the last that a result reads.
        """
        inside = (index >= 0) & (index < len(self.low))
        index = np.where(inside, index, 0)
        return replace(
            self,
            start=self.start + self.stride * offset,
            stride=self.stride * step,
            size=self.size + abs(self.stride) * widening,
            low=np.where(inside, self.low[index], self.pixels).min(1, initial=self.pixels),
            high=np.where(inside, self.high[index], 0).max(1, initial=0),
        )

    def reaching(self, low: int, high: int) -> Axis:
        """Give the axis whose positions all depend on an interval, too."""
        return replace(self, low=np.minimum(self.low, low), high=np.maximum(self.high, high))

    def union(self, other: Axis) -> Axis:
        """Give the axis whose positions depend on what they do in either."""
        if self.image_axis != other.image_axis:
            raise UnknownFootprint("it joins branches in which height and width have changed places")
        if not math.isclose(self.stride, other.stride, rel_tol=1e-9):
            raise UnknownFootprint(f"it joins branches with strides of {self.stride:g} and {other.stride:g} pixels")
        lows = [axis.start - axis.size / 2 for axis in (self, other)]
        highs = [axis.start + axis.size / 2 for axis in (self, other)]
        return replace(
            self,
            start=(min(lows) + max(highs)) / 2,
            size=max(highs) - min(lows),
            low=np.minimum(self.low, other.low),
            high=np.maximum(self.high, other.high),
        )


@dataclass(frozen=True, eq=False)
class Factor:
    """A part of a dimension: ``size`` positions of an axis, or plain entries where ``axis`` is None."""

    size: int
    axis: Axis | None = None


@dataclass(frozen=True, eq=False)
class Footprint:
    """What a tensor depends on.

    ``dims`` are the factors of each dimension, the outer ones first; factors of size 1 without an axis are left out.
    ``whole`` has, for each axis of the image that no dimension carries, the pixels that all entries may depend on.
    """

    dims: tuple[tuple[Factor, ...], ...]
    whole: Mapping[int, tuple[int, int]]

    def axis_at(self, dim: int) -> Axis | None:
        """Give the axis that a dimension carries, or None for plain entries."""
        factors = self.dims[dim]
        if all(factor.axis is None for factor in factors):
            return None
        if len(factors) > 1:
            raise UnknownFootprint("axes of the image are folded into one dimension")
        return factors[0].axis

    def with_dim(self, dim: int, factors: tuple[Factor, ...]) -> Footprint:
        """Put other factors in the place of a dimension's."""
        dims = list(self.dims)
        dims[dim] = factors
        return replace(self, dims=tuple(dims))

    def lost(self, dim: int) -> Footprint:
        """Take the axes out of a dimension: all entries depend on all that any of its positions did."""
        whole = dict(self.whole)
        for factor in self.dims[dim]:
            if factor.axis is not None:
                whole[factor.axis.image_axis] = factor.axis.hull
        return replace(self.with_dim(dim, plain(math.prod(f.size for f in self.dims[dim]))), whole=whole)

    def spread(self, dim: int) -> Footprint:
        """Let each position of a dimension depend on all that any of its positions did; centres stay."""
        factors = tuple(f if f.axis is None else Factor(f.size, f.axis.reaching(*f.axis.hull)) for f in self.dims[dim])
        return self.with_dim(dim, factors)

    def same(self, other: object) -> bool:
        """Say whether another footprint is equal."""
        return isinstance(other, Footprint) and _comparable(self) == _comparable(other)


def _comparable(footprint: Footprint) -> object:
    def axis(a: Axis) -> object:
        return a.image_axis, a.start, a.stride, a.size, a.low.tolist(), a.high.tolist()

    dims = [[(f.size, f.axis and axis(f.axis)) for f in factors] for factors in footprint.dims]
    return dims, dict(footprint.whole)


def plain(size: int) -> tuple[Factor, ...]:
    """Give the factors of a dimension of channels."""
    return (Factor(size),) if size != 1 else ()


def image_footprint(shape: Sequence[int], channels: int = 1) -> Footprint:
    """Give the footprint of an input whose channels are at a dimension, 0 for none: each pixel depends on itself."""
    dims = [plain(size) for size in shape]
    for number, dim in enumerate(dim for dim in range(1, len(shape)) if dim != channels):
        position = np.arange(shape[dim])
        dims[dim] = (Factor(shape[dim], Axis(number, shape[dim], 0.5, 1.0, 1.0, position, position + 1)),)
    return Footprint(tuple(dims), {})


def merge(footprints: Sequence[Footprint], shape: Sequence[int]) -> Footprint:
    """Join tensors entry by entry, with broadcasting to a shape; they have to lie in the same way."""
    whole: dict[int, tuple[int, int]] = {}
    dims: list[tuple[Factor, ...]] = [plain(size) for size in shape]
    for footprint in footprints:
        shift = len(shape) - len(footprint.dims)
        for dim in range(len(footprint.dims)):
            factors = footprint.dims[dim]
            if math.prod(f.size for f in factors) != shape[dim + shift]:  # one entry for all positions
                footprint = footprint.lost(dim)
            elif any(f.axis is not None for f in factors):
                dims[dim + shift] = _joined(dims[dim + shift], factors)
        for axis, (low, high) in footprint.whole.items():
            before = whole.get(axis, (low, high))
            whole[axis] = (min(low, before[0]), max(high, before[1]))
    carried = [f.axis.image_axis for factors in dims for f in factors if f.axis is not None]
    if len(set(carried)) < len(carried):
        raise UnknownFootprint("it joins branches in which an axis of the image lies along different dimensions")
    reached = [tuple(_reaching(f, whole) for f in factors) for factors in dims]
    return Footprint(tuple(reached), {axis: hull for axis, hull in whole.items() if axis not in carried})


def _reaching(factor: Factor, whole: Mapping[int, tuple[int, int]]) -> Factor:
    if factor.axis is None or factor.axis.image_axis not in whole:
        return factor
    return Factor(factor.size, factor.axis.reaching(*whole[factor.axis.image_axis]))


def _joined(first: tuple[Factor, ...], second: tuple[Factor, ...]) -> tuple[Factor, ...]:
    if all(f.axis is None for f in first):
        return second
    if [f.size for f in first] != [f.size for f in second]:
        raise UnknownFootprint("it joins branches in which axes of the image are folded differently")
    return tuple(
        Factor(a.size, a.axis.union(b.axis) if a.axis and b.axis else a.axis or b.axis)
        for a, b in zip(first, second, strict=True)
    )


def refold(footprint: Footprint, shape: Sequence[int]) -> Footprint:
    """Follow a view with another shape, which may not cut an axis of the image in parts."""
    for dim in range(len(footprint.dims)):
        if math.prod(f.size for f in footprint.dims[dim]) == 1:
            footprint = footprint.lost(dim)
    waiting = _gathered([factor for dim_factors in footprint.dims for factor in dim_factors])
    dims: list[tuple[Factor, ...]] = []
    for size in shape:
        factors: list[Factor] = []
        missing = size
        while missing > 1 and waiting:
            factor = waiting.pop(0)
            if factor.axis is None and factor.size > missing and factor.size % missing == 0:
                waiting.insert(0, Factor(factor.size // missing))
                factor = Factor(missing)
            if missing % factor.size:
                raise UnknownFootprint("a view cuts an axis of the image in parts")
            factors.append(factor)
            missing //= factor.size
        dims.append(tuple(factors))
    return replace(footprint, dims=tuple(dims))


def _gathered(factors: Sequence[Factor]) -> list[Factor]:
    """Multiply plain factors that stand side by side."""
    gathered: list[Factor] = []
    for is_plain, run in itertools.groupby(factors, lambda f: f.axis is None):
        parts = list(run)
        gathered += [Factor(math.prod(f.size for f in parts))] if is_plain else parts
    return [f for f in gathered if f.size != 1 or f.axis is not None]


@dataclass(frozen=True)
class Call:
    """One operation that ran, with its arguments, defaults included, by the names of its schema."""

    arguments: dict[str, Any]
    result: Any
    footprint_of: Callable[[Tensor], Footprint | None]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def footprint(self) -> Footprint:
        """The footprint of the first argument; no other may depend on the image."""
        first, *others = [a for a in self.arguments.values() if isinstance(a, Tensor)]
        if any(self.footprint_of(other) is not None for other in others):
            raise UnknownFootprint("its weights or indices depend on the image")
        footprint = self.footprint_of(first)
        if footprint is None:
            raise UnknownFootprint("another argument than the first depends on the image")
        return footprint

    def sizes(self, name: str, count: int) -> tuple[int, ...]:
        """Give an argument with a number for each axis, where one number may stand for all."""
        values = self.arguments[name]
        values = [values] if isinstance(values, int) else list(values)
        return tuple(values * count) if len(values) == 1 else tuple(values)


Rule: TypeAlias = "Callable[[Call], Footprint | list[Footprint]]"
"""What carries footprints through one operation: the footprint of its (first) result, or one for each of a list."""

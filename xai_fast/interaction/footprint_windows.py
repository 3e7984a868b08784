"""How operations with windows carry footprints on: convolutions, poolings, padding, resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xai_fast.interaction.footprint import Axis, Call, Factor, Footprint, Rule, plain

__all__ = ["WINDOW_RULES"]


def _slide(axis: Axis, count: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    index = np.arange(count)[:, None] * stride - padding + np.arange(kernel) * dilation
    reach = (kernel - 1) * dilation
    return axis.taps(index, step=stride, offset=reach / 2 - padding, widening=reach)


def _slide_transposed(axis: Axis, count: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    place = np.arange(count)[:, None] + padding - np.arange(kernel) * dilation
    index = np.where(place % stride == 0, place // stride, -1)
    reach = (kernel - 1) * dilation
    return axis.taps(index, step=1 / stride, offset=(padding - reach / 2) / stride, widening=reach / stride)


def _windows(footprint: Footprint, result: Any, number: int, change: Callable[[Axis, int, int], Axis]) -> Footprint:
    """Change the axes in the last ``number`` dimensions by ``change(axis, length of the result, number)``."""
    result = result[0] if isinstance(result, tuple) else result
    first = len(footprint.dims) - number
    for k in range(number):
        axis = footprint.axis_at(first + k)
        length = result.shape[first + k]
        factors = plain(length) if axis is None else (Factor(length, change(axis, length, k)),)
        footprint = footprint.with_dim(first + k, factors)
    return footprint


def _convolution(call: Call) -> Footprint:
    """Convolve; the channels are mixed."""
    number = call["weight"].ndim - 2
    kernel = call["weight"].shape[2:]
    stride, padding, dilation = (call.sizes(name, number) for name in ("stride", "padding", "dilation"))
    slide = _slide_transposed if call["transposed"] else _slide
    mixed = call.footprint.lost(len(call.footprint.dims) - number - 1)
    mixed = mixed.with_dim(len(mixed.dims) - number - 1, plain(call.result.shape[-number - 1]))
    return _windows(
        mixed, call.result, number, lambda a, n, k: slide(a, n, kernel[k], stride[k], padding[k], dilation[k])
    )


def _pooling(number: int) -> Rule:
    def rule(call: Call) -> Footprint:
        kernel, padding = call.sizes("kernel_size", number), call.sizes("padding", number)
        stride = call.sizes("stride", number) or kernel
        dilation = call.sizes("dilation", number) if "dilation" in call.arguments else (1,) * number
        return _windows(
            call.footprint,
            call.result,
            number,
            lambda a, n, k: _slide(a, n, kernel[k], stride[k], padding[k], dilation[k]),
        )

    return rule


def _adaptive_pooling(number: int) -> Rule:
    def change(axis: Axis, length: int, _k: int) -> Axis:
        before = len(axis.low)
        first = np.arange(length) * before // length
        last = -(-(np.arange(length) + 1) * before // length)
        widest = int((last - first).max())
        index = first[:, None] + np.arange(widest)
        index = np.where(index < last[:, None], index, -1)
        ratio = before / length
        return axis.taps(index, step=ratio, offset=(ratio - 1) / 2, widening=ratio - 1)

    return lambda call: _windows(call.footprint, call.result, number, change)


def _constant_pad(call: Call) -> Footprint:
    """Pad with a constant, or cut where the padding is negative."""
    pad = call["pad"]
    number = len(pad) // 2
    before = pad[::2][::-1]  # the last axis comes first
    return _windows(call.footprint, call.result, number, lambda a, n, k: _slide(a, n, 1, 1, before[k], 1))


def _copying_padding(number: int, mode: str) -> Rule:
    def rule(call: Call) -> Footprint:
        before = call["padding"][::2][::-1]

        def change(axis: Axis, length: int, k: int) -> Axis:
            last = len(axis.low) - 1
            place = np.arange(length) - before[k]
            index = place.clip(0, last) if mode == "replicate" else last - abs(last - abs(place))
            return axis.taps(index[:, None], step=1, offset=-before[k])

        return _windows(call.footprint, call.result, number, change)

    return rule


def _nearest(number: int, exact: bool = False) -> Rule:
    def change(axis: Axis, length: int, _k: int) -> Axis:
        ratio = len(axis.low) / length
        index = np.floor((np.arange(length) + (0.5 if exact else 0.0)) * ratio).astype(np.int64)
        return axis.taps(index.clip(0, len(axis.low) - 1)[:, None], step=ratio, offset=(ratio - 1) / 2)

    return lambda call: _windows(call.footprint, call.result, number, change)


def _linear_resize(number: int) -> Rule:
    def rule(call: Call) -> Footprint:
        corners = bool(call["align_corners"])

        def change(axis: Axis, length: int, _k: int) -> Axis:
            last = len(axis.low) - 1
            step = last / max(length - 1, 1) if corners else (last + 1) / length
            place = np.arange(length) * step + (0.0 if corners else (step - 1) / 2)
            place = place.round(9).clip(0, last)
            index = np.stack([np.floor(place), np.ceil(place)], 1).astype(np.int64)
            return axis.taps(index, step=step, offset=0.0 if corners else (step - 1) / 2, widening=1)

        return _windows(call.footprint, call.result, number, change)

    return rule


WINDOW_RULES: dict[str, Rule] = {
    "convolution": _convolution,
    "constant_pad_nd": _constant_pad,
    **{f"{kind}_pool{n}d": _pooling(n) for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _pooling(n) for n in (2, 3)},
    **{f"{kind}_pool{n}d": _adaptive_pooling(n) for kind in ("_adaptive_avg", "adaptive_max") for n in (2, 3)},
    **{f"reflection_pad{n}d": _copying_padding(n, "reflect") for n in (1, 2, 3)},
    **{f"replication_pad{n}d": _copying_padding(n, "replicate") for n in (1, 2, 3)},
    **{f"upsample_nearest{n}d": _nearest(n) for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _nearest(n, exact=True) for n in (1, 2, 3)},
    **{f"upsample_{kind}linear{n}d": _linear_resize(n) for n, kind in enumerate(("", "bi", "tri"), 1)},
}
"""By the operation's name."""

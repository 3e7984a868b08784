"""The way back through a convolution that reads few channels, such as the first layer of a network for pictures.

oneDNN computes channels in blocks of 8 or 16, so that the gradient of three channels takes as long as that of sixteen.
A product of matrices with as many rows as there are weights per output channel wastes nothing; what it gives for each
tap of the kernel is then added where the tap read. Fewer than five channels took 1.2 to 4 times less time that way, and
more of them up to 1.5 times more.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

__all__ = ["ByTaps", "goes_by_taps", "input_gradient"]

_MOST_CHANNELS = 4


def goes_by_taps(weight: Tensor, options: Sequence[Any]) -> bool:
    """Tell whether `input_gradient` is the faster way back.

    Args:
        weight: (out, in, *kernel).
        options: stride, padding, dilation, whether it is transposed, output padding and groups, as ``aten.convolution``
            takes them.

    Returns:
        Whether that is so; only ever on a CPU.
    """
    *_, transposed, _, groups = options
    few = weight.shape[1] <= _MOST_CHANNELS and weight.shape[1] < weight.shape[0]
    return few and not transposed and groups == 1 and weight.device.type == "cpu"


def input_gradient(
    rows: Tensor,
    weight: Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:
    """Compute the gradient of a convolution with respect to its input.

    Args:
        rows: (N, out, *sizes of the output), the gradient of the output.
        weight: (out, in, *kernel).
        size: sizes of the input; this and the following one per dimension.
        stride: of the convolution.
        padding: of the convolution.
        dilation: of the convolution.

    Returns:
        (N, in, *size).
    """
    out, channels, *kernel = weight.shape
    batch, _, *places = rows.shape
    taps = list(itertools.product(*map(range, kernel)))
    by_tap = torch.matmul(weight.reshape(out, -1).mT, rows.flatten(2)).reshape(batch, channels, len(taps), *places)
    reach = [step * (n - 1) + 1 for step, n in zip(stride, places, strict=True)]
    ends = [apart * (k - 1) + r for apart, k, r in zip(dilation, kernel, reach, strict=True)]
    ends = [max(end, pad + n) for end, pad, n in zip(ends, padding, size, strict=True)]
    total = rows.new_zeros(batch, channels, *ends)
    for at, tap in enumerate(taps):
        begins = [apart * i for apart, i in zip(dilation, tap, strict=True)]
        read = [slice(b, b + r, step) for b, r, step in zip(begins, reach, stride, strict=True)]
        total[(..., *read)] += by_tap[:, :, at]
    return total[(..., *(slice(pad, pad + n) for pad, n in zip(padding, size, strict=True)))]


class ByTaps(torch.autograd.Function):
    """A convolution with constant weights that goes back by `input_gradient`; its options are those of that."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        ctx.weight, ctx.size, ctx.options = weight, x.shape[2:], options
        result: Tensor = torch.ops.aten.convolution.default(x, weight, bias, *options, False, [0] * len(options[0]), 1)
        return result

    @staticmethod
    @override
    def backward(ctx: Any, rows: Tensor) -> tuple[Tensor | None, ...]:
        return (input_gradient(rows, ctx.weight, ctx.size, *ctx.options), None, None, None, None, None)

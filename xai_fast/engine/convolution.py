"""The way back through a convolution that reads few channels, such as the first layer of a network for pictures.

oneDNN computes channels in blocks of 8 or 16, so that the gradient of three channels takes as long as that of sixteen.
torch has a product of matrices with as many rows as a filter has weights too, for where oneDNN is missing; it adds up
what the product gives for each place of the filter. Of up to four channels that took 1.3 to 10 times less time; of six
or eight with large filters it can take more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

__all__ = ["FewChannels", "input_gradient", "reads_few_channels"]

aten = torch.ops.aten

_MOST_CHANNELS = 4
_CHEAP_TO_COPY = 2**20
"""Entries up to which a copy into the other format takes less time than it saves."""


def reads_few_channels(weight: Tensor, options: Sequence[Any]) -> bool:
    """Tell whether `input_gradient` is the faster way back.

    Args:
        weight: (out, in, *kernel).
        options: stride, padding, dilation, whether it is transposed, output padding and groups, as ``aten.convolution``
            takes them.

    Returns:
        Whether that is so; only of two dimensions, on a CPU.
    """
    _, _, dilation, transposed, _, groups = options
    if weight.ndim != 4 or weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64):
        return False
    few = weight.shape[1] <= _MOST_CHANNELS and weight.shape[1] < weight.shape[0]
    return few and not transposed and groups == 1 and set(dilation) == {1}


def input_gradient(
    rows: Tensor, weight: Tensor, size: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Compute the gradient of a convolution with respect to its input.

    Args:
        rows: (N, out, *sizes of the output), the gradient of the output.
        weight: (out, in, height, width).
        size: height and width of the input.
        stride: of the convolution, two numbers.
        padding: of the convolution, two numbers.

    Returns:
        (N, in, *size).
    """
    _, channels, *kernel = weight.shape
    if channels == 1 and rows.numel() < _CHEAP_TO_COPY:  # in channels-last format it adds numbers one by one
        rows = rows.contiguous()
    source = torch.empty((len(rows), channels, *size), dtype=rows.dtype)
    if rows.is_contiguous():
        weight = weight.flatten().view(weight.shape)  # of one channel it may say that it is channels-last
    else:
        source, weight = (value.to(memory_format=torch.channels_last) for value in (source, weight))
    mask = [True, False, False]
    found: Tensor = aten._slow_conv2d_backward.output_mask(rows, source, weight, kernel, stride, padding, mask)[0]
    return found


class FewChannels(torch.autograd.Function):
    """A convolution with constant weights that goes back by `input_gradient`: of x, weight, bias, stride, padding."""

    @staticmethod
    @override
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any) -> Tensor:
        ctx.weight, ctx.size, ctx.options = weight, x.shape[2:], (stride, padding)
        result: Tensor = torch.conv2d(x, weight, bias, stride, padding)
        return result

    @staticmethod
    @override
    def backward(ctx: Any, rows: Tensor) -> tuple[Tensor | None, ...]:
        return input_gradient(rows, ctx.weight, ctx.size, *ctx.options), None, None, None, None

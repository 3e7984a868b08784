"""The ratio in plain PyTorch: the definition of the kernel, and the fallback. Sums are in float64."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["run"]


def run(
    out: Tensor,
    sums: Tensor | None,
    c: Tensor,
    numerator: Tensor,
    divisor: Tensor,
    bias: Tensor | None,
    inner: int,
    eps: float,
) -> None:
    """Run the contract of `xai_fast.kernels.relevance_ratio`."""
    stabiliser = torch.where(divisor < 0, divisor.new_tensor(-eps), divisor.new_tensor(eps))
    torch.mul(c, numerator / (divisor + stabiliser), out=out)
    if sums is None:
        return
    size, none = divisor.abs(), divisor.new_tensor(0.0)
    sums[..., 0] = _sum(c, numerator)
    sums[..., 1] = 0.0 if bias is None else _sum(out, _bias_of_units(numerator, bias, inner))
    sums[..., 2] = _sum(out, torch.where(size > stabiliser.abs(), stabiliser, none))
    sums[..., 3] = _sum(out, torch.where(size <= stabiliser.abs(), stabiliser, none))


def _sum(of_rows: Tensor, of_items: Tensor) -> Tensor:
    return torch.einsum("tbm,bm->tb", of_rows.double(), of_items.double())


def _bias_of_units(numerator: Tensor, bias: Tensor, inner: int) -> Tensor:
    by_channel = numerator.view(len(numerator), -1, bias.shape[1], inner)
    return torch.where(by_channel > 0, bias[0, :, None], bias[1, :, None]).flatten(1)

"""Hessians of chains of layers: fused kernels in the place of the interpreter.

Where layers have some hundred units the interpreter's calls cost more than its arithmetic. With z the values before the
elementwise functions s of the chain, and mu the adjoints of s(z),

    H_ij = sum over units of mu s''(z) z_i z_j

so that the values and derivatives of all units take one kernel, their rows and adjoints another, and the sum one matrix
product per item.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from xai_fast import backends
from xai_fast.taylor.feedforward import Chain
from xai_fast.taylor.numbering import Numbering, Subsets

__all__ = ["chain_bytes", "chain_hessian", "chain_operations"]


@functools.lru_cache(maxsize=16)
def _singles(count: int, device: torch.device) -> Subsets:
    return Numbering(count, device).complete(1)


def chain_operations(chain: Chain, rows: int) -> int:
    """Count floating-point operations per item."""
    return 2 * rows * (chain.weights.numel() + chain.layers[0].weight.numel() + rows * chain.units)


def chain_bytes(chain: Chain, x: Tensor, rows: int) -> int:
    """Count the bytes that are taken per item."""
    return x.element_size() * (chain.units * (2 * rows + 8) + rows**2)


def chain_hessian(chain: Chain, x: Tensor) -> Tensor:
    """Compute the Hessians (B, N, N) of items (B, ...) of a chain whose last linear map is the same for all items."""
    if chain.weight is None:
        raise ValueError("expected a chain whose last linear map is the same for all items")
    entries, width = x[0].numel(), chain.widths[0]
    first = chain.transposed[: entries * width].view(1, entries, width)
    derivatives = chain.derivatives(x, 2)
    rows = derivatives.new_empty(x.shape[0], entries, chain.units)
    adjoints = derivatives.new_empty(x.shape[0], 1, chain.units)
    subsets = _singles(entries, x.device)
    backends.select("feed_forward_rows", (rows,)).run(
        rows,
        adjoints,
        derivatives,
        first,
        chain.weight,
        chain.weights,
        chain.transposed_behind_first,
        chain.widths,
        subsets.pairs,
        subsets.triples,
        subsets.triple_pairs,
    )
    return torch.bmm(rows * (derivatives[:, 2:3] * adjoints), rows.mT)

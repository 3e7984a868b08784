"""The Hessian of a small feed-forward network: three kernels and one matrix product an item.

Where a network has some hundred units the interpreter's calls cost more than its arithmetic. The rows of a chain
(`xai_fast.taylor.feedforward`) along the unit vectors start from the columns of the first matrix, so that

    H = sum over units of mu s''(z) z_i z_j

needs the values and derivatives of all units, one pass forward and backward through the layers, and a product.
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


def chain_operations(chain: Chain, entries: int) -> int:
    """Count floating-point operations of `chain_hessian` an item."""
    units = sum(chain.widths)
    return 2 * entries * (chain.weights.numel() + entries * units)


def chain_bytes(chain: Chain, x: Tensor) -> int:
    """Count the bytes that `chain_hessian` takes for all items."""
    entries, units = x[0].numel(), sum(chain.widths)
    return x.element_size() * x.shape[0] * (units * (2 * entries + 8) + entries**2)


def chain_hessian(chain: Chain, x: Tensor) -> Tensor:
    """Compute the Hessian of each item.

    Args:
        chain: whose last linear map does not depend on the item.
        x: (B, ...), B >= 1, N entries an item.

    Returns:
        (B, N, N).
    """
    if chain.weight is None:
        raise ValueError("expected a chain whose last linear map is the same for all items")
    entries, units = x[0].numel(), sum(chain.widths)
    derivatives = chain.derivatives(x, 2)
    rows, adjoints = x.new_empty(x.shape[0], entries, units), x.new_empty(x.shape[0], 1, units)
    subsets = _singles(entries, x.device)
    first = entries * chain.widths[0]
    backends.select("feed_forward_rows", (rows,)).run(
        rows,
        adjoints,
        derivatives,
        chain.transposed[:first].view(1, entries, chain.widths[0]),
        chain.weight,
        chain.weights,
        chain.transposed[first:],
        chain.widths,
        subsets.pairs,
        subsets.triples,
        subsets.triple_pairs,
    )
    return torch.bmm(rows * (derivatives[:, 2:3] * adjoints), rows.mT)

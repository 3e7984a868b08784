"""The three kernels' references in turn: the definition of the kernel, and the fallback."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xai_fast.kernels.feed_forward_rows import reference as rows_reference
from xai_fast.kernels.feed_forward_values import reference as values_reference
from xai_fast.kernels.tuple_sum import reference as sums_reference

__all__ = ["run", "why_not"]


def why_not(tensors: Sequence[Tensor]) -> str | None:
    """Return None: plain PyTorch runs everywhere."""
    return None


def run(
    out: Tensor,
    derivatives: Tensor,
    rows: Tensor,
    adjoints: Tensor,
    x: Tensor,
    transposed: Tensor,
    biases: Tensor,
    widths: Sequence[int],
    activations: Sequence[str],
    parameters: Sequence[float],
    first: Tensor,
    last: Tensor,
    weights: Tensor,
    pairs: Tensor,
    triples: Tensor,
    triple_pairs: Tensor,
    members: Tensor,
    order: int,
) -> None:
    """Run the contract of `xai_fast.kernels.feed_forward_sums`."""
    behind = transposed[x.shape[1] * widths[0] :]
    values_reference.run(derivatives, x, transposed, biases, widths, activations, parameters)
    rows_reference.run(rows, adjoints, derivatives, first, last, weights, behind, widths, pairs, triples, triple_pairs)
    sums_reference.run(out, derivatives, rows, adjoints, members, order)

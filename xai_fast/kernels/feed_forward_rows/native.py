"""The compiled CPU version: ``csrc/kernels/feed_forward_rows``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(
    rows: Tensor,
    adjoints: Tensor,
    derivatives: Tensor,
    first: Tensor,
    last: Tensor,
    weights: Tensor,
    transposed: Tensor,
    widths: Sequence[int],
    pairs: Tensor,
    triples: Tensor,
    triple_pairs: Tensor,
) -> None:
    """Run the contract of `xai_fast.kernels.feed_forward_rows`."""
    native.call(
        "feed_forward_rows",
        locals(),
        items=rows.shape[0],
        singles=first.shape[1],
        pair_count=pairs.shape[0],
        triple_count=triples.shape[0],
        adjoint_count=adjoints.shape[1],
        derivative_count=derivatives.shape[1],
        first_by_item=first.shape[0] != 1,
        last_by_item=last.shape[0] != 1,
        dtype=native.dtype_name(rows),
    )

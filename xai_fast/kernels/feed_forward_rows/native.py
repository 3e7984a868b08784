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
    with native.checked_items():
        native.module().feed_forward_rows(
            rows=rows.data_ptr(),
            adjoints=adjoints.data_ptr(),
            derivatives=derivatives.data_ptr(),
            first=first.data_ptr(),
            last=last.data_ptr(),
            weights=weights.data_ptr(),
            transposed=transposed.data_ptr(),
            widths=widths,
            pairs=pairs.data_ptr(),
            triples=triples.data_ptr(),
            triple_pairs=triple_pairs.data_ptr(),
            items=rows.shape[0],
            singles=first.shape[1],
            pair_count=pairs.shape[0],
            triple_count=triples.shape[0],
            adjoint_count=adjoints.shape[1],
            derivative_count=derivatives.shape[1],
            first_by_item=first.shape[0] != 1,
            last_by_item=last.shape[0] != 1,
            dtype=native.dtype_name(rows),
            threads=native.threads(),
        )

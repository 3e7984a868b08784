"""The compiled CPU version: ``csrc/kernels/feed_forward_sums``."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xai_fast import native
from xai_fast.backends import native_why_not as why_not
from xai_fast.kernels.tuple_sum.subsets import orders_of, subsets_of

__all__ = ["run", "why_not"]


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
    items, inputs = x.shape
    singles = first.shape[1]
    with native.checked_items():
        native.module().feed_forward_sums(
            out=out.data_ptr(),
            derivatives=derivatives.data_ptr(),
            rows=rows.data_ptr(),
            adjoints=adjoints.data_ptr(),
            x=x.data_ptr(),
            transposed=transposed.data_ptr(),
            biases=biases.data_ptr(),
            widths=widths,
            activations=activations,
            parameters=parameters,
            first=first.data_ptr(),
            last=last.data_ptr(),
            weights=weights.data_ptr(),
            pairs=pairs.data_ptr(),
            triples=triples.data_ptr(),
            triple_pairs=triple_pairs.data_ptr(),
            members=members.data_ptr(),
            items=items,
            inputs=inputs,
            singles=singles,
            pair_count=pairs.shape[0],
            triple_count=triples.shape[0],
            adjoint_count=adjoints.shape[1],
            tuples=members.shape[0],
            columns=members.shape[1],
            with_adjoint=len(subsets_of(order, orders_of(order)[1])),
            order=order,
            orders=derivatives.shape[1] - 1,
            first_by_item=first.shape[0] != 1,
            last_by_item=last.shape[0] != 1,
            dtype=native.dtype_name(x),
            threads=native.threads(),
        )

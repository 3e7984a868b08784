"""The compiled CPU version: ``csrc/kernels/tuple_sum``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native
from xai_fast.kernels.tuple_sum.subsets import orders_of, subsets_of

__all__ = ["run"]


def run(out: Tensor, derivatives: Tensor, rows: Tensor, adjoints: Tensor, members: Tensor, order: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_sum`."""
    native.call(
        "tuple_sum",
        locals(),
        items=out.shape[0],
        tuples=out.shape[1],
        units=rows.shape[2],
        columns=members.shape[1],
        with_adjoint=len(subsets_of(order, orders_of(order)[1])),
        derivative_count=derivatives.shape[1],
        row_count=rows.shape[1],
        adjoint_count=adjoints.shape[1],
        dtype=native.dtype_name(out),
    )

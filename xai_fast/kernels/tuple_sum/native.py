"""The compiled CPU version: ``csrc/kernels/tuple_sum``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.tuple_sum import tuple_sum
from xai_fast.kernels.tuple_sum.subsets import orders_of, subsets_of

__all__ = ["run"]

run = native.runner(
    tuple_sum,
    lambda out, derivatives, rows, adjoints, members, order, **_: {
        "items": out.shape[0],
        "tuples": out.shape[1],
        "units": rows.shape[2],
        "columns": members.shape[1],
        "with_adjoint": len(subsets_of(order, orders_of(order)[1])),
        "derivative_count": derivatives.shape[1],
        "row_count": rows.shape[1],
        "adjoint_count": adjoints.shape[1],
        "dtype": native.dtype_name(out),
    },
)

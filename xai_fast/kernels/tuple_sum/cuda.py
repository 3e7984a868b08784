"""The CUDA version: ``csrc/kernels/tuple_sum/cuda.cu``, on the current stream."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native
from xai_fast.errors import bad_argument

__all__ = ["run"]


def run(out: Tensor, derivatives: Tensor, rows: Tensor, adjoints: Tensor, members: Tensor, order: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_sum`."""
    if rows.shape[2] >= 2**31:
        raise bad_argument("rows", "less than 2**31 units", f"shape {tuple(rows.shape)}")
    with native.device_of(rows):
        # In the order of tuple_sum_cuda.h: who calls it without pybind11 counts on it.
        native.module().tuple_sum_cuda(
            out=native.address(out),
            derivatives=native.address(derivatives),
            rows=native.address(rows),
            adjoints=native.address(adjoints),
            members=native.address(members),
            items=out.shape[0],
            tuples=out.shape[1],
            units=rows.shape[2],
            derivative_count=derivatives.shape[1],
            row_count=rows.shape[1],
            adjoint_count=adjoints.shape[1],
            order=order,
            element_size=out.element_size(),
            stream=native.stream(rows),
        )

"""The compiled CPU version: ``csrc/kernels/partition_sum``."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from torch import Tensor

from xai_fast import native

__all__ = ["run", "run_reduced"]


def _run(
    out: Tensor,
    values: Tensor,
    rows: Tensor,
    adjoints: Tensor | None,
    activation: str,
    parameters: Sequence[float],
    term_offsets: Tensor,
    term_order: Tensor,
    term_adjoint: Tensor,
    block_offsets: Tensor,
    blocks: Tensor,
    orders: int,
    *,
    reduced: bool,
) -> None:
    native.call(
        "partition_sum",
        locals(),
        parameters=list(parameters),
        targets=term_offsets.shape[0] - 1,
        terms=term_order.shape[0],
        block_count=blocks.shape[0],
        row_count=rows.shape[0],
        adjoint_count=0 if adjoints is None else adjoints.shape[0],
        items=values.shape[0],
        units=values.shape[1],
        dtype=native.dtype_name(values),
    )


run = functools.partial(_run, reduced=False)
run_reduced = functools.partial(_run, reduced=True)

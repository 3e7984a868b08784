"""The compiled CPU version: ``csrc/kernels/partition_sum``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.partition_sum import partition_sum, partition_sum_reduced

__all__ = ["run", "run_reduced"]

run, run_reduced = (
    native.runner(
        contract,
        lambda values, rows, adjoints, parameters, term_offsets, term_order, blocks, reduced=reduced, **_: {
            "parameters": list(parameters),
            "targets": term_offsets.shape[0] - 1,
            "terms": term_order.shape[0],
            "block_count": blocks.shape[0],
            "row_count": rows.shape[0],
            "adjoint_count": 0 if adjoints is None else adjoints.shape[0],
            "items": values.shape[0],
            "units": values.shape[1],
            "dtype": native.dtype_name(values),
            "reduced": reduced,
        },
        "partition_sum",
    )
    for contract, reduced in ((partition_sum, False), (partition_sum_reduced, True))
)

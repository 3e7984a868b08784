"""The CPU version: the compiled ``csrc/kernels/pair_reduce``, or the BLAS of torch where that is faster.

The compiled kernel holds sums in vectors over units and adds up their lanes at the end, which is lost time where units
are few for the number of pairs. The choice is by pairs and units, never by how many items there are, so that an item's
result does not depend on the batch that it comes in.
"""

from __future__ import annotations

from torch import Tensor

from xai_fast import native
from xai_fast.kernels.pair_reduce import pair_reduce

__all__ = ["by_gemm", "gemm_is_faster", "run", "run_compiled"]

MOST_WEIGHTED = 1 << 18
"""Entries of ``weight * left`` that exist at a time in `by_gemm`."""


def gemm_is_faster(rows: int, columns: int, units: int) -> bool:
    """Return whether BLAS is faster; measured from 4 x 4 to 196 x 196 pairs, 1 to 64 items and 3 to 2048 units."""
    pairs = rows * columns
    return pairs >= 144 and units**2 < 25 * pairs


def by_gemm(sums: Tensor, left: Tensor, right: Tensor, weight: Tensor | None) -> None:
    """Run the contract by matrix products of torch, a few items at a time; meant for few units."""
    rows, items, units = left.shape
    step = max(1, MOST_WEIGHTED // (rows * units))
    for start in range(0, items, step):
        chosen = slice(start, start + step)
        weighted = left[:, chosen] if weight is None else left[:, chosen] * weight[chosen]
        sums[chosen].baddbmm_(weighted.transpose(0, 1), right[:, chosen].permute(1, 2, 0))


run_compiled = native.runner(
    pair_reduce,
    lambda sums, left, **_: {
        "items": sums.shape[0],
        "rows": sums.shape[1],
        "columns": sums.shape[2],
        "units": left.shape[2],
        "dtype": native.dtype_name(sums),
    },
)


def run(sums: Tensor, left: Tensor, right: Tensor, weight: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_reduce`."""
    _, rows, columns = sums.shape
    chosen = by_gemm if gemm_is_faster(rows, columns, left.shape[2]) else run_compiled
    chosen(sums, left, right, weight)

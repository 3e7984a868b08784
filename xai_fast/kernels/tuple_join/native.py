"""The compiled CPU version: ``csrc/kernels/tuple_join``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native
from xai_fast.backends import native_why_not as why_not

__all__ = ["run", "run_top_k", "why_not"]


def run(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int, min_support: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_join`."""
    native.module().tuple_join(
        out=native.address(out),
        count=native.address(count),
        parents=native.address(parents),
        parent_count=parents.shape[0],
        order=parents.shape[1],
        features=features,
        begin=begin,
        end=end,
        min_support=min_support,
        threads=native.threads(),
    )


def run_top_k(best_values: Tensor, best_tuples: Tensor, best_count: Tensor, values: Tensor, tuples: Tensor) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_top_k`."""
    native.module().tuple_top_k(
        best_values=native.address(best_values),
        best_tuples=native.address(best_tuples),
        best_count=native.address(best_count),
        values=native.address(values),
        tuples=native.address(tuples),
        k=best_values.shape[0],
        candidates=values.shape[0],
        order=tuples.shape[1],
        dtype=native.dtype_name(values),
        threads=native.threads(),
    )

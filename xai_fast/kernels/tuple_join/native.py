"""The compiled CPU version: ``csrc/kernels/tuple_join``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int) -> None:
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
        threads=native.threads(),
    )

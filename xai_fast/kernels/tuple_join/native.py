"""The compiled CPU version: ``csrc/kernels/tuple_join``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_join`."""
    native.call(
        "tuple_join",
        locals(),
        parent_count=parents.shape[0],
        order=parents.shape[1],
    )

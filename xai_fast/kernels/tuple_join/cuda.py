"""The CUDA version: ``csrc/kernels/tuple_join/cuda.cu``, on the current stream."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native

__all__ = ["run"]


def run(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_join`."""
    rows, order = parents.shape
    size = native.module().tuple_join_workspace(parent_count=rows, positions=end - begin)
    workspace = native.workspace(size, parents)
    with native.device_of(parents):
        # In the order of tuple_join_cuda.h: who calls it without pybind11 counts on it.
        native.module().tuple_join_cuda(
            out=native.address(out),
            count=native.address(count),
            parents=native.address(parents),
            parent_count=rows,
            order=order,
            features=features,
            begin=begin,
            end=end,
            workspace=native.address(workspace),
            stream=native.stream(parents),
        )

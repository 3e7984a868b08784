"""The CUDA version: ``csrc/kernels/tuple_join/*.cu``, on the current stream."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native
from xai_fast.backends import cuda_why_not as why_not

__all__ = ["run", "run_top_k", "why_not"]

# The arguments of each launch are in the order of tuple_join_cuda.h: who calls it without pybind11 counts on it.


def run(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int, min_support: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_join`."""
    rows, order = parents.shape
    size = native.module().tuple_join_workspace(parent_count=rows, positions=end - begin)
    workspace = native.workspace(size, parents)
    with native.device_of(parents):
        native.module().tuple_join_cuda(
            out=native.address(out),
            count=native.address(count),
            parents=native.address(parents),
            parent_count=rows,
            order=order,
            features=features,
            begin=begin,
            end=end,
            min_support=min_support,
            workspace=native.address(workspace),
            stream=native.stream(parents),
        )


def run_top_k(best_values: Tensor, best_tuples: Tensor, best_count: Tensor, values: Tensor, tuples: Tensor) -> None:
    """Run the contract of `xai_fast.kernels.tuple_join.tuple_top_k`."""
    sizes = {
        "k": best_values.shape[0],
        "candidates": values.shape[0],
        "order": tuples.shape[1],
        "element_size": values.element_size(),
    }
    workspace = native.workspace(native.module().tuple_top_k_workspace(**sizes), values)
    with native.device_of(values):
        native.module().tuple_top_k_cuda(
            best_values=native.address(best_values),
            best_tuples=native.address(best_tuples),
            best_count=native.address(best_count),
            values=native.address(values),
            tuples=native.address(tuples),
            **sizes,
            workspace=native.address(workspace),
            stream=native.stream(values),
        )

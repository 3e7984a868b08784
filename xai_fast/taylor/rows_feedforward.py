"""What mixed derivatives of feed-forward networks are summed from, and the backends of the kernels that make it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from xai_fast import backends

__all__ = ["Backends", "Rows", "version_of"]


@dataclass(frozen=True)
class Rows:
    """What `xai_fast.kernels.tuple_sum` reads, for some of the items.

    Attributes:
        order: of the tuples that it is enough for.
        derivatives: (B, order + 1, U).
        rows: (B, R, U).
        adjoints: (B, Q, U).
        version: that of the points, of which changes in place are noticed.
    """

    order: int
    derivatives: Tensor
    rows: Tensor
    adjoints: Tensor
    version: int


@dataclass(frozen=True)
class Backends:
    """The backends of the kernels, called past the dispatch of operators, which takes longer than a small network.

    They are chosen when a function's derivatives are made, and again when another backend is forced.

    Attributes:
        forced: the backend that was forced then.
        values: `xai_fast.kernels.feed_forward_values`.
        rows: `xai_fast.kernels.feed_forward_rows`.
        sums: `xai_fast.kernels.tuple_sum`.
    """

    forced: str | None
    values: Callable[..., None]
    rows: Callable[..., None]
    sums: Callable[..., None]

    @classmethod
    def of(cls, like: Tensor) -> Backends:
        """Choose those for tensors like this one."""
        kernels = ("feed_forward_values", "feed_forward_rows", "tuple_sum")
        values, rows, sums = (backends.select(kernel, (like,)) for kernel in kernels)
        return cls(backends.forced_backend(), values.run, rows.run, sums.run)


def version_of(tensor: Tensor) -> int:
    """Number the changes in place of a tensor; those of inference mode are not counted."""
    return -1 if tensor.is_inference() else tensor._version

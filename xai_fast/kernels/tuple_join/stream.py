"""The loop around `tuple_join` and `tuple_top_k`: candidates chunk by chunk, and the best of them so far."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.tuple_join import MOST, tuple_join, tuple_top_k

__all__ = ["BestTuples", "extensions"]


def extensions(
    parents: Tensor, features: int, *, min_support: int = 1, positions: int | None = None
) -> Iterator[Tensor]:
    """Go through the candidates of `tuple_join`, in their order.

    Args:
        parents: (K, order) int32 or int64, rising rows, each another one.
        features: D.
        min_support: as of `tuple_join`.
        positions: how many positions of the grid of parent and feature to go through at a time; by default at least a
            million, and as many as there are parents, as every step looks at all of them once.

    Yields:
        (n, order + 1) int32, rising rows, n from 1 up to ``positions``. The memory is reused in the next step.

    Raises:
        InputError: a row of ``parents`` does not rise, has a feature that is not from 0 to D - 1, or equals an earlier
            one, or another argument does not fit.
    """
    if parents.dtype == torch.int64:  # what would not fit int32; the kernel finds the rest
        for outside in (parents[parents >= features], parents[parents < torch.iinfo(torch.int32).min]):
            if outside.numel():
                raise bad_argument("parents", f"features from 0 to {features - 1}", str(int(outside.max())))
    parents = parents.to(torch.int32).contiguous()
    step = min(max(1 << 20, parents.shape[0]), MOST) if positions is None else positions
    if step < 1:
        raise bad_argument("positions", "a positive integer", repr(positions))
    total = parents.shape[0] * features
    out = parents.new_empty((min(step, total), parents.shape[1] + 1))
    count = parents.new_empty((1,), dtype=torch.int64)
    for begin in range(0, max(total, 1), step):
        tuple_join(out, count, parents, features, begin, min(total, begin + step), min_support)
        found = int(count)
        if found < 0:
            row = -1 - found
            expected = f"rising rows of features from 0 to {features - 1}, each another one"
            raise bad_argument("parents", expected, f"row {row}: {parents[row].tolist()}")
        if found:
            yield out[:found]


class BestTuples:
    """The best k of sets that are scored bit by bit, by `tuple_top_k`.

    Args:
        k: how many to keep.
        order: features of a set.
        dtype: of the scores, float32 or float64.
        device: where they are.
    """

    def __init__(
        self, k: int, order: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
    ) -> None:
        if k < 1:
            raise bad_argument("k", "a positive integer", repr(k))
        self._values = torch.zeros(k, dtype=dtype, device=device)
        self._tuples = torch.zeros((k, order), dtype=torch.int32, device=device)
        self._count = torch.zeros(1, dtype=torch.int64, device=device)

    def add(self, values: Tensor, tuples: Tensor) -> None:
        """Take scored sets into account.

        Args:
            values: (N,) the scores, of the dtype of the best.
            tuples: (N, order) int32, sets that never came before.
        """
        tuple_top_k(self._values, self._tuples, self._count, values.contiguous(), tuples.contiguous())

    def result(self) -> tuple[Tensor, Tensor]:
        """Return the best so far.

        Returns:
            Values (n,), the largest first, and sets (n, order) int32, n up to k; copies.
        """
        found = int(self._count)
        return self._values[:found].clone(), self._tuples[:found].clone()

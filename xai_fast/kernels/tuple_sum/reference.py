"""The sum in plain PyTorch, partition by partition: the definition of the kernel, and the fallback."""

from __future__ import annotations

import torch
from torch import Tensor

from xai_fast.errors import InputError
from xai_fast.kernels.partition_sum.partitions import set_partitions
from xai_fast.kernels.tuple_sum.subsets import orders_of, subsets_of

__all__ = ["run"]

_ENTRIES_AT_ONCE = 1 << 22


def run(out: Tensor, derivatives: Tensor, rows: Tensor, adjoints: Tensor, members: Tensor, order: int) -> None:
    """Run the contract of `xai_fast.kernels.tuple_sum`."""
    _check_members(members, rows.shape[1], adjoints.shape[1] - 1, order)
    step = max(1, _ENTRIES_AT_ONCE // max(1, rows[:, 0].numel()))
    for start in range(0, members.shape[0], step):
        chosen = slice(start, start + step)
        out[:, chosen] = _sums(derivatives, rows, adjoints, members[chosen], order).to(out.dtype)


def _sums(derivatives: Tensor, rows: Tensor, adjoints: Tensor, members: Tensor, order: int) -> Tensor:
    n, m = orders_of(order)
    column = {sum(1 << i for i in subset): at for at, subset in enumerate(subsets_of(order))}
    everything = (1 << order) - 1
    total = rows.new_zeros(rows.shape[0], members.shape[0], dtype=torch.float64)
    for part in range(everything):
        if part.bit_count() > m:
            continue
        sums = torch.zeros_like(rows[:, :1]).expand(-1, members.shape[0], -1).clone()
        for partition in set_partitions(everything ^ part):
            if len(partition) < 2 or any(block.bit_count() > n for block in partition):
                continue
            product = derivatives[:, len(partition), None]
            for block in partition:
                product = product * rows[:, members[:, column[block]]]
            sums += product
        mu = adjoints[:, members[:, column[part]] + 1] if part else adjoints[:, :1]
        total += (mu * sums).sum(2, dtype=torch.float64)
    return total


def _check_members(members: Tensor, row_count: int, with_adjoint: int, order: int) -> None:
    small = len(subsets_of(order, orders_of(order)[1]))
    for first, columns, end in (
        (0, members[:, :small], min(row_count, with_adjoint)),
        (small, members[:, small:], row_count),
    ):
        outside = ((columns < 0) | (columns >= end)).nonzero()
        if outside.numel():
            at, column = outside[0].tolist()
            raise InputError(
                f"members: expected an index from 0 to {end - 1}, got {int(columns[at, column])} in tuple {at}, "
                f"column {column + first}"
            )

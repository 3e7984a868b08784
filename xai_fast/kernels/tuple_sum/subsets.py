"""The subsets of a tuple that the 2n+1 rule reads, in the order of the columns of ``members``."""

from __future__ import annotations

import functools
from itertools import combinations
from math import comb

from xai_fast.errors import bad_argument
from xai_fast.kernels.partition_sum.activations import MAX_ORDER

__all__ = ["MAX_ORDER", "MIN_ORDER", "operations_of", "orders_of", "subsets_of"]

MIN_ORDER = 2
"""The smallest tuples; a single direction has no sum over partitions."""


def orders_of(order: int) -> tuple[int, int]:
    """Return (n, m), the sizes of the largest sets whose rows and adjoints a tuple needs: (k // 2, (k - 1) // 2)."""
    if not MIN_ORDER <= order <= MAX_ORDER:
        raise bad_argument("order", f"an integer from {MIN_ORDER} to {MAX_ORDER}", repr(order))
    return order // 2, (order - 1) // 2


@functools.cache
def subsets_of(order: int, most: int | None = None) -> tuple[tuple[int, ...], ...]:
    """Return the subsets of the positions 0 to k - 1 that are columns of ``members``, of up to n or ``most`` positions.

    Those of one position come first; those of a size are by their colexicographic rank.
    """
    most = orders_of(order)[0] if most is None else most
    return tuple(
        subset
        for size in range(1, most + 1)
        for subset in sorted(combinations(range(order), size), key=lambda chosen: chosen[::-1])
    )


@functools.cache
def operations_of(order: int) -> int:
    """Count the floating-point operations of one tuple at one unit, as ``csrc/tuples.h`` does them."""
    n, m = orders_of(order)
    total = 2 * (order - 1)  # the sums over partitions into j blocks, times s^(j)
    for size in range(2, order + 1):
        blocks = sum(
            comb(size - 1, block - 1) * (size - block - -(-(size - block) // n) + 1)
            for block in range(1, min(n, size - 1) + 1)
        )
        total += comb(order, size) * (2 * blocks - (size - -(-size // n) + 1))
    for part in range(m + 1):
        total += 2 * comb(order, part) * (order - part - max(2, -(-(order - part) // n)) + 1)
    return total

"""The combinatorial number of a set: where the rows of all sets of one size lie.

Sets of ``order`` features ``i_1 < ... < i_k`` are numbered in colexicographic order, by their largest feature, then the
next largest, and so on: ``rank = C(i_1, 1) + C(i_2, 2) + ... + C(i_k, k)`` (Knuth, The Art of Computer Programming 4A,
section 7.2.1.3). So the sets of the first D features have the numbers ``0 .. C(D, k) - 1``, whatever D is.
``csrc/combinations.h`` is the same arithmetic for C++ and CUDA.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xai_fast.errors import bad_argument

__all__ = ["LIMIT", "MAX_ORDER", "count", "rank", "unrank"]

LIMIT = 2**62
"""Numbers are exact below this; sets whose features have more sets than this are refused."""

MAX_ORDER = 32
"""The most features of a set. Up to here every binomial coefficient on the way fits 64 bits too."""


def count(features: int, order: int) -> int:
    """Return how many sets of one size there are, C(features, order); an `InputError` names a negative argument."""
    for name, value in (("features", features), ("order", order)):
        if value < 0:
            raise bad_argument(name, "an integer from 0", repr(value))
    return math.comb(features, order)


def rank(tuples: Tensor) -> Tensor:
    """Return the numbers (T,) int64 of sets (T, k) int64 or int32, each row rising, from 0.

    An `InputError` says that a row is not rising or not from 0, that k is not from 1 to `MAX_ORDER`, or that there are
    more than `LIMIT` sets of k of so many features.
    """
    if tuples.ndim != 2:
        raise bad_argument("tuples", "shape (T, k)", str(tuple(tuples.shape)))
    if tuples.dtype not in (torch.int64, torch.int32):
        raise bad_argument("tuples", "torch.int64 or torch.int32", str(tuples.dtype))
    order = tuples.shape[1]
    _check_order(order)
    rows = tuples.long()
    ranks = rows.new_zeros(rows.shape[0])
    if not ranks.numel():
        return ranks
    if bool((rows[:, 0] < 0).any()) or bool((rows[:, 1:] <= rows[:, :-1]).any()):
        raise bad_argument("tuples", "rows that rise, from 0", "a row that does not")
    features = int(rows[:, -1].max()) + 1
    if count(features, order) > LIMIT:
        raise bad_argument("tuples", f"features of which at most 2**62 sets of {order} exist", f"{features} features")
    for j, column in enumerate(_binomials(features, order, rows.device), 1):
        i = rows[:, j - 1]
        ranks += _pairs(i) if j == 2 else i if column is None else column[i]
    return ranks


def unrank(ranks: Tensor, order: int) -> Tensor:
    """Return the sets (T, order) int64, each row rising, with these numbers, (T,) int64 from 0, below `LIMIT`.

    An `InputError` says that ``ranks`` are something else, or that ``order`` is not from 1 to `MAX_ORDER`.
    """
    if ranks.ndim != 1:
        raise bad_argument("ranks", "shape (T,)", str(tuple(ranks.shape)))
    if ranks.dtype != torch.int64:
        raise bad_argument("ranks", "torch.int64", str(ranks.dtype))
    _check_order(order)
    tuples = ranks.new_empty((ranks.shape[0], order))
    if not ranks.numel():
        return tuples
    least, largest = int(ranks.min()), int(ranks.max())
    if least < 0 or largest >= LIMIT:
        raise bad_argument("ranks", "numbers from 0, below 2**62", f"numbers from {least} to {largest}")
    rest = ranks
    for j, column in reversed(list(enumerate(_binomials(_features_for(largest, order), order, ranks.device), 1))):
        if j == 1:
            i, taken = rest, rest
        elif j == 2:
            i = _root_of_pairs(rest)
            taken = _pairs(i)
        else:
            assert column is not None
            i = torch.searchsorted(column, rest, right=True) - 1
            taken = column[i]
        tuples[:, j - 1] = i
        rest = rest - taken
    return tuples


def _check_order(order: int) -> None:
    if not 1 <= order <= MAX_ORDER:
        raise bad_argument("order", f"an integer from 1 to {MAX_ORDER}", repr(order))


def _binomials(features: int, order: int, device: torch.device) -> list[Tensor | None]:
    """Return for j = 1..order C(0..features - 1, j), or None for j <= 2, which have a formula.

    Where ``order`` is 3 or more there are at most three million features, as there are at most 2**62 sets.
    """
    columns: list[Tensor | None] = [None] * min(order, 2)
    if order > 2:
        n = torch.arange(features, device=device)
        column = _pairs(n)
        for _ in range(3, order + 1):
            # C(n, j) is the sum of C(m, j - 1) over m < n.
            column = torch.cat((column.new_zeros(1), column.cumsum(0)[:-1]))
            columns.append(column)
    return columns


def _pairs(n: Tensor) -> Tensor:
    """Return C(n, 2), halving the even factor first so that nothing exceeds 64 bits."""
    even = n % 2 == 0
    return torch.where(even, n // 2, n) * torch.where(even, n - 1, torch.div(n - 1, 2, rounding_mode="floor"))


def _root_of_pairs(ranks: Tensor) -> Tensor:
    """Return the largest n with C(n, 2) <= rank."""
    # Right to one unit in float64, whose square root of numbers up to 2**65 is off by less than 2**-19.
    n = ((1.0 + (1.0 + 8.0 * ranks.double()).sqrt()) / 2.0).floor().long()
    n = torch.where(_pairs(n) > ranks, n - 1, n)
    return torch.where(_pairs(n + 1) <= ranks, n + 1, n)


def _features_for(largest: int, order: int) -> int:
    """Return the least number of features that have a set of this number."""
    low, high = order - 1, order
    while math.comb(high, order) <= largest:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if math.comb(middle, order) <= largest else (low, middle)
    return high

"""``tuple_join``: sets of features from smaller ones, one feature more each, as a stream; and the best of a stream.

Of K parents, the sets of ``order`` features that are extended, and D features the grid of parent and feature has K * D
positions, ``position = parent * D + feature``. The position's candidate is the parent with the feature. It is kept if

* the feature is not in the parent,
* no earlier parent (of a lower row) is a subset of it too, so that each set comes once, at its earliest parent, and
* at least ``min_support`` of its ``order + 1`` subsets of ``order`` features are parents (the parent itself is one).

`tuple_join` writes what is kept of some of the positions, `tuple_top_k` keeps the best of what was scored. Both need
memory for the parents, the best and the positions at hand, whatever the number of candidates; `extensions` and
`BestTuples` are the loop around them. Results do not depend on how positions are split, or on the threads.
"""

import torch
from torch import Tensor

from xai_fast import backends
from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import check

__all__ = ["MAX_ORDER", "BestTuples", "extensions", "tuple_join", "tuple_top_k"]

NAME = "tuple_join"
DTYPES = (torch.float32, torch.float64)
MAX_ORDER = 32
"""The most features of a candidate."""
MOST = 2**30
"""The most parents, and the most positions or candidates of one call."""
backends.register(NAME)


def tuple_join(
    out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int, min_support: int = 1
) -> None:
    """Write the candidates of the positions ``begin .. end - 1``, in the order of the positions.

    Args:
        out: (N, order + 1) int32 with N at least ``end - begin``: the candidates, rising rows. Rows behind the last
            candidate are undefined.
        count: (1,) int64, overwritten: how many there are; or ``-1 - row`` of the first row of ``parents`` that does
            not rise, has a feature that is not from 0 to D - 1, or equals an earlier row; then ``out`` is undefined.
        parents: (K, order) int32, rising rows, each another one.
        features: D.
        begin: the first position.
        end: one behind the last position, at most K * D.
        min_support: how many subsets of a candidate have to be parents, from 1, which all have, to ``order + 1``.

    Raises:
        InputError: an argument does not fit; of the values of ``parents`` only ``count`` tells.
        BackendUnavailable: the forced backend cannot run.
    """
    torch.ops.xai_fast.tuple_join(out, count, parents, features, begin, end, min_support)


def tuple_top_k(best_values: Tensor, best_tuples: Tensor, best_count: Tensor, values: Tensor, tuples: Tensor) -> None:
    """Merge scored sets into the best k so far.

    The larger value stands first, of equal values the row that is smaller at the first feature where two rows differ.
    NaN counts as infinite, so that it shows.

    Args:
        best_values: (k,) float32 or float64, changed: the best values, in order.
        best_tuples: (k, order) int32, changed: their sets.
        best_count: (1,) int64, changed: how many of the k there are, 0 at first. What is behind them is undefined.
        values: (N,) like ``best_values``.
        tuples: (N, order) int32, sets that are neither among the best nor among each other.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    torch.ops.xai_fast.tuple_top_k(best_values, best_tuples, best_count, values, tuples)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise bad_argument(name, f"an integer from {least} to {most}", repr(value))


def _check_join(
    out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int, min_support: int
) -> None:
    if parents.ndim != 2 or not 1 <= parents.shape[1] < MAX_ORDER:
        raise bad_argument("parents", f"shape (K, order), order from 1 to {MAX_ORDER - 1}", str(tuple(parents.shape)))
    rows, order = parents.shape
    check("parents", parents, shape=(rows, order), dtypes=(torch.int32,))
    if rows > MOST:
        raise bad_argument("parents", f"at most {MOST} rows", str(rows))
    _check_range("features", features, 0, 2**31 - 1)
    _check_range("end", end, 0, rows * features)
    _check_range("begin", begin, 0, end)
    _check_range("end", end, begin, begin + MOST)
    _check_range("min_support", min_support, 1, order + 1)
    if out.ndim != 2 or out.shape[0] < end - begin:
        raise bad_argument("out", f"shape (N, {order + 1}), N at least {end - begin}", str(tuple(out.shape)))
    check("out", out, shape=(out.shape[0], order + 1), dtypes=(torch.int32,), like=parents)
    check("count", count, shape=(1,), dtypes=(torch.int64,), like=parents)


def _check_top_k(best_values: Tensor, best_tuples: Tensor, best_count: Tensor, values: Tensor, tuples: Tensor) -> None:
    if best_tuples.ndim != 2 or not 1 <= best_tuples.shape[1] <= MAX_ORDER:
        raise bad_argument("best_tuples", f"shape (k, order), order 1 to {MAX_ORDER}", str(tuple(best_tuples.shape)))
    k, order = best_tuples.shape
    rows = values.shape[0] if values.ndim else 0
    for name, size in (("best_values", k), ("values", rows)):
        if size > MOST:
            raise bad_argument(name, f"at most {MOST} entries", str(size))
    check("best_values", best_values, shape=(k,), dtypes=DTYPES)
    check("best_tuples", best_tuples, shape=(k, order), dtypes=(torch.int32,), like=best_values)
    check("best_count", best_count, shape=(1,), dtypes=(torch.int64,), like=best_values)
    check("values", values, shape=(rows,), dtypes=(best_values.dtype,), like=best_values)
    check("tuples", tuples, shape=(rows, order), dtypes=(torch.int32,), like=best_values)


@torch.library.custom_op(
    "xai_fast::tuple_join",
    mutates_args=("out", "count"),
    schema=(
        "(Tensor(a!) out, Tensor(b!) count, Tensor parents, SymInt features, SymInt begin, SymInt end, "
        "SymInt min_support) -> ()"
    ),
)
def _tuple_join(
    out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int, min_support: int
) -> None:
    _check_join(out, count, parents, features, begin, end, min_support)
    if parents.shape[0] == 0:
        count.zero_()
    else:
        backends.select(NAME, (parents,)).run(out, count, parents, features, begin, end, min_support)


@torch.library.custom_op(
    "xai_fast::tuple_top_k",
    mutates_args=("best_values", "best_tuples", "best_count"),
    schema=(
        "(Tensor(a!) best_values, Tensor(b!) best_tuples, Tensor(c!) best_count, Tensor values, Tensor tuples) -> ()"
    ),
)
def _tuple_top_k(best_values: Tensor, best_tuples: Tensor, best_count: Tensor, values: Tensor, tuples: Tensor) -> None:
    _check_top_k(best_values, best_tuples, best_count, values, tuples)
    if values.numel() and best_values.numel():
        backends.select(NAME, (values,)).run_top_k(best_values, best_tuples, best_count, values, tuples)


_tuple_join.register_fake(_check_join)
_tuple_top_k.register_fake(_check_top_k)

from xai_fast.kernels.tuple_join.stream import BestTuples, extensions  # noqa: E402  (it calls the operators above)

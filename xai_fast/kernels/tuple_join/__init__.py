"""``tuple_join``: sets of features from smaller ones, one feature more each, as a stream.

Of K parents, the sets of ``order`` features that are extended, and D features the grid of parent and feature has K * D
positions, ``position = parent * D + feature``. The position's candidate is the parent with the feature. It is kept if

* the feature is not in the parent, and
* no earlier parent (of a lower row) is a subset of it too, so that each set comes once, at its earliest parent.

`tuple_join` writes what is kept of some of the positions, and needs memory for the parents and these positions,
whatever the number of candidates; `extensions` is the loop around it. Results do not depend on how positions are split,
or on the threads.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import check
from xai_fast.kernels.operators import operator

__all__ = ["MAX_ORDER", "extensions", "tuple_join"]

MAX_ORDER = 32
"""The most features of a candidate."""
MOST = 2**30
"""The most parents, and the most positions of one call."""


@operator(writes=("out", "count"), needs=("count",))
def tuple_join(out: Tensor, count: Tensor, parents: Tensor, features: int, begin: int, end: int) -> None:
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

    Raises:
        InputError: an argument does not fit; of the values of ``parents`` only ``count`` tells.
        BackendUnavailable: the forced backend cannot run.
    """
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
    if out.ndim != 2 or out.shape[0] < end - begin:
        raise bad_argument("out", f"shape (N, {order + 1}), N at least {end - begin}", str(tuple(out.shape)))
    check("out", out, shape=(out.shape[0], order + 1), dtypes=(torch.int32,), like=parents)
    check("count", count, shape=(1,), dtypes=(torch.int64,), like=parents)


def _check_range(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise bad_argument(name, f"an integer from {least} to {most}", repr(value))


def extensions(parents: Tensor, features: int, *, positions: int | None = None) -> Iterator[Tensor]:
    """Go through the candidates of `tuple_join`, in their order.

    Args:
        parents: (K, order) int32 or int64, rising rows, each another one.
        features: D.
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
        tuple_join(out, count, parents, features, begin, min(total, begin + step))
        found = int(count)
        if found < 0:
            row = -1 - found
            expected = f"rising rows of features from 0 to {features - 1}, each another one"
            raise bad_argument("parents", expected, f"row {row}: {parents[row].tolist()}")
        if found:
            yield out[:found]

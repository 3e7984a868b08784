"""``feed_forward_sums``: `feed_forward_values`, `feed_forward_rows` and `tuple_sum` in turn.

All that a feed-forward network's mixed derivatives of tuples take, from the points to the sums, as one kernel: for a
small network most of the time is between kernels. It writes what the three write, on a CPU to the last bit.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast import backends
from xai_fast.kernels.feed_forward_rows import check_arguments as check_rows
from xai_fast.kernels.feed_forward_values import check_arguments as check_values
from xai_fast.kernels.tuple_sum import check_arguments as check_sums

__all__ = ["feed_forward_sums"]

NAME = "feed_forward_sums"
backends.register(NAME)


def feed_forward_sums(
    out: Tensor,
    derivatives: Tensor,
    rows: Tensor,
    adjoints: Tensor,
    x: Tensor,
    transposed: Tensor,
    biases: Tensor,
    widths: Sequence[int],
    activations: Sequence[str],
    parameters: Sequence[float],
    first: Tensor,
    last: Tensor,
    weights: Tensor,
    pairs: Tensor,
    triples: Tensor,
    triple_pairs: Tensor,
    members: Tensor,
    order: int,
) -> None:
    """Write F_T of each item and tuple, and all that it is the sum of.

    What is written for an item depends on the item, never on the rest of the batch or the threads (on a CPU to the
    last bit).

    Args:
        out: (B, T) float32 or float64, overwritten: see `xai_fast.kernels.tuple_sum`.
        derivatives: (B, K, U) like ``out``, overwritten, K > order: see `xai_fast.kernels.feed_forward_values`.
        rows: (B, R, U) like ``out``, overwritten: see `xai_fast.kernels.feed_forward_rows`.
        adjoints: (B, Q, U) like ``out``, overwritten: see there.
        x: (B, N) like ``out``: the points.
        transposed: the transposes of all matrices, see `xai_fast.kernels.feed_forward_values`.
        biases: (U,), see there.
        widths: of each layer.
        activations: of each layer, see there.
        parameters: of each layer, see there.
        first: (1, D, U_0) or (B, D, U_0), see `xai_fast.kernels.feed_forward_rows`.
        last: (1, U_last) or (B, U_last), see there.
        weights: the matrices behind the first layer, see there.
        pairs: (P, 2) int32, see there.
        triples: (T_3, 3) int32, see there.
        triple_pairs: (T_3, 3) int32, see there.
        members: (T, C) int32, see `xai_fast.kernels.tuple_sum`.
        order: k, from 2 to 6.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    torch.ops.xai_fast.feed_forward_sums(
        out, derivatives, rows, adjoints, x, transposed, biases, widths, activations, parameters, first, last, weights,
        pairs, triples, triple_pairs, members, order,
    )  # fmt: skip


def _check(
    out: Tensor,
    derivatives: Tensor,
    rows: Tensor,
    adjoints: Tensor,
    x: Tensor,
    transposed: Tensor,
    biases: Tensor,
    widths: Sequence[int],
    activations: Sequence[str],
    parameters: Sequence[float],
    first: Tensor,
    last: Tensor,
    weights: Tensor,
    pairs: Tensor,
    triples: Tensor,
    triple_pairs: Tensor,
    members: Tensor,
    order: int,
) -> None:
    check_values(derivatives, x, transposed, biases, widths, activations, parameters)
    behind = transposed[x.shape[1] * widths[0] :]
    check_rows(rows, adjoints, derivatives, first, last, weights, behind, widths, pairs, triples, triple_pairs)
    check_sums(out, derivatives, rows, adjoints, members, order)


_SCHEMA = (
    "(Tensor(a!) out, Tensor(b!) derivatives, Tensor(c!) rows, Tensor(d!) adjoints, Tensor x, Tensor transposed, "
    "Tensor biases, int[] widths, str[] activations, float[] parameters, Tensor first, Tensor last, Tensor weights, "
    "Tensor pairs, Tensor triples, Tensor triple_pairs, Tensor members, int order) -> ()"
)


@torch.library.custom_op(
    "xai_fast::feed_forward_sums", mutates_args=("out", "derivatives", "rows", "adjoints"), schema=_SCHEMA
)
def _feed_forward_sums(
    out: Tensor,
    derivatives: Tensor,
    rows: Tensor,
    adjoints: Tensor,
    x: Tensor,
    transposed: Tensor,
    biases: Tensor,
    widths: Sequence[int],
    activations: Sequence[str],
    parameters: Sequence[float],
    first: Tensor,
    last: Tensor,
    weights: Tensor,
    pairs: Tensor,
    triples: Tensor,
    triple_pairs: Tensor,
    members: Tensor,
    order: int,
) -> None:
    arguments = (
        out, derivatives, rows, adjoints, x, transposed, biases, widths, activations, parameters, first, last, weights,
        pairs, triples, triple_pairs, members, order,
    )  # fmt: skip
    _check(*arguments)
    if rows.shape[0]:
        backends.select(NAME, (rows,)).run(*arguments)


_feed_forward_sums.register_fake(_check)

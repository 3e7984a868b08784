"""``partition_sum``: sums over set partitions of an elementwise node ``y = s(z)``, for many targets in one pass.

The mixed derivative of ``y`` along the directions in a set S is (Faa di Bruno; Hardy, "Combinatorics of partial
derivatives", Electronic Journal of Combinatorics 13, 2006)

    y_S = sum over the partitions p of S of s^(len p)(z) * product over the blocks B of p of z_B

and the sums that the reverse rules need are of the same form with an adjoint as one more factor. So a target t is a
list of terms, each a derivative order, an adjoint or none, and up to six rows:

    c[t, b, u] = sum over its terms k of s^(order_k)(z[b, u]) * adjoints[q_k, b, u] * product_j rows[r_kj, b, u]

The terms are compressed rows of int32: a `Program`, built by `program_of`, passed as ``*program``.
`partition_sum` writes c; `partition_sum_reduced` adds its sum over the units u, and writes nothing of the size of c.

On a CPU an index that is out of range is an `InputError` before anything is written. A GPU's host does not see the
indices: there a term with such an index makes its target NaN.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator
from xai_fast.kernels.partition_sum.activations import ACTIVATIONS, MAX_ORDER, check_activation, derivatives
from xai_fast.kernels.partition_sum.partitions import set_partitions
from xai_fast.kernels.partition_sum.program import MAX_BLOCKS, Program, Term, program_of

__all__ = [
    "ACTIVATIONS",
    "MAX_BLOCKS",
    "MAX_ORDER",
    "Program",
    "Term",
    "derivatives",
    "partition_sum",
    "partition_sum_reduced",
    "program_of",
    "set_partitions",
]


@operator(writes=("out",), needs=("out",))
def partition_sum(
    out: Tensor,
    values: Tensor,
    rows: Tensor,
    adjoints: Tensor | None,
    activation: str,
    parameters: Sequence[float],
    term_offsets: Tensor,
    term_order: Tensor,
    term_adjoint: Tensor,
    block_offsets: Tensor,
    blocks: Tensor,
    orders: int,
) -> None:
    """Write ``c[t, b, u]``.

    Args:
        out: (T, B, U) float32 or float64, overwritten.
        values: (B, U) like ``out``: z.
        rows: (R, B, U) like ``out``: a mixed derivative of z each.
        adjoints: (Q, B, U) like ``out``, or None where no term has one.
        activation: s, one of `ACTIVATIONS`.
        parameters: of s, in the order that `ACTIVATIONS` gives.
        term_offsets: (T + 1,) int32: target t has the terms ``term_offsets[t] .. term_offsets[t + 1] - 1``.
        term_order: (K,) int32, 0 to ``orders``: which derivative of s.
        term_adjoint: (K,) int32: an index of ``adjoints``, or -1 for the factor one.
        block_offsets: (K + 1,) int32: term k has the blocks ``block_offsets[k] .. block_offsets[k + 1] - 1``, up to 6.
        blocks: (M,) int32: indices of ``rows``.
        orders: the highest of ``term_order`` or more, up to 6.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    program = (term_offsets, term_order, term_adjoint, block_offsets, blocks)
    _check(out, values, rows, adjoints, activation, parameters, program, orders, reduced=False)


@operator(writes=("out",), needs=("out", "values"), run="run_reduced")
def partition_sum_reduced(
    out: Tensor,
    values: Tensor,
    rows: Tensor,
    adjoints: Tensor | None,
    activation: str,
    parameters: Sequence[float],
    term_offsets: Tensor,
    term_order: Tensor,
    term_adjoint: Tensor,
    block_offsets: Tensor,
    blocks: Tensor,
    orders: int,
) -> None:
    """Add ``sum_u c[t, b, u]`` to ``out[b, t]``.

    An item's sums depend on the item and the program, to the last bit, never on the rest of the batch or the threads.

    ``out`` is (B, T), changed; all else is as of `partition_sum`.
    """
    program = (term_offsets, term_order, term_adjoint, block_offsets, blocks)
    _check(out, values, rows, adjoints, activation, parameters, program, orders, reduced=True)


def _check(
    out: Tensor,
    values: Tensor,
    rows: Tensor,
    adjoints: Tensor | None,
    activation: str,
    parameters: Sequence[float],
    program: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    orders: int,
    reduced: bool,
) -> None:
    term_offsets, term_order, term_adjoint, block_offsets, blocks = program
    for name, tensor, ndim in (("values", values, 2), ("rows", rows, 3), ("term_offsets", term_offsets, 1)):
        if tensor.ndim != ndim:
            raise bad_argument(name, f"{ndim} dimensions", f"shape {tuple(tensor.shape)}")
    if term_offsets.shape[0] < 1:
        raise bad_argument("term_offsets", "one more entry than there are targets", "none")
    targets, (items, units) = term_offsets.shape[0] - 1, values.shape
    check("values", values, shape=(items, units), dtypes=FLOATS)
    same = (values.dtype,)
    shape = (items, targets) if reduced else (targets, items, units)
    check("out", out, shape=shape, dtypes=same, like=values)
    check("rows", rows, shape=(rows.shape[0], items, units), dtypes=same, like=values)
    if adjoints is not None:
        check("adjoints", adjoints, shape=(adjoints.shape[0], items, units), dtypes=same, like=values)
    terms = term_order.numel()
    for name, tensor, length in (
        ("term_offsets", term_offsets, targets + 1),
        ("term_order", term_order, terms),
        ("term_adjoint", term_adjoint, terms),
        ("block_offsets", block_offsets, terms + 1),
        ("blocks", blocks, blocks.numel()),
    ):
        check(name, tensor, shape=(length,), dtypes=(torch.int32,), like=values)
    check_activation(activation, parameters)
    if not 0 <= orders <= MAX_ORDER:
        raise bad_argument("orders", f"an integer from 0 to {MAX_ORDER}", repr(orders))

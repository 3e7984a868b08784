"""``tuple_sum``: mixed derivatives of tuples of k directions through elementwise nodes, by the 2n+1 rule.

Let z be the arguments of the nodes ``y = s(z)``, U units side by side, z_S their mixed derivative along the directions
in S, and mu_S that of the adjoint ``mu = dF/dy``. With z_S known for ``|S| <= n = k // 2`` and mu_S for ``|S| <= m =
(k - 1) // 2``, the mixed derivative of F along the k directions of T is (`xai_fast.taylor.lattice`)

    F_T = sum_u sum over S in T, |S| <= m, of mu_S * sum over p of s^(len p)(z) * product over the blocks B in p of z_B

where p goes through the partitions of T - S into at least two blocks of at most n directions. Rows are compressed: a
tuple names by index those of its subsets of one to n directions, see `subsets_of`. The arrays hold what the list of
tuples needs, or all subsets by their colexicographic rank (`xai_fast.kernels.combinations`).

On a CPU an index that is out of range is an `InputError` before anything is written. A GPU's host does not see the
indices: there a tuple with such an index is NaN.
"""

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator
from xai_fast.kernels.tuple_sum.subsets import MAX_ORDER, MIN_ORDER, operations_of, orders_of, subsets_of

__all__ = ["MAX_ORDER", "MIN_ORDER", "operations_of", "orders_of", "subsets_of", "tuple_sum"]


@operator(writes=("out",), needs=("out",))
def tuple_sum(out: Tensor, derivatives: Tensor, rows: Tensor, adjoints: Tensor, members: Tensor, order: int) -> None:
    """Write F_T of each item and tuple.

    An item's sums depend on the item, to the last bit, never on the rest of the batch or the threads. On a CPU they
    do not depend on the other tuples either.

    Args:
        out: (B, T) float32 or float64, overwritten.
        derivatives: (B, K, U) like ``out``, K > order: s^(j)(z) at index j; those of order 0 and 1 are not read.
        rows: (B, R, U) like ``out``: z_S.
        adjoints: (B, Q, U) like ``out``, Q >= 1: mu at index 0, and mu_S at index r + 1 where z_S is row r. Rows
            of larger sets come last, so that they need no adjoint.
        members: (T, C) int32, the rows of a tuple's subsets of one to n directions, in the order of
            `subsets_of`; those of at most m directions have an adjoint.
        order: k, from 2 to 6.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    if not MIN_ORDER <= order <= MAX_ORDER:
        raise bad_argument("order", f"an integer from {MIN_ORDER} to {MAX_ORDER}", repr(order))
    for name, tensor, ndim in (("rows", rows, 3), ("derivatives", derivatives, 3), ("adjoints", adjoints, 3)):
        if tensor.ndim != ndim:
            raise bad_argument(name, f"{ndim} dimensions", f"shape {tuple(tensor.shape)}")
    if members.ndim != 2:
        raise bad_argument("members", "2 dimensions", f"shape {tuple(members.shape)}")
    items, _, units = rows.shape
    check("rows", rows, shape=tuple(rows.shape), dtypes=FLOATS)
    same = (rows.dtype,)
    if derivatives.shape[1] <= order:
        raise bad_argument("derivatives", f"more than {order} of them", f"shape {tuple(derivatives.shape)}")
    if adjoints.shape[1] < 1:
        raise bad_argument("adjoints", "at least one of them", f"shape {tuple(adjoints.shape)}")
    check("derivatives", derivatives, shape=(items, derivatives.shape[1], units), dtypes=same, like=rows)
    check("adjoints", adjoints, shape=(items, adjoints.shape[1], units), dtypes=same, like=rows)
    columns = len(subsets_of(order))
    check("members", members, shape=(members.shape[0], columns), dtypes=(torch.int32,), like=rows)
    check("out", out, shape=(items, members.shape[0]), dtypes=same, like=rows)

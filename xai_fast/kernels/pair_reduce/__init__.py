"""``pair_reduce``: weighted inner products of all pairs of rows, added to a matrix for each item.

    sums[b, i, j] += sum_u weight[b, u] * left[i, b, u] * right[j, b, u]

With tangents as rows and ``weight = mu s''(z)`` this is what a node adds to the second derivatives ``V^T H U``, and the
products ``weight * left`` are never written at full size.

An item's sums depend on the item, to the last bit, except on a CPU where the BLAS of torch is faster and runs
(`xai_fast.kernels.pair_reduce.native`): there the last bits are as stable as that library's.
"""

from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator

__all__ = ["pair_reduce"]


@operator(writes=("sums",), needs=("sums", "left"))
def pair_reduce(sums: Tensor, left: Tensor, right: Tensor, weight: Tensor | None = None) -> None:
    """Add the inner products of the pairs, in place.

    Args:
        sums: (B, nA, nC) float32 or float64, changed.
        left: (nA, B, U) like ``sums``.
        right: (nC, B, U) like ``sums``; may be the same tensor as ``left``.
        weight: (B, U) like ``sums``, or None for the weight one.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    for name, tensor in (("sums", sums), ("left", left), ("right", right)):
        if tensor.ndim != 3:
            raise bad_argument(name, "3 dimensions", f"shape {tuple(tensor.shape)}")
    items, rows, columns = sums.shape
    units = left.shape[2]
    check("sums", sums, shape=(items, rows, columns), dtypes=FLOATS)
    check("left", left, shape=(rows, items, units), dtypes=(sums.dtype,), like=sums)
    check("right", right, shape=(columns, items, units), dtypes=(sums.dtype,), like=sums)
    if weight is not None:
        check("weight", weight, shape=(items, units), dtypes=(sums.dtype,), like=sums)

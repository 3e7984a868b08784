"""``flux_accumulate``: add the flux of new negative points to each item's running mean and sum of squared deviations.

A row ``r`` with ``negative[r]`` contributes ``c = F * (x - x~)`` (Li et al., IJCAI 2023, the sum over S^- after Eq. 6),
or ``|c|`` with ``magnitude=True``, to the item ``item[r]``. Without centers and points ``c = F``: any method's
contributions. Rows of one item are taken in the order of ``r`` (Welford,
1962):

    count += 1;  delta = c - mean;  change = delta / count;  mean += change;  m2 += delta * (delta - change)

so ``mean`` is the attribution and ``sqrt(m2 / (count (count - 1)))`` its standard error, without the cancellation of
a plain sum of squares; no term of m2 is negative, however it is rounded. Each item's mean is read and written once a
call, and nothing of shape (R, N) is written.
"""

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator

__all__ = ["flux_accumulate"]


@operator(writes=("mean", "m2", "count"), needs=("gradients",))
def flux_accumulate(
    mean: Tensor,
    m2: Tensor | None,
    count: Tensor,
    centers: Tensor | None,
    points: Tensor | None,
    gradients: Tensor,
    item: Tensor,
    negative: Tensor,
    magnitude: bool = False,
) -> None:
    """Add the negative rows to their items' statistics, in place.

    Args:
        mean: (B, N) float32 or float64, the mean contribution so far; changed.
        m2: (B, N) like ``mean``, the sum of squared deviations so far, or None; changed.
        count: (B,) int64, the points in ``mean`` so far; changed.
        centers: (B, N) like ``mean``: the items x; None where ``points`` is.
        points: (R, N) like ``mean``: x~; None where ``centers`` is.
        gradients: (R, N) like ``mean``, or bfloat16 with float32: F at ``points``.
        item: (R,) int64, the item of each row; values outside 0..B-1 are undefined in negative rows, unread in others.
        negative: (R,) bool, the rows to add. Other rows are not read, and may hold NaN.
        magnitude: add ``|c|`` instead of ``c``.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    for name, tensor in (("mean", mean), ("gradients", gradients)):
        if tensor.ndim != 2 or tensor.shape[1] < 1:
            raise bad_argument(name, "a matrix with at least one column", f"shape {tuple(tensor.shape)}")
    items, entries = mean.shape
    rows = gradients.shape[0]
    check("mean", mean, shape=(items, entries), dtypes=FLOATS)
    if m2 is not None:
        check("m2", m2, shape=(items, entries), dtypes=(mean.dtype,), like=mean)
    check("count", count, shape=(items,), dtypes=(torch.int64,), like=mean)
    if centers is not None and points is not None:
        check("centers", centers, shape=(items, entries), dtypes=(mean.dtype,), like=mean)
        check("points", points, shape=(rows, entries), dtypes=(mean.dtype,), like=mean)
    elif centers is not points:
        raise bad_argument("points", "centers and points, or neither", "one of them")
    dtypes = (mean.dtype, torch.bfloat16) if mean.dtype == torch.float32 else (mean.dtype,)
    check("gradients", gradients, shape=(rows, entries), dtypes=dtypes, like=mean)
    check("item", item, shape=(rows,), dtypes=(torch.int64,), like=mean)
    check("negative", negative, shape=(rows,), dtypes=(torch.bool,), like=mean)

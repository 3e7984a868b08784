"""``relevance_ratio``: relevance in proportion to contributions, and what of it leaves with bias and stabiliser.

    out[t, b, m] = c[t, b, m] * numerator[b, m] / (divisor[b, m] + s[b, m]),   s = -eps where divisor < 0, else eps

With ``c`` what comes back along a node's output or weights this is the epsilon rule of LRP (Bach et al., PLOS ONE 2015,
Eq. 58), with sign(0) = 1. ``sums[t, b]`` are over all units m, with ``bias`` as [sign, channel]:

    0: sum of c * numerator: what arrives
    1: sum of out * bias[0 where numerator > 0, else 1, m // inner % C]: what the bias takes; 0 without a bias
    2: sum of out * s where |divisor| > eps: what the stabiliser takes
    3: sum of out * s where |divisor| <= eps: what arrives where there is nothing to share with

NaN and infinities go where the formulas take them: where s is left out of a sum, out is multiplied by zero.

An item's results depend on the item, to the last bit, never on T, B or the threads.
"""

from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator

__all__ = ["relevance_ratio"]

LARGEST_INNER = 1 << 30


@operator(writes=("out", "sums"), needs=("out",))
def relevance_ratio(
    out: Tensor,
    sums: Tensor | None,
    c: Tensor,
    numerator: Tensor,
    divisor: Tensor,
    bias: Tensor | None,
    inner: int,
    eps: float,
) -> None:
    """Write the relevance and its sums.

    Args:
        out: (T, B, M) float32 or float64, M >= 1, written.
        sums: (T, B, 4) float64, or None to leave them out; written.
        c: (T, B, M) like ``out``.
        numerator: (B, M) like ``out``.
        divisor: (B, M) like ``out``.
        bias: (2, C) like ``out``, or None; M is a multiple of ``C * inner``. Only the sums depend on it.
        inner: units side by side of one channel, 1 to 2^30.
        eps: the stabiliser, finite and not negative; it is rounded to the dtype of ``out``.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    if out.ndim != 3 or out.shape[2] < 1:
        raise bad_argument("out", "3 dimensions and at least one unit", f"shape {tuple(out.shape)}")
    rows, items, units = out.shape
    check("out", out, shape=(rows, items, units), dtypes=FLOATS)
    if sums is not None:
        check("sums", sums, shape=(rows, items, 4), dtypes=FLOATS[1:], like=out)
    check("c", c, shape=(rows, items, units), dtypes=(out.dtype,), like=out)
    check("numerator", numerator, shape=(items, units), dtypes=(out.dtype,), like=out)
    check("divisor", divisor, shape=(items, units), dtypes=(out.dtype,), like=out)
    if not 1 <= inner <= LARGEST_INNER:
        raise bad_argument("inner", f"an integer from 1 to {LARGEST_INNER}", str(inner))
    if bias is not None:
        if bias.ndim != 2 or bias.shape[1] < 1:
            raise bad_argument("bias", "shape (2, C) with at least one channel", f"shape {tuple(bias.shape)}")
        channels = bias.shape[1]
        check("bias", bias, shape=(2, channels), dtypes=(out.dtype,), like=out)
        if units % (channels * inner):
            raise bad_argument("bias", f"C channels of {inner} units, {units} units a multiple", f"{channels} channels")
    if not 0.0 <= eps < float("inf"):
        raise bad_argument("eps", "a finite number that is not negative", repr(eps))

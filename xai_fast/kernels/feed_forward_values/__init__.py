"""``feed_forward_values``: the activations of all units of a feed-forward network, and their derivatives.

Layers ``z_l = W_l y_(l-1) + b_l``, ``y_l = s_l(z_l)``, y_(-1) = x. The units of all layers lie side by side, as
`xai_fast.kernels.feed_forward_rows` and `xai_fast.kernels.tuple_sum` read them.
"""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator
from xai_fast.kernels.partition_sum.activations import ACTIVATIONS, MAX_ORDER, check_activation

__all__ = ["PARAMETERS", "feed_forward_values"]

PARAMETERS = max(map(len, ACTIVATIONS.values()))
"""How many numbers there are for each layer: as many as the function with the most parameters has."""


@operator(writes=("derivatives",), needs=("derivatives",))
def feed_forward_values(
    derivatives: Tensor,
    x: Tensor,
    transposed: Tensor,
    biases: Tensor,
    widths: Sequence[int],
    activations: Sequence[str],
    parameters: Sequence[float],
) -> None:
    """Write s^(k)(z) of all units.

    What is written for an item depends on the item, never on the rest of the batch or the threads (on a CPU to the
    last bit).

    Args:
        derivatives: (B, K, U) float32 or float64, overwritten: s^(k)(z) at index k, 1 <= K <= 7; U is the sum of
            ``widths``.
        x: (B, N) like ``derivatives``.
        transposed: (W,) like ``derivatives``: the transposes of the W_l, (N, U_0), (U_0, U_1), ..., one after
            the other.
        biases: (U,) like ``derivatives``.
        widths: U_l of each layer.
        activations: s of each layer, names of `xai_fast.kernels.partition_sum.ACTIVATIONS`.
        parameters: `PARAMETERS` numbers for each layer, those of its function first.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    if not widths or min(widths) < 1:
        raise bad_argument("widths", "a positive number of units of each layer", repr(list(widths)))
    if derivatives.ndim != 3 or not 1 <= derivatives.shape[1] <= MAX_ORDER + 1:
        got = f"shape {tuple(derivatives.shape)}"
        raise bad_argument("derivatives", f"shape (B, K, U) with K from 1 to {MAX_ORDER + 1}", got)
    if x.ndim != 2:
        raise bad_argument("x", "2 dimensions", f"shape {tuple(x.shape)}")
    for name, values, count in (("activations", activations, 1), ("parameters", parameters, PARAMETERS)):
        if len(values) != count * len(widths):
            raise bad_argument(name, f"{count * len(widths)} for {len(widths)} layers", str(len(values)))
    for activation in activations:
        check_activation(activation, [0.0] * len(ACTIVATIONS.get(activation, ())))
    items, units = x.shape[0], sum(widths)
    check("derivatives", derivatives, shape=(items, derivatives.shape[1], units), dtypes=FLOATS)
    same = (derivatives.dtype,)
    entries = sum(math.prod(both) for both in itertools.pairwise((x.shape[1], *widths)))
    check("x", x, shape=(items, x.shape[1]), dtypes=same, like=derivatives)
    check("transposed", transposed, shape=(entries,), dtypes=same, like=derivatives)
    check("biases", biases, shape=(units,), dtypes=same, like=derivatives)

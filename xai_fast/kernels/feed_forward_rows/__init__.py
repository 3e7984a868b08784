"""``feed_forward_rows``: mixed derivatives of all units of a feed-forward network, of values and of adjoints.

A network of layers ``z_l = W_l y_(l-1) + b_l``, ``y_l = s_l(z_l)`` whose score is linear in the last y. For a set S of
directions let z_S be the mixed derivative of z, and mu_S that of the adjoint ``mu = dF/dy``. Forward (Faa di Bruno)

    z_l,S = W_l [s(z_(l-1))]_S,    [s(z)]_i = s' z_i,    [s(z)]_ij = s' z_ij + s'' z_i z_j,
    [s(z)]_ijk = s' z_ijk + s'' (z_ij z_k + z_ik z_j + z_jk z_i) + s''' z_i z_j z_k

and backward

    mu_(l-1),S = W_l^T [s'(z_l) mu_l]_S,    [s' mu]_i = s' mu_i + s'' z_i mu,
    [s' mu]_ij = s' mu_ij + s'' (z_i mu_j + z_j mu_i + z_ij mu) + s''' z_i z_j mu.

The units of all layers lie side by side, as `xai_fast.kernels.tuple_sum` reads them.
"""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator

__all__ = ["feed_forward_rows"]


@operator(writes=("rows", "adjoints"), needs=("adjoints",))
def feed_forward_rows(
    rows: Tensor,
    adjoints: Tensor,
    derivatives: Tensor,
    first: Tensor,
    last: Tensor,
    weights: Tensor,
    transposed: Tensor,
    widths: Sequence[int],
    pairs: Tensor,
    triples: Tensor,
    triple_pairs: Tensor,
) -> None:
    """Write z_S and mu_S.

    What is written for an item depends on the item, never on the rest of the batch or the threads (on a CPU to the
    last bit).

    Args:
        rows: (B, R, U) float32 or float64, overwritten: z_S of the D single directions, then of the P pairs, then of
            the T triples, R = D + P + T; U is the sum of ``widths``.
        adjoints: (B, Q, U) like ``rows``, overwritten: mu, then mu_S of the single directions where Q > 1, then of the
            pairs where Q > 1 + D; so Q is 1, 1 + D or 1 + D + P.
        derivatives: (B, K, U) like ``rows``: s^(j)(z) at index j, K > the size of the largest set of rows, and more
            than one more than that of the largest set of adjoints.
        first: (1, D, U_0) or (B, D, U_0) like ``rows``: z_i of the first layer.
        last: (1, U_last) or (B, U_last) like ``rows``: mu of the last layer.
        weights: (W,) like ``rows``: the W_l behind the first layer, (U_l, U_(l-1)) each, one after the other.
        transposed: (W,) like ``rows``: their transposes, (U_(l-1), U_l) each.
        widths: U_l of each layer.
        pairs: (P, 2) int32: the two directions of each pair.
        triples: (T, 3) int32: the three directions of each triple.
        triple_pairs: (T, 3) int32: the rows of the pairs that are left of a triple without its first, its second, and
            its third direction.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    named = {"rows": rows, "adjoints": adjoints, "derivatives": derivatives, "first": first}
    for name, tensor in named.items():
        if tensor.ndim != 3:
            raise bad_argument(name, "3 dimensions", f"shape {tuple(tensor.shape)}")
    if not widths or min(widths) < 1:
        raise bad_argument("widths", "a positive number of units of each layer", repr(list(widths)))
    items, units, same = rows.shape[0], sum(widths), (rows.dtype,)
    singles, count = first.shape[1], pairs.shape[0]
    check("rows", rows, shape=(items, singles + count + triples.shape[0], units), dtypes=FLOATS)
    if adjoints.shape[1] not in (1, 1 + singles, 1 + singles + count):
        raise bad_argument("adjoints", f"1, {1 + singles} or {1 + singles + count} rows", str(adjoints.shape[1]))
    check("adjoints", adjoints, shape=(items, adjoints.shape[1], units), dtypes=same, like=rows)
    forward = 3 if triples.shape[0] else 2 if count else 1
    backward = 0 if adjoints.shape[1] == 1 else 1 if adjoints.shape[1] == 1 + singles else 2
    least = max(forward, backward + 1) + 1
    if derivatives.shape[1] < least:
        raise bad_argument("derivatives", f"at least {least} of them", str(derivatives.shape[1]))
    check("derivatives", derivatives, shape=(items, derivatives.shape[1], units), dtypes=same, like=rows)
    for name, tensor, shape in (("first", first, (singles, widths[0])), ("last", last, (widths[-1],))):
        expected = (1 if tensor.shape[0] == 1 else items, *shape)
        check(name, tensor, shape=expected, dtypes=same, like=rows)
    entries = sum(math.prod(both) for both in itertools.pairwise(widths))
    check("weights", weights, shape=(entries,), dtypes=same, like=rows)
    check("transposed", transposed, shape=(entries,), dtypes=same, like=rows)
    check("pairs", pairs, shape=(count, 2), dtypes=(torch.int32,), like=rows)
    check("triples", triples, shape=(triples.shape[0], 3), dtypes=(torch.int32,), like=rows)
    check("triple_pairs", triple_pairs, shape=(triples.shape[0], 3), dtypes=(torch.int32,), like=rows)

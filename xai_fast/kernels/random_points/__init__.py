"""``random_points``: draw points around each item, reproducibly.

The point number ``point[r]`` of the item ``i = item[r]`` is

* ``sphere``: ``x~ = centers[i] + radius * z / norm(z)``, uniform on the L2 sphere; ``z_e`` standard normal, e < N.
* ``box``: ``x~ = centers[i] + radius * t``, ``t_e`` uniform in [-1, 1]: every entry by itself within ``radius``.
* ``normal``: ``x~ = centers[i] + radius * z``: ``radius`` is the standard deviation of every entry.

The numbers come from Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and
Box-Muller, and depend on nothing but the seed, the item's id, the point, the step and the entry:

* key ``(seed, item_id mod 2^32)``, counter ``(e // 8, point, step, item_id // 2^32)``; the four words ``w_0..w_3`` of
  block ``b`` serve the entries ``8b .. 8b+7``, each word a pair;
* uniforms ``u = ((w >> 16) + 1/2) / 2^16`` and ``v = (w mod 2^16 + 1/2) / 2^16``, exact in float32, never 0 or 1;
* ``z_{8b+2k} = r cos(2 pi v)``, ``z_{8b+2k+1} = r sin(2 pi v)`` with ``r = sqrt(-2 ln u)``, ``(u, v)`` from ``w_k``;
* ``t_{8b+2k} = 2u - 1``, ``t_{8b+2k+1} = 2v - 1``, of the same words.

Sixteen bits for each uniform are enough here, and halve the number of random words, which are much of the work. A pair
is one of 2^32 points of the plane; an entry is at most ``sqrt(2 * 17 ln 2) = 4.85``, which a normal exceeds once in
800,000 times; second and fourth moments are those of a normal to 1e-4. Of the N entries a sphere uses the direction,
one of about 2^(16 N); of two entries it is one of 2^16 angles. An entry of a box has one of 2^16 values, the odd
multiples of ``radius / 2^16``: never the center, never the border; their variance is ``radius^2 / 3`` to 3e-10.

So an item's points are the same whatever the batch, the order, the device and (up to rounding) the dtype.
"""

import torch
from torch import Tensor

from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import FLOATS, check
from xai_fast.kernels.operators import operator

__all__ = ["KINDS", "random_points"]

KINDS = ("sphere", "box", "normal")


@operator(writes=("points",), needs=("points",))
def random_points(
    points: Tensor,
    centers: Tensor,
    item: Tensor,
    item_ids: Tensor,
    point: Tensor,
    active: Tensor,
    radius: float,
    kind: str,
    seed: int,
    step: int = 0,
) -> None:
    """Write one point near its item into each active row of ``points``.

    Args:
        points: (R, N) float32 or float64, written where ``active``; other rows keep what they hold.
        centers: (B, N), the dtype of ``points``: the items, in the model's input units.
        item: (R,) int64, the item of each row; values outside 0..B-1 are undefined in active rows, unread in others.
        item_ids: (B,) int64, not negative: the identity of each item, for the random numbers.
        point: (R,) int64, 0 <= point < 2^32: the number of the point that each row holds.
        active: (R,) bool, the rows to write.
        radius: of the sphere (L2) or the box (L-infinity), or the standard deviation of normal points, in the model's
            input units; positive.
        kind: one of `KINDS`.
        seed: 0 <= seed < 2^32.
        step: 0 <= step < 2^32, for callers that draw more than once for a point.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    if points.ndim != 2 or points.shape[1] < 1:
        raise bad_argument("points", "shape (R, N) with N >= 1", str(tuple(points.shape)))
    rows, entries = points.shape
    check("points", points, shape=(rows, entries), dtypes=FLOATS)
    check("centers", centers, shape=(centers.shape[0], entries), dtypes=(points.dtype,), like=points)
    check("item", item, shape=(rows,), dtypes=(torch.int64,), like=points)
    check("item_ids", item_ids, shape=(centers.shape[0],), dtypes=(torch.int64,), like=points)
    check("point", point, shape=(rows,), dtypes=(torch.int64,), like=points)
    check("active", active, shape=(rows,), dtypes=(torch.bool,), like=points)
    if not 0.0 < radius < float("inf"):
        raise bad_argument("radius", "a positive, finite number", repr(radius))
    if kind not in KINDS:
        raise bad_argument("kind", f"one of {', '.join(KINDS)}", repr(kind))
    for name, value in (("seed", seed), ("step", step)):
        if not 0 <= value < 2**32:
            raise bad_argument(name, "an integer from 0 to 2**32 - 1", repr(value))

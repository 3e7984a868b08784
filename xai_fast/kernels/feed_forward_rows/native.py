"""The compiled CPU version: ``csrc/kernels/feed_forward_rows``."""

from __future__ import annotations

from xai_fast import native
from xai_fast.kernels.feed_forward_rows import feed_forward_rows

__all__ = ["run"]

run = native.runner(
    feed_forward_rows,
    lambda rows, adjoints, derivatives, first, last, pairs, triples, **_: {
        "items": rows.shape[0],
        "singles": first.shape[1],
        "pair_count": pairs.shape[0],
        "triple_count": triples.shape[0],
        "adjoint_count": adjoints.shape[1],
        "derivative_count": derivatives.shape[1],
        "first_by_item": first.shape[0] != 1,
        "last_by_item": last.shape[0] != 1,
        "dtype": native.dtype_name(rows),
    },
)

"""``pair_saliency``: what the sums of pairs become: squares, mutual or directed, masked; and the largest of them.

Of a matrix S for each item the saliency of a pair is (Taylor-CAM, section 3 of the paper)

* mutual (``symmetric``): ``S_ij^2 + S_ji^2`` for i < j, zero elsewhere;
* directed: ``S_ij^2`` off the diagonal, zero on it;

and zero where the mask is false. `pair_saliency` writes all, `pair_top_k` the k largest without writing the others.
"""

import torch
from torch import Tensor

from xai_fast import backends
from xai_fast.errors import bad_argument
from xai_fast.kernels.checks import check

__all__ = ["pair_count", "pair_saliency", "pair_top_k"]

NAME = "pair_saliency"
DTYPES = (torch.float32, torch.float64)
backends.register(NAME)


def pair_count(positions: int, symmetric: bool) -> int:
    """Return how many pairs there are of so many positions."""
    return positions * (positions - 1) // (2 if symmetric else 1)


def pair_saliency(out: Tensor, sums: Tensor, symmetric: bool = True, mask: Tensor | None = None) -> None:
    """Write the saliency of every pair.

    Args:
        out: (B, n, n) float32 or float64, overwritten.
        sums: (B, n, n) like ``out``: S.
        symmetric: mutual pairs in the upper triangle; else directed pairs off the diagonal.
        mask: (n, n) or (B, n, n) bool, the pairs that count; of mutual pairs ``mask[i, j]`` with i < j is read.

    Raises:
        InputError: an argument does not fit.
        BackendUnavailable: the forced backend cannot run.
    """
    torch.ops.xai_fast.pair_saliency(out, sums, symmetric, mask)


def pair_top_k(values: Tensor, pairs: Tensor, sums: Tensor, symmetric: bool = True, mask: Tensor | None = None) -> None:
    """Write the k most salient pairs of each item, the largest first.

    Equal saliencies are ordered by (i, j), the smaller first; NaN counts as infinite, so that it shows. Where the mask
    leaves fewer than k pairs, the rest have the value 0 and the pair (-1, -1).

    Args:
        values: (B, k) like ``sums``, overwritten: the saliencies.
        pairs: (B, k, 2) int64, overwritten: i and j.
        sums: (B, n, n) float32 or float64: S.
        symmetric: as of `pair_saliency`.
        mask: as of `pair_saliency`.

    Raises:
        InputError: an argument does not fit, or k is larger than the number of pairs.
        BackendUnavailable: the forced backend cannot run.
    """
    torch.ops.xai_fast.pair_top_k(values, pairs, sums, symmetric, mask)


def _check_sums(sums: Tensor, mask: Tensor | None) -> None:
    if sums.ndim != 3 or sums.shape[1] != sums.shape[2]:
        raise bad_argument("sums", "shape (B, n, n)", str(tuple(sums.shape)))
    check("sums", sums, shape=tuple(sums.shape), dtypes=DTYPES)
    if mask is not None:
        if mask.ndim not in (2, 3):
            raise bad_argument("mask", "shape (n, n) or (B, n, n)", str(tuple(mask.shape)))
        check("mask", mask, shape=tuple(sums.shape)[-mask.ndim :], dtypes=(torch.bool,), like=sums)


def _check(out: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    _check_sums(sums, mask)
    check("out", out, shape=tuple(sums.shape), dtypes=(sums.dtype,), like=sums)


def _check_top_k(values: Tensor, pairs: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    _check_sums(sums, mask)
    items, positions, _ = sums.shape
    if values.ndim != 2:
        raise bad_argument("values", "shape (B, k)", str(tuple(values.shape)))
    k, most = values.shape[1], pair_count(positions, symmetric)
    if k > most:
        raise bad_argument("values", f"at most {most} columns, as {positions} positions have no more pairs", str(k))
    check("values", values, shape=(items, k), dtypes=(sums.dtype,), like=sums)
    check("pairs", pairs, shape=(items, k, 2), dtypes=(torch.int64,), like=sums)


@torch.library.custom_op(
    "xai_fast::pair_saliency",
    mutates_args=("out",),
    schema="(Tensor(a!) out, Tensor sums, bool symmetric, Tensor? mask) -> ()",
)
def _pair_saliency(out: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    _check(out, sums, symmetric, mask)
    if sums.numel():
        backends.select(NAME, (sums,)).run(out, sums, symmetric, mask)


@torch.library.custom_op(
    "xai_fast::pair_top_k",
    mutates_args=("values", "pairs"),
    schema="(Tensor(a!) values, Tensor(b!) pairs, Tensor sums, bool symmetric, Tensor? mask) -> ()",
)
def _pair_top_k(values: Tensor, pairs: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    _check_top_k(values, pairs, sums, symmetric, mask)
    if values.numel():
        backends.select(NAME, (sums,)).run_top_k(values, pairs, sums, symmetric, mask)


_pair_saliency.register_fake(_check)
_pair_top_k.register_fake(_check_top_k)

"""The compiled CPU version: ``csrc/kernels/pair_saliency``."""

from __future__ import annotations

from torch import Tensor

from xai_fast import native
from xai_fast.backends import native_why_not as why_not

__all__ = ["run", "run_top_k", "why_not"]


def _shared(sums: Tensor, symmetric: bool, mask: Tensor | None) -> dict[str, int | bool | str]:
    return {
        "sums": native.address(sums),
        "mask": native.address(mask),
        "mask_of_each_item": mask is not None and mask.ndim == 3,
        "symmetric": symmetric,
        "items": sums.shape[0],
        "positions": sums.shape[1],
        "dtype": native.dtype_name(sums),
        "threads": native.threads(),
    }


def run(out: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_saliency.pair_saliency`."""
    native.module().pair_saliency(out=native.address(out), **_shared(sums, symmetric, mask))


def run_top_k(values: Tensor, pairs: Tensor, sums: Tensor, symmetric: bool, mask: Tensor | None) -> None:
    """Run the contract of `xai_fast.kernels.pair_saliency.pair_top_k`."""
    native.module().pair_top_k(
        values=native.address(values),
        pairs=native.address(pairs),
        k=values.shape[1],
        **_shared(sums, symmetric, mask),
    )

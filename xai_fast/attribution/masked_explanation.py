"""Results that are a mean over random masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xai_fast.explanation import Explanation

__all__ = ["MaskedExplanation", "relative_error"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class MaskedExplanation(Explanation):
    """Attributions that are a mean over random masks or orders, with what is needed to judge them.

    Attributes:
        standard_error: like ``attributions``: standard error of that mean; infinite where there are fewer than two
            samples.
        relative_standard_error: (B,) the norm of the standard error over the norm of the mean, of features where there
            are such.
    """

    standard_error: Tensor
    relative_standard_error: Tensor

    not_stored = frozenset({"standard_error"})


def relative_error(mean: Tensor, error: Tensor) -> Tensor:
    """Compute the norm of standard errors over the norm of means, both (B, N): (B,), zero where there is no error."""
    norm = error.norm(dim=1)
    return torch.where(norm == 0, norm, norm / mean.norm(dim=1))
